"""Whether images are images at all: an edit that went too far leaves NaN, one flat colour, or noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_CONTRAST = 0.25
"""An image is constant below this share of the least contrast among good images."""

MOST_FLATNESS = 4.0
"""Images are noise when their median spectral flatness is this many times that of good images."""

CONSTANT_SHARE = 0.5
"""Share of constant images at which a set is broken; single dark images occur."""


@dataclass(frozen=True)
class ImageCheck:
    """Finds images that are none, by comparison with good ones of the same prompts.

    Attributes:
        contrast: Least standard deviation of the pixels of a good image.
        flatness: Median spectral flatness of good images.
    """

    contrast: float
    flatness: float

    @classmethod
    def against(cls, good: Tensor) -> ImageCheck:
        """Learn from good images ``(n, 3, height, width)`` in [0, 1]: real ones, or those of the original model."""
        return cls(float(contrast(good).min()), float(spectral_flatness(good).median()))

    def __call__(self, images: Tensor) -> str | None:
        """What is wrong with the images ``(n, 3, height, width)``, or None."""
        is_finite = images.isfinite().flatten(1).all(1)
        if not is_finite.all():
            return f"{int((~is_finite).sum())} of {len(images)} images are not finite (NaN or infinite pixels)"
        is_constant = contrast(images) < LEAST_CONTRAST * self.contrast
        if is_constant.float().mean() >= CONSTANT_SHARE:
            return f"{int(is_constant.sum())} of {len(images)} images are constant (one flat colour)"
        flatness = float(spectral_flatness(images[~is_constant]).median())
        if flatness > MOST_FLATNESS * self.flatness:
            return (
                f"the images are noise: spectral flatness {flatness:.2g} (median), good images have {self.flatness:.2g}"
            )
        return None


def contrast(images: Tensor) -> Tensor:
    """Standard deviation of the pixels of each image ``(n, 3, height, width)``, all channels together, ``(n,)``."""
    return images.flatten(1).std(dim=1, unbiased=False)


def spectral_flatness(images: Tensor) -> Tensor:
    """Geometric over arithmetic mean of each image's power spectrum, constant part left out, ``(n,)``.

    Near 0 for images of things, ``exp(-0.577) = 0.56`` for white noise.
    """
    grey = images.mean(dim=1)
    power = torch.fft.fft2(grey - grey.mean(dim=(1, 2), keepdim=True)).abs().square().flatten(1)[:, 1:]
    power = power.clamp_min(torch.finfo(power.dtype).tiny)
    return power.log().mean(dim=1).exp() / power.mean(dim=1)
