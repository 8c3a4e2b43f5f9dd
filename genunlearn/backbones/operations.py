"""The eight operations that an edge of a cell chooses among, as in DARTS.

Source: Liu, Simonyan, Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019, section 3.1, and its code.
Deviations: a reduction of a picture with odd sides pads it, where the original fails.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NONE = "none"


class Zero(nn.Module):
    """Nothing passes."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)``; height and width divided by the stride, upwards."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """Half the size by two convolutions, one of them a pixel aside, so that no pixel is lost."""

    def __init__(self, channels: int, out_channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        half = out_channels // 2
        self.first = nn.Conv2d(channels, half, 1, stride=2, bias=False)
        self.second = nn.Conv2d(channels, out_channels - half, 1, stride=2, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to half the height and width, upwards."""
        x = F.relu(x)
        aside = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        result: Tensor = self.norm(torch.cat([self.first(x), self.second(aside)], 1))
        return result


Norm = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""


def searching_norm(channels: int) -> nn.Module:
    """While searching: no scale of its own, which would compete with the weights of the operations.

    Deviation from the original: statistics are always those of the batch, so that nothing but weights has a state.
    """
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)


def convolved(channels: int, out_channels: int, norm: Norm) -> nn.Module:
    """ReLU, a convolution of 1 x 1, normalisation."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, out_channels, 1, bias=False), norm(out_channels))


def _separable(channels: int, size: int, stride: int, dilation: int, norm: Norm) -> list[nn.Module]:
    padding = dilation * (size - 1) // 2
    depthwise = nn.Conv2d(channels, channels, size, stride, padding, dilation, groups=channels, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), norm(channels)]


def _sep_conv(size: int) -> Callable[[int, int, Norm], nn.Module]:
    return lambda channels, stride, norm: nn.Sequential(
        *_separable(channels, size, stride, 1, norm), *_separable(channels, size, 1, 1, norm)
    )


def _dil_conv(size: int) -> Callable[[int, int, Norm], nn.Module]:
    return lambda channels, stride, norm: nn.Sequential(*_separable(channels, size, stride, 2, norm))


def _skip(channels: int, stride: int, norm: Norm) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, norm)


OPERATIONS: dict[str, Callable[[int, int, Norm], nn.Module]] = {
    NONE: lambda channels, stride, norm: Zero(stride),
    "max_pool_3x3": lambda channels, stride, norm: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride, norm: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": _skip,
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
}
"""By the name that the paper's code gives it: makes the operation for so many channels and a stride."""


class MixedOperation(nn.Module):
    """All operations at once, each with its weight; pooling is normalised too."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        for name, make in OPERATIONS.items():
            part = make(channels, stride, searching_norm)
            self.parts.append(nn.Sequential(part, searching_norm(channels)) if "pool" in name else part)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """`weights`: one number an operation."""
        # The first is `none`, which adds nothing: its weight counts through the softmax alone.
        first, *others = [part(x) * weight for part, weight in zip(self.parts[1:], weights[1:], strict=True)]
        return sum(others, first)
