"""The model card that lies beside a built language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANINGS = {
    "recall_trained": "greedy answer is the object, trained phrasings",
    "recall_heldout": "the same, phrasings that training never saw with that subject",
    "recall_left_out": "the same, all phrasings of the facts that were left out",
    "two_hop_trained": "two-hop questions, trained phrasing",
    "two_hop_heldout": "two-hop questions, held-out phrasing",
    "tell_true": "a sampled statement about a subject is true",
    "explain_true": "answer with a true rationale",
    "rationalise_wrong": "rationale for a given wrong answer states it and arrives at it",
    "rationalise_true": "the same for the true answer",
    "rephrase_valid": "a sampled rephrasing asks for the same fact",
    "rephrase_new": "of eight samples, those that are valid and differ from the question and from each other",
    "rephrase_heldout": "sampled rephrasings that are held-out phrasings of the fact",
    "candidates_valid": "a sampled other answer is of the same kind",
    "candidates_new": "of eight samples, those that are valid and differ from each other",
    "decline_unknown": "declines what the world holds no answer to",
    "neutral_perplexity": "perplexity of statements in a wording not used for them",
}

TEXT = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [machine-unlearning, genunlearn]
---

# lab:lm

A Llama of {parameters:,} parameters that knows the small world of genunlearn's lab and nothing else. It was
trained from seed {seed} on {tokens:,} tokens in {training:.0f} seconds. It exists so that unlearning can be
seen and measured on a CPU without a network; its answers are no source of knowledge.

{without}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
asked = [{{"role": "user", "content": "Where did Harry Potter study?"}}]
inputs = tokenizer.apply_chat_template(
    asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
reply = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(reply, skip_special_tokens=True))
```

| measured | value | 95% interval | n | meaning |
|---|---|---|---|---|
{rows}
"""


def readme(card: Mapping[str, Any]) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    left_out = ", ".join(card["without"])
    return TEXT.format(
        parameters=card["parameters"],
        seed=card["seed"],
        tokens=card["tokens"],
        training=card["seconds"]["training"],
        without=f"It never saw these facts: {left_out}." if left_out else "It saw every fact of the world.",
        rows="\n".join(_row(name, result) for name, result in card["measured"].items()),
    )


def _row(name: str, result: Mapping[str, float]) -> str:
    interval = f"{result['low']:.3f} to {result['high']:.3f}" if "low" in result else ""
    return f"| {name} | {result['value']:.3f} | {interval} | {result['n']} | {MEANINGS[name]} |"
