"""Gaussian-amnesiac: the forget set with targets drawn from a normal distribution, among the retain set.

    L = mean_{F' u R} loss(f(x), y),   F' = F with y' ~ N(mean(y), sd(y)) over the training targets

Source: Tarun et al., "Deep Regression Unlearning" (ICML 2023), baseline; 1 epoch (AgeDB) or 5 (STS-B), Adam 1e-3,
batches of 256.
Deviations: none by default: draws may leave the targets' range, as in the reference; `clip` keeps them inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Reference, Splits, Term, Terms, with_sides
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GaussianAmnesiac(Objective[NetworkDomain]):
    """The training loss of the whole data set with Gaussian targets on the forget set."""

    name: ClassVar[str] = "gaussian_amnesiac"
    domains: ClassVar[frozenset[str]] = frozenset({"regression"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Tarun et al., ICML 2023"
    equation: ClassVar[str] = "loss(F with y' ~ N(mean, sd), and R)"

    clip: Annotated[bool, Field(description="keep the draws within the range of the training targets")] = False

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Draw targets for the forget items and shuffle these in among the retain items."""
        retain = list(splits.retain or ())
        return with_sides(splits, (), [*self._redrawn(splits.forget, retain, seed), *retain])

    def loss(self, batch: Batch, model: NetworkDomain, reference: Reference | None) -> Terms:
        """One term for each side that is there; prepared data have one side, ``retain``."""
        return {side: Term.of(model.example_loss(examples), examples, side) for side, examples in batch.sides()}

    def _redrawn(self, forget: Sequence[Item], retain: Sequence[Item], seed: int) -> list[Item]:
        known = targets_of([*forget, *retain])
        noise = torch.randn(len(forget), *known.shape[1:], generator=torch.Generator().manual_seed(seed))
        drawn = known.mean(0) + known.std(0) * noise
        if self.clip:
            drawn = drawn.clamp(known.amin(0), known.amax(0))
        return [replace(item, target=target) for item, target in zip(forget, drawn, strict=True)]
