"""Gaussian copula: each column keeps its distribution, and normal scores hang together as a normal distribution says.

    z = Phi^-1(F(x)),  R = corr(z),  z_s ~ N(0, R),  x_s = F^-1(Phi(z_s))

Source: Patki et al., "The Synthetic Data Vault" (DSAA 2016); the copula is Sklar's.
Deviations: F is the empirical distribution (`scores`), not a fitted family, so the least and the greatest number of a
column may come out again. It is written here since the library of the paper's authors has a licence that is not free
(BUSL-1.1).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.data.tables import Table
from genunlearn.synthesis.base import Generator
from genunlearn.synthesis.gaps import FilledTable
from genunlearn.synthesis.scores import NormalScores


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GaussianCopula(Generator):
    """Correlated normal scores."""

    name: ClassVar[str] = "gaussian_copula"
    paper: ClassVar[str] = "Patki et al., DSAA 2016"
    equation: ClassVar[str] = "z_s ~ N(0, corr(Phi^-1(F(x)))), x_s = F^-1(Phi(z_s))"

    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """Correlate the scores and draw new ones."""
        filled = FilledTable(real)
        scores = NormalScores(filled.table)
        known = scores(seed)
        deviations = known - known.mean(0)
        spread = deviations.std(0)
        joint = (deviations / spread).T @ (deviations / spread) / len(known)
        # A column that others determine makes it singular: the root of the eigenvalues needs no inverse.
        sizes, axes = np.linalg.eigh(joint)
        drawn = np.random.default_rng((seed, 1)).standard_normal((rows, len(sizes)))
        mixed = (drawn * np.sqrt(sizes.clip(0))) @ axes.T
        return filled.back(scores.back(mixed))
