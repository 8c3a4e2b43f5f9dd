"""SCRUB: a student that disobeys the original on the forget set and obeys it on the retain set, in turns.

    max pass:  maximise  mean_F KL_T( f_0(x) || f(x) )
    min pass:  minimise  gamma mean_R CE(y | x) + alpha mean_R KL_T( f_0(x) || f(x) )

The first `max_rounds` rounds are a max pass followed by a min pass, the others a min pass alone; KL_T is the divergence
at temperature T times T^2.

Source: Kurmanji, Triantafillou, Hayes, Triantafillou, "Towards Unbounded Machine Unlearning" (NeurIPS 2023), Algorithm
1. Authors' settings: 10 epochs, 3 with a max pass, gamma 1, alpha 0.5, T 2, Adam 5e-4 with weight decay 0.1, batches of
64 (max) and 32 (min).
Deviations: a pass is a number of steps; the optimiser starts anew with every pass and the learning rate is the loop's,
where the authors keep one optimiser and divide its rate by 10 at epochs 5, 8 and 9. At a constant rate seven rounds
without a max pass bring the forget set back, so the default is two. The original's answers are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.extras import with_extras
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.ops.divergences import kl_divergence

TEACHER = "teacher_logits"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MaxPass(Objective[NetworkDomain]):
    """Away from the original on the forget set."""

    name: ClassVar[str] = "scrub_max"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    temperature: float

    def loss(self, batch: Batch, model: NetworkDomain, reference: Reference | None) -> Terms:
        """One term, ``forget``."""
        if batch.forget is None:
            return {}
        logits = model.output_logits(batch.forget)
        values = kl_divergence(batch.forget[TEACHER], logits, temperature=self.temperature)
        return {"forget": Term.of(values, batch.forget, "forget", -(self.temperature**2))}


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MinPass(Objective[NetworkDomain]):
    """Towards the original and the labels on the retain set."""

    name: ClassVar[str] = "scrub_min"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)
    gamma: float
    alpha: float
    temperature: float

    def loss(self, batch: Batch, model: NetworkDomain, reference: Reference | None) -> Terms:
        """Two terms, ``retain`` and ``distance``."""
        if batch.retain is None:
            return {}
        logits = model.output_logits(batch.retain)
        apart = kl_divergence(batch.retain[TEACHER], logits, temperature=self.temperature)
        labels = model.loss_of(logits, batch.retain["target"])
        return {
            "retain": Term.of(labels, batch.retain, "retain", self.gamma),
            "distance": Term.of(apart, batch.retain, "retain", self.alpha * self.temperature**2),
        }


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Scrub(Protocol[NetworkDomain]):
    """Rounds of disobeying and obeying the original."""

    name: ClassVar[str] = "scrub"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Kurmanji et al., NeurIPS 2023"
    equation: ClassVar[str] = "max KL(f_0 || f) on F, then min gamma CE + alpha KL(f_0 || f) on R"

    gamma: Annotated[float, Field(ge=0, description="weight of the labels in a min pass")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the original in a min pass")] = 0.5
    temperature: Annotated[float, Field(gt=0, description="T of both divergences")] = 2.0
    rounds: Annotated[int, Field(ge=1, description="min passes")] = 5
    max_rounds: Annotated[int, Field(ge=0, description="how many rounds, from the first, begin with a max pass")] = 3
    max_steps: Annotated[int, Field(ge=1, description="steps of a max pass")] = 20
    min_steps: Annotated[int, Field(ge=1, description="steps of a min pass")] = 20

    def run(self, train: Train, model: NetworkDomain, splits: Splits, journal: Journal) -> Outcome:
        """Ask the original once, then take turns."""
        forget = self._taught(model, splits.forget)
        retain = self._taught(model, splits.retain or ())
        obey = MinPass(gamma=self.gamma, alpha=self.alpha, temperature=self.temperature)
        disobey = MaxPass(temperature=self.temperature)
        for number in range(self.rounds):
            if number < self.max_rounds:
                train(disobey, with_sides(splits, forget, None), steps=self.max_steps)
            train(obey, with_sides(splits, (), retain), steps=self.min_steps)
        reason = f"{self.rounds} rounds, the first {min(self.max_rounds, self.rounds)} with a max pass"
        return Outcome(status="trained", reason=reason)

    @staticmethod
    def _taught(model: NetworkDomain, items: Sequence[Item]) -> list[Item]:
        return with_extras(items, **{TEACHER: model.predict(items)})
