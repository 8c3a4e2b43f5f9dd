"""The lab's real images: scikit-learn's handwritten digits, drawn in six styles at 16 x 16 pixels.

Source of the digits: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), 1,797 images of 8 x 8 pixels, bundled with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.lab.diffusion.digit_prompts import STYLES
from genunlearn.lab.diffusion.recipe import IMAGE_SIZE

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 0
"""Fixed: every model and every judge leaves the same digits out."""


@dataclass(frozen=True)
class Digits:
    """Handwritten digits without a style.

    Attributes:
        ink: ``(n, 1, 16, 16)`` in [0, 1], 1 where there is ink.
        labels: ``(n,)`` int64, the digit.
    """

    ink: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_digits() -> tuple[Digits, Digits]:
    """Digits to train on, and held-out ones that no model and no judge has seen; both hold every digit alike often."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    data = datasets.load_digits()
    ink = torch.from_numpy(data.images).float()[:, None] / 16
    ink = F.interpolate(ink, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=False).clamp(0, 1)
    labels = torch.from_numpy(data.target).long()
    rows = train_test_split(range(len(labels)), test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=labels)
    train, held_out = (Digits(ink[part], labels[part]) for part in rows)
    return train, held_out


def draw(ink: Tensor, style: str) -> Tensor:
    """Digits in a style.

    Args:
        ink: ``(n, 1, height, width)`` in [0, 1].
        style: One of `STYLES`.

    Returns:
        ``(n, 3, height, width)`` RGB in [0, 1].
    """
    return _STYLES[style](ink)


def draw_each(ink: Tensor, styles: Tensor) -> Tensor:
    """Each digit in its own style: ``(n, 1, h, w)`` ink and ``(n,)`` indices into `STYLES` to ``(n, 3, h, w)`` RGB."""
    images = ink.new_empty(len(ink), 3, *ink.shape[2:])
    for index in styles.unique().tolist():
        rows = styles == index
        images[rows] = draw(ink[rows], STYLES[index])
    return images


def every_style(digits: Digits) -> tuple[Tensor, Tensor, Tensor]:
    """All digits in all styles: images ``(n * styles, 3, 16, 16)``, digits and styles ``(n * styles,)``."""
    images = torch.cat([draw(digits.ink, style) for style in STYLES])
    styles = torch.arange(len(STYLES)).repeat_interleave(len(digits))
    return images, digits.labels.repeat(len(STYLES)), styles


def _coloured(*rgb: float) -> Callable[[Tensor], Tensor]:
    return lambda ink: ink * torch.tensor(rgb).view(1, 3, 1, 1)


def _inverted(ink: Tensor) -> Tensor:
    return (1 - ink).expand(-1, 3, -1, -1).clone()


def _outlined(ink: Tensor) -> Tensor:
    """The rim of one pixel around the ink, in white."""
    rim = 1.5 * (F.max_pool2d(ink, 3, stride=1, padding=1) - ink)
    return rim.clamp(0, 1).expand(-1, 3, -1, -1).clone()


def _striped(ink: Tensor) -> Tensor:
    """White ink on diagonal stripes of two pixels, ochre and black."""
    place = torch.arange(ink.shape[-2])[:, None] + torch.arange(ink.shape[-1])
    stripes = (place % 4 < 2) * torch.tensor([0.55, 0.45, 0.0]).view(3, 1, 1)
    return ink + (1 - ink) * stripes


_STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "red": _coloured(1.0, 0.15, 0.1),
    "green": _coloured(0.1, 0.9, 0.2),
    "blue": _coloured(0.2, 0.35, 1.0),
    "inverted": _inverted,
    "outlined": _outlined,
    "striped": _striped,
}
