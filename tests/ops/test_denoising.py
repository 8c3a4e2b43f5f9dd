"""Noise schedules and prediction kinds against numbers worked by hand and against diffusers."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from genunlearn.errors import MismatchError
from genunlearn.ops.denoising import NoiseSchedule, erasing_target, guide, squared_error

KINDS = ["epsilon", "v_prediction", "sample", "flow"]


def schedule(kind: str) -> NoiseSchedule:
    if kind == "flow":
        return NoiseSchedule.of(FlowMatchEulerDiscreteScheduler())
    return NoiseSchedule.of(DDIMScheduler(prediction_type=kind))


def by_hand(kind: str) -> NoiseSchedule:
    """One level of 0.6 signal and 0.8 noise (or, for flows, 0.2 and 0.8)."""
    return NoiseSchedule(kind, 10, None if kind == "flow" else torch.full((10,), 0.6), torch.arange(10))


def test_levels_by_hand() -> None:
    alpha, sigma = by_hand("epsilon").levels(torch.tensor([3]))
    assert (alpha.item(), sigma.item()) == pytest.approx((0.6, 0.8))
    alpha, sigma = by_hand("flow").levels(torch.tensor([8.0]))
    assert (alpha.item(), sigma.item()) == pytest.approx((0.2, 0.8))


# x_0 = 1 and noise = 2 give x_t = 0.6 + 1.6 = 2.2 (for the flow 0.2 + 1.6 = 1.8).
@pytest.mark.parametrize(
    ("kind", "output"),
    # v = 0.6 * 2 - 0.8 * 1 = 0.4; velocity = 2 - 1 = 1
    [("epsilon", 2.0), ("v_prediction", 0.4), ("sample", 1.0), ("flow", 1.0)],
)
def test_every_kind_by_hand(kind: str, output: float) -> None:
    levels, t = by_hand(kind), torch.tensor([8.0])
    clean, noise = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    noisy = levels.add_noise(clean, noise, t)
    assert noisy.item() == pytest.approx(1.8 if kind == "flow" else 2.2)
    assert levels.target(clean, noise, t).item() == pytest.approx(output)
    assert levels.to_noise(torch.tensor([[output]]), noisy, t).item() == pytest.approx(2.0)
    assert levels.to_clean(torch.tensor([[output]]), noisy, t).item() == pytest.approx(1.0, abs=1e-6)
    assert levels.from_noise(noise, noisy, t).item() == pytest.approx(output)


@pytest.mark.parametrize("kind", KINDS)
def test_conversions_are_inverse_at_drawn_timesteps(kind: str) -> None:
    levels = schedule(kind)
    t = levels.timesteps[torch.randint(1000, (16,), generator=torch.Generator().manual_seed(0))].clamp(1, 950)
    clean, noise = torch.randn(2, 16, 3, 4, 4)
    noisy, output = levels.add_noise(clean, noise, t), levels.target(clean, noise, t)
    torch.testing.assert_close(levels.to_noise(output, noisy, t), noise, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(levels.to_clean(output, noisy, t), clean, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(levels.from_noise(noise, noisy, t), output, atol=2e-3, rtol=1e-3)


def test_noise_and_velocity_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear")
    levels, t = NoiseSchedule.of(scheduler), torch.tensor([1, 400, 999])
    clean, noise = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(levels.add_noise(clean, noise, t), scheduler.add_noise(clean, noise, t))
    torch.testing.assert_close(levels.target(clean, noise, t), scheduler.get_velocity(clean, noise, t))


def test_a_shifted_flow_draws_noisier_timesteps() -> None:
    # sigma' = 3 sigma / (1 + 2 sigma): one half becomes three quarters, the ends stay.
    levels = NoiseSchedule.of(FlowMatchEulerDiscreteScheduler(shift=3.0))
    assert levels.timesteps[499].item() == pytest.approx(750.0)
    assert levels.timesteps[-1].item() == pytest.approx(1000.0)


def test_timesteps_between_two_take_the_nearest() -> None:
    levels = NoiseSchedule.of(EulerDiscreteScheduler())
    between, exact = levels.levels(torch.tensor([500.4])), levels.levels(torch.tensor([500]))
    assert between == exact


def test_noise_is_a_function_of_seed_and_example() -> None:
    levels, clean, ids = schedule("flow"), torch.zeros(3, 2, 4), ["a", "b", "c"]
    torch.manual_seed(1)
    together = levels.noised(clean, ids)
    torch.rand(5)  # what others draw does not matter
    turned = levels.noised(clean[:2], ["c", "a"])
    assert torch.equal(turned.latents, together.latents[[2, 0]])
    assert torch.equal(turned.timesteps, together.timesteps[[2, 0]])
    assert len(set(together.timesteps.tolist())) == 3
    torch.manual_seed(2)
    assert not torch.equal(levels.noised(clean, ids).latents, together.latents)


def test_noise_has_unit_variance_and_every_timestep_comes_up() -> None:
    levels = schedule("epsilon")
    torch.manual_seed(0)
    noised = levels.noised(torch.zeros(2000, 8), [str(i) for i in range(2000)])
    assert noised.target.mean().item() == pytest.approx(0.0, abs=0.05)
    assert noised.target.std().item() == pytest.approx(1.0, abs=0.05)
    assert noised.timesteps.float().mean().item() == pytest.approx(499.5, abs=25)
    assert noised.timesteps.min() < 10
    assert noised.timesteps.max() > 990


def test_a_scheduler_of_another_kind_is_refused() -> None:
    scheduler = DDIMScheduler()
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(MismatchError, match="prediction_type = 'score' is not understood"):
        NoiseSchedule.of(scheduler)


def test_guidance_by_hand() -> None:
    # 1 + 3 (2 - 1) = 4; at scale 1 the conditional, at scale 0 the unconditional prediction
    two, one = torch.tensor(2.0), torch.tensor(1.0)
    assert [guide(two, one, scale).item() for scale in (3.0, 1.0, 0.0)] == [4.0, 2.0, 1.0]


def test_erasing_target_by_hand() -> None:
    # 5 - 2 (2 - 1) = 3; at strength 0 nothing is erased
    source, two, one = torch.tensor(5.0), torch.tensor(2.0), torch.tensor(1.0)
    assert erasing_target(source, two, one, 2.0).item() == 3.0
    assert erasing_target(source, two, one, 0.0).item() == 5.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_erasing_target_is_the_same_in_outputs_and_in_noise(kind: str) -> None:
    levels, t = schedule(kind), torch.tensor([300.0, 700.0])
    noisy, conditional, unconditional = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    in_outputs = erasing_target(conditional, conditional, unconditional, 2.0)
    noises = [levels.to_noise(out, noisy, t) for out in (conditional, conditional, unconditional)]
    torch.testing.assert_close(levels.to_noise(in_outputs, noisy, t), erasing_target(*noises, 2.0))


def test_squared_error_is_a_mean_per_example_in_float32() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 3.0]], dtype=torch.bfloat16)
    error = squared_error(a, torch.zeros_like(a))
    assert error.tolist() == [2.5, 9.0]
    assert error.dtype == torch.float32


def test_levels_are_normalised() -> None:
    alpha, sigma = schedule("epsilon").levels(torch.arange(1000))
    assert (alpha**2 + sigma**2 - 1).abs().max() < 1e-6
    assert math.isclose(alpha[0].item(), 1.0, abs_tol=1e-3)
