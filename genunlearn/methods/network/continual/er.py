"""Experience replay: items of earlier tasks from a memory beside those of the present one.

    L = mean_T CE(y | x) + w mean_M CE(y | x)

T is a batch of the task, M one of the memory.

Source: Ratcliff, "Connectionist Models of Recognition Memory" (Psychological Review 1990); Chaudhry et al., "On Tiny
Episodic Memories in Continual Learning" (2019).
Deviations: both sides have a mean of their own, where the usual code has one over both; the memory takes the items of a
task once, when it has been learnt, where that code offers it every batch of every epoch, so that an item may stand in
it twice.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Term, Terms
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.taught import joined
from genunlearn.methods.network.continual.base import CURRENT, Kept, Learner, draw, mean_term


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ER(Learner):
    """Rehearsal of items from the memory."""

    name: ClassVar[str] = "er"
    paper: ClassVar[str] = "Chaudhry et al., 2019"
    equation: ClassVar[str] = "CE(T) + w CE(M)"

    replay_weight: Annotated[float, Field(ge=0, description="w, weight of the memory")] = 1.0

    def learning(self, kept: Kept) -> Objective[Any]:
        """Labels of the task and of the memory."""
        return Rehearsal(kept, self)


class Rehearsal(Objective[NetworkDomain]):
    """The loss of a task."""

    name = "er_task"
    needs: ClassVar[Needs] = CURRENT

    def __init__(self, kept: Kept, method: ER) -> None:
        """Take the memory as it is before the task."""
        self._kept, self._method = kept, method

    def loss(self, batch: Batch, model: NetworkDomain, reference: Any) -> Terms:
        """Terms ``task`` and ``memory``."""
        task = batch.retain
        if task is None:
            return {}
        again = draw(self._kept.memory, self._method.replay_size, model)
        # One forward pass, so that BatchNorm sees old and new together.
        losses = model.example_loss(task if again is None else joined(task, again))
        terms = {"task": Term.of(losses[: len(task)], task, "retain")}
        if again is not None:
            terms["memory"] = mean_term(losses[len(task) :], task, "retain", self._method.replay_weight)
        return terms
