"""``lab:digits``: scikit-learn's handwritten digits (8 x 8 pixels, 1,797 of them) and a small ResNet.

Two studies stand on the same pictures. In ``digits`` the labels are the ten digits. In ``digits_coarse`` they are five
pairs of digits (0-1, 2-3, 4-5, 6-7, 8-9) and the digit is a sub-class, so that one digit can be forgotten while the
other one of its pair, and with it the label, stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig
from genunlearn.lab.network.study import Data, Lab, Study, open_lab

TEST_SIZE = 360
WIDTH = 16


class Block(nn.Module):
    """Two convolutions with BatchNorm, added to what came in (He et al., 2016)."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        """`stride`: by what the picture shrinks."""
        super().__init__()
        self.body = nn.Sequential(
            _convolution(channels, out_channels, stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            _convolution(out_channels, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        )
        changes = stride != 1 or channels != out_channels
        self.skip = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` in and out."""
        return torch.relu(self.body(x) + self.skip(x))


def build_resnet(classes: int, width: int = WIDTH) -> nn.Module:
    """A residual network of three stages for pictures of one channel, with fresh weights."""
    return nn.Sequential(
        _convolution(1, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def read_digits(*, is_coarse: bool) -> Data:
    """The digits with values in [-1, 1], split once and for all, every digit in the same share."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundled = load_digits()
    pictures = torch.from_numpy(bundled.images).float()[:, None] / 8 - 1
    digits = torch.from_numpy(bundled.target)
    items = as_items((pictures, digits // 2 if is_coarse else digits, digits), prefix="digit-")
    train, test = train_test_split(items, test_size=TEST_SIZE, stratify=bundled.target, random_state=0)
    return Data(train, test)


def _convolution(channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)


def _study(name: str, classes: int, read: Callable[[], Data]) -> Study:
    settings = FitConfig(epochs=10, learning_rate=0.01, batch_size=64, weight_decay=0.01)
    return Study(
        name=name,
        read=read,
        adapter=lambda: Classifier(build_resnet(classes)),
        settings=settings,
        level=0.97,
    )


DIGITS = _study("digits", 10, partial(read_digits, is_coarse=False))
COARSE = _study("digits_coarse", 5, partial(read_digits, is_coarse=True))


def load(request: str = "class:3", *, seed: int = 0) -> Lab:
    """The lab for a request; ``subclass:`` takes the study with the coarse labels, everything else the ten digits.

    Raises:
        DataError: The request cannot be met.
    """
    return open_lab(COARSE if request.startswith("subclass:") else DIGITS, request, seed=seed)


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of the ten digits, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return DIGITS.build(without, force=force)


def build_coarse(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of the five pairs, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return COARSE.build(without, force=force)
