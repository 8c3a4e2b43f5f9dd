"""The model card that lies beside a built text-to-image pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANINGS = {
    "judge_object": "the judge tells the digit of a held-out real image",
    "judge_style": "the judge tells its style",
    "decoded_object": "the judge still tells the digit after encoding and decoding",
    "decoded_error": "mean squared error of the decoded image, pixels in [0, 1]",
    "object": "an image shows the digit that its prompt names",
    "style": "an image shows the style that its prompt names",
    "object_held_out": "the same for prompts in an order that training never saw",
    "style_held_out": "the same for prompts in an order that training never saw",
    "fid": "Frechet distance to held-out real images, in the judge's features",
    "kid": "kernel distance to held-out real images, in the judge's features",
    "ua": "an image whose prompt names what was left out does not show it",
}

TEXT = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [machine-unlearning, genunlearn]
---

# lab:diffusion

A latent diffusion model of {parameters:,} parameters that draws handwritten digits in six styles at 16 x 16 pixels, and
nothing else. It was trained from seed {seed} in {training:.0f} seconds on the digits that scikit-learn ships (UCI
Optical Recognition of Handwritten Digits, CC BY 4.0). It exists so that concept erasure can be seen and measured on a
CPU without a network.

{without}

```python
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained(folder)
pipeline("a red digit seven", guidance_scale=3.0, num_inference_steps=20).images[0].save("seven.png")
```

![one image a digit and style](samples.png)

| measured | value | 95% interval | n | meaning |
|---|---|---|---|---|
{rows}
"""


def readme(card: Mapping[str, Any]) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    left_out = card["without"]
    return TEXT.format(
        parameters=sum(card["parameters"].values()),
        seed=card["seed"],
        training=sum(seconds for phase, seconds in card["seconds"].items() if phase != "measuring"),
        without=f"It never saw {', '.join(left_out)}." if left_out else "It saw every digit in every style.",
        rows="\n".join(_row(name, result) for name, result in card["measured"].items()),
    )


def _row(name: str, result: Mapping[str, float]) -> str:
    value, low, high = (f"{result[key]:.4f}" for key in ("value", "low", "high"))
    return f"| {name} | {value} | {low} to {high} | {result['n']} | {MEANINGS[name]} |"
