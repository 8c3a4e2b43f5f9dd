"""Elastic weight consolidation, online: weights that mattered for earlier tasks are held where they were.

    L = mean_T CE(y | x) + lambda / 2 sum_i F_i (theta_i - theta*_i)^2
    F <- decay F + mean_T (d log p(y | x) / d theta)^2,  theta* <- theta          after each task

Source: Kirkpatrick et al., "Overcoming Catastrophic Forgetting in Neural Networks" (PNAS 2017), eq. 3; Schwarz et al.,
"Progress & Compress" (ICML 2018), section 4, for one running F.
Deviations: the empirical Fisher, of the true labels. The memory is not rehearsed in learning: it is there for requests
to forget, whose methods need something that must stay. After such a request F is measured anew on the memory, since the
old one holds the network where it knew what is gone.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Term, Terms
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.methods.network.continual.base import CURRENT, Kept, Learner
from genunlearn.ops.fisher import empirical_fisher

FISHER, ANCHOR = "fisher/", "anchor/"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EWC(Learner):
    """A quadratic penalty on weights that mattered."""

    name: ClassVar[str] = "ewc"
    paper: ClassVar[str] = "Kirkpatrick et al., PNAS 2017"
    equation: ClassVar[str] = "CE(T) + lambda/2 sum F (theta - theta*)^2"

    penalty: Annotated[float, Field(ge=0, description="lambda")] = 100.0
    decay: Annotated[float, Field(ge=0, le=1, description="what stays of the importance with a new task")] = 1.0
    fisher_items: Annotated[int, Field(ge=1, description="items of a task that it is measured on")] = 256

    def learning(self, kept: Kept) -> Objective[Any]:
        """Labels of the task, and the penalty."""
        return Consolidation(kept, self.penalty)

    def settle(self, model: NetworkDomain, kept: Kept, task: list[Any], *, has_forgotten: bool) -> None:
        """Measure what mattered, and take down where the weights are."""
        measured = list(kept.memory.items if has_forgotten else task)[: self.fisher_items]
        weights = {name: weight.detach() for name, weight in model.network.named_parameters()}
        with model.inference():
            found = empirical_fisher(model.sample_loss, weights, model.collate(measured).tensors)
        for name, weight in weights.items():
            before = None if has_forgotten else kept.tensors.get(FISHER + name)
            mean = found[name] / len(measured)
            kept.tensors[FISHER + name] = mean if before is None else self.decay * before.to(mean) + mean
            kept.tensors[ANCHOR + name] = weight.clone()


class Consolidation(Objective[NetworkDomain]):
    """The loss of a task."""

    name = "ewc_task"
    needs: ClassVar[Needs] = CURRENT

    def __init__(self, kept: Kept, penalty: float) -> None:
        """Take importance and anchors as they are before the task."""
        self._tensors, self._penalty = dict(kept.tensors), penalty

    def loss(self, batch: Batch, model: NetworkDomain, reference: Any) -> Terms:
        """Terms ``task`` and, from the second task on, ``penalty``."""
        task = batch.retain
        if task is None:
            return {}
        terms = {"task": Term.of(model.example_loss(task), task, "retain")}
        if self._tensors:
            terms["penalty"] = Term(self._distance(model) * task.weight.sum(), "retain", self._penalty / 2)
        return terms

    def _distance(self, model: NetworkDomain) -> Tensor:
        own = model.network.named_parameters()
        parts = [
            (self._tensors[FISHER + name].to(w) * (w - self._tensors[ANCHOR + name].to(w)).square()).sum()
            for name, w in own
        ]
        return torch.stack(parts).sum()
