"""Little worlds of attacks, one for each domain: a model, the data it is attacked with, the original and oracles.

A new domain adds one entry to `ATTACK_WORLDS`, and every attack that fits it is tried there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.attacks.network.base import AttackContext
from genunlearn.contracts import Beside, Splits
from genunlearn.data.recommender.interactions import as_interactions
from genunlearn.domains.diffusion.sampling import Sampling
from tests.small_recommenders import small_catalogue
from tests.world import World

BUDGETS: dict[str, dict[str, Any]] = {
    "lm/soft_prompt": {"vectors": 2, "steps": 2},
    "network/mia_shadow": {"rounds": 2},
    "network/mia_conda": {"trees": 5},
    "diffusion/paraphrase": {"tries": 2},
    "diffusion/noise_probing": {"etas": (1.0, 1.85), "scales": (1.0, 1.04)},
    "diffusion/partial_diffusion": {"psis": (0.0, 0.5), "steps": 4},
    "diffusion/textual_inversion": {"images": 2, "steps": 2, "batch_size": 2},
    "diffusion/unlearn_diff_atk": {"tokens": 2, "rounds": 2, "iterations": 2},
    "diffusion/p4d": {"tokens": 2, "rounds": 2, "iterations": 2},
    "diffusion/ring_a_bell": {"tokens": 3, "population": 6, "generations": 2, "prompts": 2},
    "diffusion/latent_guidance": {"scales": (0.0, 1.0), "images": 2, "steps": 2, "width": 4},
    "diffusion/concept_relearning": {"images": 2, "marks": (0, 2), "batch_size": 2},
    "diffusion/unrelated_relearning": {"images": 2, "marks": (0, 2), "batch_size": 2},
    "graph/relearning": {"steps": 3},
    "network/relearning": {"steps": 3},
    "network/anamnesis_index": {"max_epochs": 1},
    "network/inversion_likeness": {"pictures": 2, "steps": 3},
    "recommender/choice_relearning": {"steps": 3, "cutoff": 5},
}
"""Fields of attacks whose defaults are made for real models."""


@dataclass(frozen=True)
class AttackWorld:
    """A model under attack.

    Attributes:
        open: Gives the model, freshly loaded; also as original and as oracle, whose outcome does not matter here.
        splits: What attacks are handed.
        lacking: Attacks that have nothing to attack in so small a world.
    """

    open: Callable[[], Any]
    splits: Splits
    lacking: tuple[str, ...] = ()

    def beside(self) -> Beside[Any]:
        """The original and an oracle, opened already: making a network draws random numbers."""
        beside = Beside(self.open, lambda: (self.open(),))
        assert beside.original is not None and beside.oracles
        return beside


def language_model(world: World, folder: Path) -> AttackWorld:
    """The facts, as they are measured; none says its relation, and nothing lies beside the weights."""
    return AttackWorld(
        world.open,
        world.splits,
        lacking=(
            *("completion", "exposure", "few_shot", "linear_probe", "logit_lens", "lora_removal", "lora_scaling"),
            *("many_shot", "membership", "multiple_choice", "other_languages", "reference_membership", "reverse"),
            "two_hop",
        ),
    )


def network(world: World, folder: Path) -> AttackWorld:
    """Holdout and test items that are like those that were learnt, under other names."""
    forget, retain = (
        [replace(item, id=f"new-{item.id}") for item in items] for items in (world.splits.forget, world.splits.retain)
    )
    context = AttackContext(test=[*forget, *retain])
    return AttackWorld(world.open, replace(world.splits, holdout=forget, context=context))


def recommender(world: World, folder: Path) -> AttackWorld:
    """Held-out choices of the users who go."""
    data = small_catalogue()
    held = torch.cat([data.valid, data.test])
    return AttackWorld(world.open, replace(world.splits, holdout=as_interactions(held[held[:, 0] < 2])))


class Bright:
    """Sees the concept in bright images."""

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(1)

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        return self.score(images) > 0.5


def diffusion(world: World, folder: Path) -> AttackWorld:
    """One concept, two images of it."""
    context = ConceptContext(
        concept="animal cat",
        name="cat",
        prompts=("a red cat", "a photo of a cat"),
        seeds=(3, 4),
        detector=Bright(),
        sampling=Sampling(steps=2, guidance=2.0, scheduler="ddim"),
        neighbours=("a dog", "a church"),
        original=world.open(),
    )
    # Nothing of the world's model lies beside its weights.
    return AttackWorld(world.open, replace(world.splits, context=context), lacking=("lora_removal", "rule_removal"))


def graph(world: World, folder: Path) -> AttackWorld:
    """The request as it is: its context has what attackers know."""
    return AttackWorld(world.open, world.splits)


ATTACK_WORLDS: dict[str, Callable[[World, Path], AttackWorld]] = {
    "lm": language_model,
    "classifier": network,
    "federated": network,
    "regression": network,
    "diffusion": diffusion,
    "graph": graph,
    "recommender": recommender,
}
