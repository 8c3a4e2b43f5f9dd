"""What learners of tasks share: what they keep between requests, and the drawing of what they rehearse."""

from __future__ import annotations

import abc
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Objective, Term
from genunlearn.data.network.memory import Memory
from genunlearn.domains.network.base import NetworkDomain

CURRENT = Needs(retain=True, forget=False)


@plain_dataclass
class Kept:
    """What a learner keeps between requests, besides its network.

    Attributes:
        memory: Items of what was learnt and is not forgotten.
        tensors: A learner's own, by name.
    """

    memory: Memory
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Learner(abc.ABC):
    """A way to learn one task after the other."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""
    forgets: ClassVar[bool] = False
    """Whether it has a loss of its own for what is to be forgotten."""

    capacity: Annotated[int, Field(ge=1, description="items that the memory holds")] = 200
    replay_size: Annotated[int, Field(ge=1, description="items of the memory in a step")] = 32

    def surround(self, network: NetworkDomain, seed: int) -> NetworkDomain:
        """What is trained: the network itself, or one around it with what the losses need besides."""
        return network

    @abc.abstractmethod
    def learning(self, kept: Kept) -> Objective[Any]:
        """The loss of a task, whose items are the side ``retain``."""

    def forgetting(self, kept: Kept) -> Objective[Any] | None:
        """The loss of a request to forget, whose items are the side ``forget``; None where a method has to be named."""
        return None

    def settle(self, model: NetworkDomain, kept: Kept, task: list[Any], *, has_forgotten: bool) -> None:
        """Take down what is needed later, after a request; the memory holds what it shall hold from now on.

        Args:
            model: What was trained, in evaluation mode.
            kept: Changed in place.
            task: Items of the task that was learnt; empty after forgetting.
            has_forgotten: Whether the request was to forget: nothing may stay that tells of what is gone.
        """
        return


def draw(memory: Memory, size: int, model: NetworkDomain) -> Examples | None:
    """Some items of the memory, by the random state of torch, which the loop sets for each step; None if it is empty.

    At least two are drawn where there are two, since BatchNorm learns nothing from one.
    """
    if not memory.items:
        return None
    rows = torch.randperm(len(memory))[: max(size, 2)].tolist()
    return model.collate([memory.items[row] for row in rows])


def mean_term(values: Tensor, side: Examples, name: str, coefficient: float = 1.0) -> Term:
    """The mean of `values`, which are of other examples than those that the loop divides by."""
    return Term(values.mean() * side.weight.sum(), name, coefficient)
