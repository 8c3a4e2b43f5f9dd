"""The ordinary training loss as an objective: the stages of protocols that teach are made of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Needs, Objective, Reference, Term, Terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Supervised(Objective[Domain]):
    """The mean training loss of the retain side."""

    name: ClassVar[str] = "supervised"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)
    equation: ClassVar[str] = "CE(R)"

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """One term, ``retain``; forget examples are not looked at."""
        return {
            side: Term.of(model.example_loss(examples), examples, side)
            for side, examples in batch.sides()
            if side == "retain"
        }
