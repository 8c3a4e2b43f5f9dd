"""The lab's real images: digits of a fixed split, and styles that can be computed by hand."""

from __future__ import annotations

import pytest
import torch

from genunlearn.lab.diffusion.digit_images import draw, draw_each, every_style, load_digits
from genunlearn.lab.diffusion.digit_prompts import STYLES


def ink(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([[rows]])


def test_the_split_is_fixed_disjoint_and_even() -> None:
    train, held_out = load_digits()
    assert (len(train), len(held_out)) == (1437, 360)
    assert train.ink.shape == (1437, 1, 16, 16)
    assert {int(n) for n in held_out.labels.bincount()} <= {34, 35, 36, 37}
    assert torch.equal(load_digits()[1].ink, held_out.ink)
    seen = {digit.numpy().tobytes() for digit in train.ink}
    assert not any(digit.numpy().tobytes() in seen for digit in held_out.ink)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_rgb_in_range(style: str) -> None:
    digits, _ = load_digits()
    images = draw(digits.ink[:20], style)
    assert images.shape == (20, 3, 16, 16)
    assert images.min() >= 0 and images.max() <= 1
    assert images.flatten(1).std(1).min() > 0.1


def test_colours_scale_with_the_ink() -> None:
    assert draw(ink([1.0, 0.5]), "red")[0, :, 0].T.tolist() == [
        pytest.approx([1.0, 0.15, 0.1]),
        pytest.approx([0.5, 0.075, 0.05]),
    ]


def test_inverted_is_black_ink_on_white() -> None:
    assert draw(ink([1.0, 0.25]), "inverted")[0, :, 0].T.tolist() == [[0.0] * 3, [0.75] * 3]


def test_outlined_is_the_rim_without_the_ink() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1.0
    rim = draw(dot, "outlined")[0, 0]
    assert rim[1:4, 1:4].tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert rim.sum() == 8


def test_striped_is_white_ink_before_diagonal_stripes() -> None:
    images = draw(ink([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]), "striped")[0]
    assert images[0].tolist() == [pytest.approx([0.55, 0.55, 0, 0]), pytest.approx([0.55, 1.0, 0, 0.55])]
    assert images[2].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]


def test_each_digit_in_its_own_style() -> None:
    digits, _ = load_digits()
    styles = torch.tensor([3, 0, 3, 5])
    images = draw_each(digits.ink[:4], styles)
    for row, style in enumerate(styles.tolist()):
        assert torch.equal(images[row], draw(digits.ink[row : row + 1], STYLES[style])[0])


def test_every_style_keeps_images_and_labels_together() -> None:
    _, digits = load_digits()
    images, objects, styles = every_style(digits)
    row = 2 * len(digits) + 7
    assert torch.equal(images[row], draw(digits.ink[7:8], STYLES[2])[0])
    assert (objects[row], styles[row]) == (digits.labels[7], 2)
    assert len(images) == len(objects) == len(styles) == 6 * 360
