"""DER++: the memory also holds what the network said of its items when they came in.

    L = mean_T CE(y | x) + alpha mean_M mean_c (f(x)_c - z_c)^2 + beta mean_M' CE(y | x)

z are the logits that stand in the memory; M and M' are two draws from it.

Source: Buzzega, Boschini, Porrello, Abati, Calderara, "Dark Experience for General Continual Learning: a Strong, Simple
Baseline" (NeurIPS 2020), eq. 6. Authors' settings depend on the data set: alpha 0.1 to 1, beta 0.5 to 1.
Deviations: logits are taken when a task has been learnt, where the authors take them in the step in which an item comes
in. After a request to forget they are taken anew from the network that has forgotten, since the old ones come from one
that knew.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Term, Terms
from genunlearn.data.extras import with_extras
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.taught import joined
from genunlearn.methods.network.continual.base import CURRENT, Kept, Learner, draw, mean_term

LOGITS = "stored_logits"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DER(Learner):
    """Rehearsal of labels and of logits."""

    name: ClassVar[str] = "der"
    paper: ClassVar[str] = "Buzzega et al., NeurIPS 2020"
    equation: ClassVar[str] = "CE(T) + alpha MSE(f, z; M) + beta CE(M')"

    alpha: Annotated[float, Field(ge=0, description="weight of the stored logits")] = 0.5
    beta: Annotated[float, Field(ge=0, description="weight of the labels; 0 is DER without the two plus signs")] = 0.5

    def learning(self, kept: Kept) -> Objective[Any]:
        """Labels of the task, logits and labels of the memory."""
        return DarkRehearsal(kept, self)

    def settle(self, model: NetworkDomain, kept: Kept, task: list[Any], *, has_forgotten: bool) -> None:
        """Store the logits of what has come in; of everything after a request to forget."""
        held = kept.memory.items
        fresh = [row for row, item in enumerate(held) if has_forgotten or LOGITS not in item.extras]
        if not fresh:
            return
        named = with_extras([held[row] for row in fresh], **{LOGITS: model.predict([held[row] for row in fresh])})
        for row, item in zip(fresh, named, strict=True):
            held[row] = item


class DarkRehearsal(Objective[NetworkDomain]):
    """The loss of a task."""

    name = "der_task"
    needs: ClassVar[Needs] = CURRENT

    def __init__(self, kept: Kept, method: DER) -> None:
        """Take the memory as it is before the task."""
        self._kept, self._method = kept, method

    def loss(self, batch: Batch, model: NetworkDomain, reference: Any) -> Terms:
        """Terms ``task``, ``logits`` and ``labels``."""
        task, method = batch.retain, self._method
        if task is None:
            return {}
        first, second = (draw(self._kept.memory, method.replay_size, model) for _ in range(2))
        if first is None or second is None:
            return {"task": Term.of(model.example_loss(task), task, "retain")}
        everything = joined(task, first, second)
        of_task, of_first, of_second = torch.split(
            model.output_logits(everything), [len(task), len(first), len(second)]
        )
        apart = (of_first - first[LOGITS]).square().mean(1)
        return {
            "task": Term.of(model.loss_of(of_task, task["target"]), task, "retain"),
            "logits": mean_term(apart, task, "retain", method.alpha),
            "labels": mean_term(model.loss_of(of_second, second["target"]), task, "retain", method.beta),
        }
