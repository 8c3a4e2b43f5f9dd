"""The walk against the sampler, and what can be done to it on its way."""

from __future__ import annotations

import pytest
import torch

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.domains.diffusion.walk import Walk
from genunlearn.errors import NeedNotMet
from tests.tiny_pipelines import MAX_TOKENS, tiny

PROMPTS, SEEDS = ["a red cat", "a dog", "a dog"], [1, 2, 3]


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_untouched_it_is_the_ddim_sampler(family: str, eta: float) -> None:
    adapter = model(family)
    sampling = Sampling(steps=4, guidance=2.0, eta=eta, scheduler="ddim", batch_size=2)
    found = Walk(sampling=sampling, eta=eta).run(adapter, PROMPTS, SEEDS)
    torch.testing.assert_close(found, adapter.sample(PROMPTS, SEEDS, sampling), atol=1e-4, rtol=1e-4)


def test_a_grid_is_its_rows() -> None:
    adapter, sampling = model(), Sampling(steps=3, guidance=2.0, batch_size=2)
    etas, scales = torch.tensor([0.0, 1.0, 1.85]), torch.tensor([1.0, 1.04, 1.02])
    together = Walk(sampling=sampling, eta=etas, noise_scale=scales).run(adapter, PROMPTS, SEEDS)
    assert together.isfinite().all(), "more noise than a step has is no root of a negative number"
    for row in range(3):
        walk = Walk(sampling=sampling, eta=float(etas[row]), noise_scale=float(scales[row]))
        alone = walk.run(adapter, PROMPTS[row : row + 1], SEEDS[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)


def test_the_rule_of_guidance_counts() -> None:
    adapter, sampling = model(), Sampling(steps=3, guidance=2.0, scheduler="ddim")
    adapter.rule = ClassifierFree("a dog")
    found = Walk(sampling=sampling).run(adapter, PROMPTS, SEEDS)
    torch.testing.assert_close(found, adapter.sample(PROMPTS, SEEDS, sampling), atol=1e-4, rtol=1e-4)


def test_predictions_can_be_corrected_and_latents_held() -> None:
    adapter, sampling = model(), Sampling(steps=3, guidance=2.0, batch_size=2)
    seen: list[tuple[int, int]] = []

    def correct(noisy: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor, rows: slice) -> torch.Tensor:
        seen.append((int(timesteps[0]), len(noisy)))
        return torch.zeros_like(noise)

    # Without noise in the predictions only the signal is rescaled: x_0 / sqrt(a_0) times the last sqrt(a_prev).
    found = Walk(sampling=sampling, correct=correct).run(adapter, PROMPTS, SEEDS)
    assert seen == [(667, 2), (334, 2), (1, 2), (667, 1), (334, 1), (1, 1)]
    alphas = adapter.pipeline.scheduler.alphas_cumprod
    start = adapter.sample(PROMPTS, SEEDS, sampling, part=slice(0, 0))
    torch.testing.assert_close(found, start * (alphas[0] / alphas[667]).sqrt(), atol=1e-4, rtol=1e-4)
    held = Walk(sampling=sampling, hold=lambda latents, timestep, rows: latents * 0 + (timestep is None))
    assert held.run(adapter, PROMPTS, SEEDS).unique().tolist() == [1]


def test_flows_have_no_ddim_sampler() -> None:
    with pytest.raises(NeedNotMet, match="StableDiffusion3Pipeline is a flow"):
        Walk(sampling=Sampling(steps=2)).run(model("sd3"), PROMPTS, SEEDS)
