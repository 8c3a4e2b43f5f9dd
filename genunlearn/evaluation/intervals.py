"""95% intervals as metrics use them; the arithmetic is in `genunlearn.ops.intervals`, which attacks read too."""

from genunlearn.ops.intervals import LEVEL, RESAMPLES, mean, share

__all__ = ["LEVEL", "RESAMPLES", "mean", "share"]
