"""A little world for methods on text-to-image pipelines: a tiny random model, a concept to forget, others to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genunlearn.contracts import Method, Splits, with_sides
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts, preserve_prompts, with_images
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from tests.tiny_pipelines import tiny
from tests.world import World

POINTS: dict[str, Any] = {"trajectories": 2, "steps": 4}
IMAGES: dict[str, Any] = {"images": 4, "image_steps": 2, "image_guidance": 2.0}
ATTACK: dict[str, Any] = {"attack_steps": 1, "attack_rate": 1e-5}
"""One small step, since the signs of gradients next to 0 are a matter of rounding."""
SMALL: dict[str, dict[str, Any]] = {
    "esd": POINTS,
    "sdd": POINTS,
    "spm": {**POINTS, "preserve_weight": 1.0},
    "adv_unlearn": {**POINTS, **ATTACK},
    "receler": {**POINTS, **ATTACK, "attack_tokens": 4},
    "concept_ablation": IMAGES,
    "forget_me_not": IMAGES,
    "erase_diff": {**IMAGES, "forget_weight": 1.0},
    "salun": IMAGES,
    "selective_amnesia": {**IMAGES, "fisher_draws": 1},
    "speed": {"threshold": 1e-3, "ridge": 1e-3},
    "sld": {"warmup": 0},
}
"""Fields of methods whose defaults are made for real pipelines."""

PROMPTS, SEEDS = ["a cat", "a cat"], [11, 12]
SAMPLING = Sampling(steps=3, guidance=3.0)
ZOOM = 10.0
"""Random weights answer all prompts much alike: a concept answered as another moves their images by little."""


class DiffusionWorld(World):
    """Forgetting shows in the images that a prompt gives, whether weights or the rule of guidance have changed."""

    def forget_loss(self, model: Any) -> float:
        """Mean squared distance of the concept's latents from the original model's."""
        with torch.no_grad():
            original = self.open().sample(PROMPTS, SEEDS, SAMPLING)
            return ZOOM * (model.sample(PROMPTS, SEEDS, SAMPLING) - original).square().mean().item()

    def data(self, method: Method, model: Any) -> Splits:
        """Prompts; methods that know no prompts get images of them."""
        if method.trains_on == "request":
            return self.splits
        made = with_images(self.splits, 4, seed=0, steps=2, guidance=2.0)
        return with_sides(made, model.render(made.forget), model.render(made.retain or ()))


def diffusion(folder: Path) -> World:
    """A tiny Stable Diffusion that is to forget cats."""
    tiny("sd1").save_pretrained(folder / "base")
    erasure = parse_concepts(["cat -> dog"], ["church", "van gogh"], ["a {}", "a photo of {}"])
    return DiffusionWorld(
        open=lambda: Diffusion.load(str(folder / "base"), device="cpu"),
        splits=Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure)),
        options=lambda method, folder: SMALL.get(method, {}),
        kind="full",
    )
