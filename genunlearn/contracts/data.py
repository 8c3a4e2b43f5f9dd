"""Data of a request, and the sums that a loss is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from genunlearn.errors import NeedNotMet

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Reduction = Annotated[
    Literal["examples", "tokens"],
    Field(description="what a mean is over: a side's examples, or (language models) the answer tokens of all of them"),
]
"""A field of objectives: by default every example counts the same, however long it is."""

C = TypeVar("C")
"""What a family knows of a request besides its data: the scope of a fact, the prompts of a concept."""


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[C]):
    """The data of a request; items are whatever the domain collates.

    Attributes:
        forget: What is to be forgotten.
        retain: What must stay; None where the caller has none.
        holdout: Items of the same kind that the model never saw, for membership tests.
        context: What the family knows besides, for instance the `Scope` of a fact.
    """

    forget: Sequence[Any]
    retain: Sequence[Any] | None = None
    holdout: Sequence[Any] | None = None
    context: C | None = None


def with_sides(splits: Splits[C], forget: Sequence[Any], retain: Sequence[Any] | None) -> Splits[C]:
    """The same request with other training data."""
    return replace(splits, forget=forget, retain=retain)


@dataclass(frozen=True)
class Examples:
    """A collated batch of one side.

    Attributes:
        ids: Identifier of each example; caches are keyed by it.
        weight: ``(batch,)``, 1 for an example that counts and 0 for one that only fills a batch up.
        tensors: Named tensors, first dimension ``batch``.
        texts: What the tensors were made of, where a domain keeps it: it is read without asking the device.
        scores: What the trained model has said of these examples in this step already, by name, with its gradient.
    """

    ids: tuple[str, ...]
    weight: Tensor
    tensors: Mapping[str, Tensor]
    texts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def weights(self, reduction: Reduction = "examples") -> Tensor:
        """How much each example counts in a mean, ``(batch,)``: its weight, or that for each of its tokens.

        Raises:
            NeedNotMet: The mean is to be over tokens, and the examples have none.
        """
        if reduction == "examples":
            return self.weight
        if "tokens" not in self:
            raise NeedNotMet("method.reduction = 'tokens' needs a language model: take 'examples' for all others")
        return self.weight * self["tokens"]

    def to(self, device: torch.device) -> Examples:
        """The same examples on `device`."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return replace(self, weight=self.weight.to(device), tensors=moved)

    def unscored(self) -> Examples:
        """The same examples for another model, which has said nothing of them yet."""
        return replace(self, scores={}) if self.scores else self

    def padded(self) -> Examples:
        """The same examples as tensors alone: for who looks inside a model, where each has its row."""
        return replace(self, texts={}, scores={})


@dataclass(frozen=True)
class Batch:
    """One step's data: a forget side and, where the method needs it, a retain side."""

    forget: Examples | None = None
    retain: Examples | None = None

    def sides(self) -> Iterator[tuple[str, Examples]]:
        """The sides that are there, by name."""
        for name in ("forget", "retain"):
            if (examples := getattr(self, name)) is not None:
                yield name, examples


@dataclass(frozen=True)
class Term:
    """One addend of a loss: ``coefficient * sum / count``, where the loop knows the count.

    Attributes:
        sum: Scalar, the sum over the examples of one side.
        side: ``forget`` or ``retain``: whose examples the loop divides by, over accumulation and processes.
        coefficient: Weight of the term in the loss.
        reduction: Whether the loop divides by the number of the side's examples or of their tokens.
    """

    sum: Tensor
    side: str
    coefficient: float = 1.0
    reduction: Reduction = "examples"

    @classmethod
    def of(
        cls,
        values: Tensor,
        examples: Examples,
        side: str,
        coefficient: float = 1.0,
        reduction: Reduction = "examples",
    ) -> Term:
        """Sum per-example `values` of shape ``(batch,)`` under the examples' weights.

        With `reduction` ``tokens`` a value is the mean over its example's tokens, and counts once for each of them.
        """
        return cls((values * examples.weights(reduction).to(values.dtype)).sum(), side, coefficient, reduction)


Terms = Mapping[str, Term]
