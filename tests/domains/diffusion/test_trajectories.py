"""Trajectories as training points: what they hold, how few evaluations they cost, when they are made anew."""

import pytest
import torch

from genunlearn.contracts import Examples
from genunlearn.data.diffusion.concepts import ConceptPrompt, trajectory_points
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.domains.diffusion.sampling import Sampling
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

STEPS = 5


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


def points(adapter: Diffusion, count: int = 2, guidance: float = 3.0) -> Examples:
    prompts = [ConceptPrompt(id="seven", prompt="a digit seven", concept="digit seven")]
    return adapter.collate(trajectory_points(prompts, count, seed=7, steps=STEPS, guidance=guidance))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_point_holds_both_predictions_at_its_latents(family: str) -> None:
    adapter = model(family)
    examples = points(adapter)
    held = adapter.trajectory_point(examples)
    assert held.shape == (2 * STEPS, 3, 4, 8, 8)
    noisy, conditional, unconditional = held.unbind(1)
    t = adapter.trajectory_timesteps(examples)
    expected = adapter.predict(noisy, t, adapter.embedding(examples))
    torch.testing.assert_close(conditional, expected, atol=1e-4, rtol=1e-4)
    expected = adapter.predict(noisy, t, adapter.unconditional(len(examples)))
    torch.testing.assert_close(unconditional, expected, atol=1e-4, rtol=1e-4)


def test_points_lie_on_the_sampler_s_trajectory() -> None:
    adapter = model()
    held = adapter.trajectory_point(points(adapter, count=1))[:, 0]
    sampling = Sampling(steps=STEPS, guidance=3.0, scheduler="ddim", rule=ClassifierFree())
    for step in (0, 2, 4):
        latents = adapter.sample(["a digit seven"], [7], sampling, part=slice(0, step)) if step else None
        if latents is not None:
            torch.testing.assert_close(held[step], latents[0], atol=1e-5, rtol=1e-5)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(held[0], noise[0])


def test_evaluations_are_two_a_step_and_trajectory_once_and_for_all() -> None:
    adapter = model()
    examples = points(adapter)
    first = adapter.trajectory_point(examples)
    assert adapter.meter.frozen == 2 * STEPS * 2
    again = adapter.trajectory_point(examples)
    assert adapter.meter.frozen == 2 * STEPS * 2
    assert torch.equal(first, again)
    assert not first.requires_grad


def test_trajectories_asked_for_together_run_as_one_batch() -> None:
    adapter = model()
    sizes: list[int] = []
    adapter.network.register_forward_hook(lambda module, given, out: sizes.append(len(given[0])))
    adapter.trajectory_point(points(adapter, count=3))
    assert sizes == [2 * 3] * STEPS


def test_points_do_not_depend_on_the_batch() -> None:
    together = model()
    alone = model()
    everything = together.trajectory_point(points(together, count=3))
    alone.trajectories.batch_size = 1
    torch.testing.assert_close(alone.trajectory_point(points(alone, count=3)), everything, atol=1e-5, rtol=1e-5)


def test_guidance_one_still_has_both_predictions() -> None:
    adapter = model()
    held = adapter.trajectory_point(points(adapter, guidance=1.0))
    assert not torch.allclose(held[:, 1], held[:, 2])


def test_changed_weights_have_trajectories_of_their_own() -> None:
    adapter = model()
    examples = points(adapter)
    first = adapter.trajectory_point(examples)
    with torch.no_grad():
        adapter.network.conv_out.weight.mul_(2)
    assert not torch.allclose(adapter.trajectory_point(examples), first)
    with torch.no_grad():
        adapter.network.conv_out.weight.div_(2)
    spent = adapter.meter.frozen
    assert torch.equal(adapter.trajectory_point(examples), first)
    assert adapter.meter.frozen == spent, "the old weights' trajectories are still there"
    adapter.trajectories.forget()
    adapter.trajectory_point(examples)
    assert adapter.meter.frozen > spent


def test_half_the_memory() -> None:
    adapter, full = model(), model()
    adapter.trajectories.dtype = torch.bfloat16
    held = adapter.trajectory_point(points(adapter))
    assert held.dtype == torch.bfloat16
    torch.testing.assert_close(held.float(), full.trajectory_point(points(full)), atol=0.05, rtol=0.01)


def test_a_sampling_rule_of_the_model_does_not_bend_the_trajectory() -> None:
    adapter, other = model(), model()
    other.rule = ClassifierFree("a blue dog")
    torch.testing.assert_close(other.trajectory_point(points(other)), adapter.trajectory_point(points(adapter)))
