"""Partial diffusion: its identities, what it costs, and that batching and sharing change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)
from pydantic import ValidationError

from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.attacks.diffusion.partial_diffusion import PUBLISHED, PartialDiffusion
from genunlearn.contracts import Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError, MismatchError, NeedNotMet
from tests.tiny_pipelines import MAX_TOKENS, tiny

PROMPTS, SEEDS = ["a red cat", "a dog", "a red cat"], [3, 4, 5]
ATTACK = PartialDiffusion(psis=(0, 0.2, 0.4, 1), steps=5, guidance=2.0)


def pair(family: str = "sd1", scheduler: Any = None) -> tuple[Diffusion, Diffusion]:
    """An original and an unlearned model: the same pipeline with other weights in the denoiser."""
    original, unlearned = (Diffusion(tiny(family), text_length=MAX_TOKENS) for _ in range(2))
    with torch.no_grad():
        for weight in unlearned.module.parameters():
            weight.mul_(1.2)
    for model in (original, unlearned):
        if scheduler is not None:
            model.pipeline.scheduler = scheduler.from_config(model.pipeline.scheduler.config)
    return original, unlearned


class Bright:
    """Sees the concept in bright images."""

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(1)

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        return self.score(images) > 0.5


@pytest.mark.parametrize(("family", "eta"), [("sd1", 0.0), ("sd1", 1.0), ("sd3", 0.0)])
def test_nothing_begun_is_the_model_and_all_begun_the_original(family: str, eta: float) -> None:
    original, unlearned = pair(family)
    attack = PartialDiffusion(psis=(0, 0.4, 1), steps=5, guidance=2.0, eta=eta)
    done = attack.complete(unlearned, attack.start(original, PROMPTS, SEEDS))
    assert torch.equal(done.latents[0], unlearned.sample(PROMPTS, SEEDS, attack.sampling))
    assert torch.equal(done.latents[2], original.sample(PROMPTS, SEEDS, attack.sampling))
    assert torch.equal(done.images[0], unlearned.images(PROMPTS, SEEDS, attack.sampling))
    distances = [(done.latents[1] - done.latents[end]).square().mean() for end in (0, 2)]
    assert min(distances) > 1e-6, "what is begun by one and ended by the other is neither's"


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_original_completed_by_itself_is_the_original(eta: float) -> None:
    original, _ = pair()
    attack = PartialDiffusion(psis=(0, 0.2, 0.6, 1), steps=5, guidance=2.0, eta=eta)
    done = attack.complete(original, attack.start(original, PROMPTS, SEEDS))
    for latents in done.latents:
        torch.testing.assert_close(latents, done.latents[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scheduler", [None, EulerDiscreteScheduler, DPMSolverMultistepScheduler, LMSDiscreteScheduler])
def test_sharing_changes_nothing(scheduler: Any) -> None:
    # The plain way: the original anew for every psi, one image a call.
    original, unlearned = pair(scheduler=scheduler)
    attack = PartialDiffusion(psis=(0.2, 0.4, 0.8), steps=5, guidance=2.0, scheduler="own", batch_size=2)
    done = attack.complete(unlearned, attack.start(original, PROMPTS, SEEDS))
    for latents, cut in zip(done.latents, attack.cuts(original).values(), strict=True):
        for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
            begun = original.sample([prompt], [seed], attack.sampling, part=slice(0, cut))
            ended = unlearned.sample([prompt], [seed], attack.sampling, part=slice(cut, None), latents=begun)
            torch.testing.assert_close(latents[row], ended[0], atol=2e-4, rtol=1e-3)


def test_what_it_costs() -> None:
    original, unlearned = pair()
    begun = ATTACK.start(original, PROMPTS, SEEDS)
    assert list(begun.cuts.values()) == [0, 1, 2, 5]
    assert begun.forwards == 3 * 5 * 2, "three images, five steps, prompt and empty prompt"
    done = ATTACK.complete(unlearned, begun)
    assert done.forwards == 3 * (5 + 4 + 3) * 2
    assert done.images.shape == (4, 3, 3, 16, 16) and unlearned.meter.decoded == 4 * 3


def test_psi_that_cut_at_one_step_share_their_images() -> None:
    original, unlearned = pair()
    attack = PartialDiffusion(psis=(0.2, 0.39, 0.4), steps=5, guidance=2.0)
    begun = attack.start(original, PROMPTS, SEEDS)
    assert begun.cuts == {0.2: 1, 0.39: 1, 0.4: 2}, "timesteps 801, 601, ...: those of at least 800, 610 and 600"
    done = attack.complete(unlearned, begun)
    assert torch.equal(done.latents[0], done.latents[1]) and done.forwards == 3 * (4 + 3) * 2


def test_published_cuts() -> None:
    # 100 steps lie at 991, 981, ...: a share of 0.001 begins at 999 and holds none, 0.01 at 990 and holds one.
    cuts = PartialDiffusion().cuts(pair()[0])
    assert list(cuts) == list(PUBLISHED) and list(cuts.values()) == [0, 1, 5, 15, 25, 35, 45, 55]


@pytest.mark.parametrize("kind", [PNDMScheduler, HeunDiscreteScheduler])
def test_a_scheduler_that_cannot_be_handed_over(kind: Any) -> None:
    original, _ = pair(scheduler=kind)
    attack = PartialDiffusion(psis=(0.5,), steps=4, scheduler="own")
    with pytest.raises(NeedNotMet, match=rf"scheduler {kind.__name__} cannot be handed over"):
        attack.start(original, PROMPTS, SEEDS)
    assert original.meter.frozen == 0


def test_models_that_do_not_fit() -> None:
    original, unlearned = pair()
    begun = ATTACK.start(original, PROMPTS, SEEDS)
    with pytest.raises(MismatchError, match=r"latents of shape \(4, 8, 8\) handed to a model of shape \(4, 4, 4\)"):
        ATTACK.complete(Diffusion(tiny("sd1"), image_size=8), begun)
    with pytest.raises(MismatchError, match="different schedulers"):
        PartialDiffusion(psis=(0.1, 0.2, 0.4, 1), steps=5).complete(unlearned, begun)


@pytest.mark.parametrize("changes", [{"psis": ()}, {"psis": (1.2,)}, {"steps": 0}, {"scheduler": "pndm"}, {"x": 1}])
def test_bad_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PartialDiffusion(**changes)


def test_shares_by_psi() -> None:
    original, unlearned = pair()
    context = ConceptContext(
        concept="cat", name="cat", prompts=tuple(PROMPTS), seeds=tuple(SEEDS), detector=Bright(), original=original
    )
    results = {r.group: r for r in ATTACK.run(unlearned, Splits(forget=(), context=context), "unlearned")}
    own = Bright().shown(unlearned.images(PROMPTS, SEEDS, ATTACK.sampling)).float().mean()
    assert results["cat, partial_diffusion, psi = 0"].value == pytest.approx(float(own))
    assert len(results) == 4 and all(r.n == 3 and r.low <= r.value <= r.high for r in results.values())
    spent = original.meter.frozen
    ATTACK.run(unlearned, Splits(forget=(), context=context), "again")
    assert original.meter.frozen == spent, "the original has begun once"


def test_a_case_needs_images() -> None:
    with pytest.raises(DataError, match="2 prompts for 1 seeds"):
        ConceptContext(concept="cat", name="cat", prompts=("a", "b"), seeds=(1,), detector=Bright())
    with pytest.raises(DataError, match=r"needs its context in Splits.context"):
        ATTACK.run(pair()[0], Splits(forget=()), "unlearned")


def test_without_the_original_it_is_skipped() -> None:
    context = ConceptContext(
        concept="cat", name="cat", prompts=("a",), seeds=(1,), detector=Bright(), sampling=Sampling(steps=2)
    )
    (result,) = ATTACK.run(pair()[0], Splits(forget=(), context=context), "unlearned")
    assert result.value is None and result.skipped == "needs the original"
