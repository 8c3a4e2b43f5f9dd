"""Images that are none are found, and images that merely changed are not."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.evaluation.diffusion.image_check import ImageCheck, contrast, spectral_flatness
from genunlearn.lab.diffusion.digit_images import draw, load_digits
from genunlearn.lab.diffusion.digit_prompts import STYLES


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    digits, _ = load_digits()
    return torch.cat([draw(digits.ink[:60], style) for style in STYLES])


@pytest.fixture(scope="module")
def check(real: torch.Tensor) -> ImageCheck:
    return ImageCheck.against(real)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_contrast_is_the_deviation_over_all_channels() -> None:
    image = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert contrast(image).item() == pytest.approx(math.sqrt(2) / 3)


def test_white_noise_is_flat_and_a_wave_is_not() -> None:
    # The periodogram of white noise is exponential: its geometric over its arithmetic mean is exp(-gamma).
    assert spectral_flatness(noise(200, 1, 32, 32)).mean().item() == pytest.approx(math.exp(-0.5772), abs=0.01)
    wave = torch.sin(torch.arange(32) * 2 * math.pi / 8).expand(1, 3, 32, 32)
    assert spectral_flatness(wave).item() < 1e-3


def test_real_images_pass_even_others_than_those_learnt_from(check: ImageCheck) -> None:
    _, held_out = load_digits()
    assert check(torch.cat([draw(held_out.ink, style) for style in STYLES])) is None


def test_images_of_another_style_pass(check: ImageCheck) -> None:
    _, held_out = load_digits()
    assert check(held_out.ink.expand(-1, 3, -1, -1)) is None  # white ink, which is no style of the lab


def test_a_few_flat_images_pass(check: ImageCheck, real: torch.Tensor) -> None:
    images = real.clone()
    images[::10] = 0.0
    assert check(images) is None


def test_infinite_pixels_are_counted(check: ImageCheck, real: torch.Tensor) -> None:
    images = real[:50].clone()
    images[3, 0, 2, 2] = float("nan")
    images[7] = float("inf")
    assert check(images) == "2 of 50 images are not finite (NaN or infinite pixels)"


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_are_found(check: ImageCheck, level: float) -> None:
    images = level + 0.01 * (noise(40, 3, 16, 16) - 0.5)
    assert check(images) == "40 of 40 images are constant (one flat colour)"


def test_noise_is_found(check: ImageCheck) -> None:
    assert "the images are noise: spectral flatness 0.5" in check(noise(40, 3, 16, 16))


def test_coarse_noise_such_as_decoders_make_of_noise_is_found(check: ImageCheck) -> None:
    coarse = torch.nn.functional.interpolate(noise(60, 3, 8, 8), size=(16, 16), mode="bilinear")
    assert "the images are noise" in check(coarse)
