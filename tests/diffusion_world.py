"""A little world for methods on text-to-image pipelines: a tiny random model, a concept to forget, others to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genunlearn.contracts import Splits
from genunlearn.data.concepts import forget_prompts, parse_concepts, preserve_prompts
from genunlearn.domains.diffusion import Diffusion
from genunlearn.domains.diffusion_sampling import Sampling
from tests.tiny_pipelines import tiny
from tests.worlds import World

POINTS: dict[str, Any] = {"trajectories": 2, "steps": 4}
IMAGES: dict[str, Any] = {"images": 4, "image_steps": 2, "image_guidance": 2.0}
ATTACK: dict[str, Any] = {"attack_steps": 1}
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
    "speed": {"threshold": 1e-3},
}
"""Fields of methods whose defaults are made for real pipelines."""

PROMPTS, SEEDS = ["a cat", "a cat"], [11, 12]
SAMPLING = Sampling(steps=3, guidance=3.0)


class DiffusionWorld(World):
    """Forgetting shows in the images that a prompt gives, whether weights or the rule of guidance have changed."""

    def forget_loss(self, model: Any) -> float:
        """Mean squared distance of the concept's latents from the original model's."""
        with torch.no_grad():
            original = self.open().sample(PROMPTS, SEEDS, SAMPLING)
            return (model.sample(PROMPTS, SEEDS, SAMPLING) - original).square().mean().item()


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
