"""What rooms promise each other: data of a request, the three method shapes, metrics and attacks.

A method is a frozen, keyword-only dataclass whose fields are its hyper-parameters, with bounds declared on the
field. It takes one of three shapes:

    Objective   a loss; the training loop does everything else
    Edit        one shot, no loop
    Protocol    wraps training, which is handed in
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from typing import Protocol as Interface

from pydantic import ConfigDict, Field

from genunlearn.errors import NeedNotMet

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from genunlearn.records import Result

STRICT = ConfigDict(extra="forbid", validate_default=True)
"""For ``@pydantic.dataclasses.dataclass(config=STRICT, frozen=True, kw_only=True)`` on every method."""

Reduction = Annotated[
    Literal["examples", "tokens"],
    Field(description="what a mean is over: a side's examples, or (language models) the answer tokens of all of them"),
]
"""A field of objectives: by default every example counts the same, however long it is."""


# ---- data of a request ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The data of a request; items are whatever the domain collates.

    Attributes:
        forget: What is to be forgotten.
        retain: What must stay; None where the caller has none.
        holdout: Items of the same kind that the model never saw, for membership tests.
        context: What the domain knows besides, for instance the `Scope` of a fact.
    """

    forget: Sequence[Any]
    retain: Sequence[Any] | None = None
    holdout: Sequence[Any] | None = None
    context: Any = None


@dataclass(frozen=True)
class Examples:
    """A collated batch of one side.

    Attributes:
        ids: Identifier of each example; caches are keyed by it.
        weight: ``(batch,)``, 1 for an example that counts and 0 for one that only fills a batch up.
        tensors: Named tensors, first dimension ``batch``.
    """

    ids: tuple[str, ...]
    weight: Tensor
    tensors: Mapping[str, Tensor]

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
        return Examples(self.ids, self.weight.to(device), moved)


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


# ---- models as methods see them -------------------------------------------------------------------------------


class Domain(abc.ABC):
    """A model family behind one face: what every method and metric may ask of a model."""

    name: ClassVar[str]
    module: nn.Module
    batch_shaped: ClassVar[frozenset[str]] = frozenset()
    """What a reference may be asked whose shape depends on the batch: it is never kept by example."""

    @abc.abstractmethod
    def collate(self, items: Sequence[Any]) -> Examples:
        """Turn items of this domain into a batch on the model's device, every weight 1."""

    @abc.abstractmethod
    def example_loss(self, examples: Examples) -> Tensor:
        """The training loss of each example, ``(batch,)``."""

    @abc.abstractmethod
    def output_logits(self, examples: Examples) -> Tensor:
        """The outputs that distillation compares, ``(batch, ..., classes)``."""


class Reference(Interface):
    """The frozen model inside a loss."""

    def ask(self, name: str, examples: Examples) -> Tensor:
        """What ``getattr(domain, name)(examples)`` gives on the frozen weights, without gradient."""


# ---- needs and method shapes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needs:
    """What a method cannot work without; checked before any weights load."""

    retain: bool = False
    reference: bool = False
    oracle: bool = False
    forget: bool = True
    whole_classes: bool = False
    """It works on classes as such: of a part of one, the rest would go as well."""
    full_weights: bool = False
    """It ranks or shrinks the weights themselves, so that an adapter beside them is of no use to it."""


class Method(abc.ABC):
    """What the three shapes share: a name, the domains it fits, its needs."""

    name: ClassVar[str]
    domains: ClassVar[frozenset[str]]
    needs: ClassVar[Needs] = Needs()
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""

    @property
    def is_general(self) -> bool:
        """Whether it fits several kinds of model; it then trains on a domain's plain examples."""
        return len(self.domains) > 1

    @classmethod
    def check(
        cls,
        domain: str,
        *,
        retain: bool = True,
        oracle: bool = False,
        whole_classes: bool = True,
        full_weights: bool = True,
    ) -> None:
        """Refuse a pairing that cannot work, naming what is missing.

        Raises:
            NeedNotMet: The method does not fit `domain`, lacks retain data or an oracle, cannot forget a part of a
                class, or cannot work on an adapter.
        """
        if domain not in cls.domains:
            fits = ", ".join(sorted(cls.domains))
            raise NeedNotMet(f"method {cls.name!r} does not fit domain {domain!r}: it fits {fits}")
        for need, given in (("retain", retain), ("oracle", oracle)):
            if getattr(cls.needs, need) and not given:
                raise NeedNotMet(f"method {cls.name!r} needs {need} data or models, and none is given: add one")
        if cls.needs.whole_classes and not whole_classes:
            raise NeedNotMet(
                f"method {cls.name!r} forgets whole classes, and the forget set holds parts of some: ask for class:, "
                "or take another method"
            )
        if cls.needs.full_weights and not full_weights:
            raise NeedNotMet(
                f"method {cls.name!r} works on the weights themselves, not on a LoRA: set parameters.kind = 'full'"
            )


class Objective(Method):
    """A loss. Values are per example; the loop sums, normalises and steps."""

    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = ()
    """``(side, name)`` of what is asked of the reference per example: one pass over the data fills a cache."""

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Add to the data what the loss asks for (refusals, relabelled targets); by default nothing."""
        return splits

    @abc.abstractmethod
    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """The terms of the loss on one batch."""


@dataclass(frozen=True, kw_only=True)
class EditReport:
    """What a one-shot edit did."""

    changed: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


class Edit(Method):
    """A change of weights in one shot."""

    @abc.abstractmethod
    def apply(self, model: Any, splits: Splits) -> EditReport:
        """Change the model's weights in place and say what was changed."""


class Journal(Interface):
    """Memory of a protocol: finished stages are read back after an interruption instead of being done again."""

    def stage(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON value of the stage: recorded, or computed now and recorded."""

    def announce(self, message: str) -> None:
        """Tell the person who watches what happens."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """Show how far long work is: what is entered is called after each step, with a ``note`` or without."""


class Train(Interface):
    """The training loop as a protocol sees it."""

    def __call__(
        self,
        objective: Objective,
        splits: Splits,
        *,
        steps: int | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Train the model in place, for other than the configured number of steps or at another rate where given."""

    def fuse(self) -> None:
        """Fold what has been trained into the weights and go on with a fresh trainable set."""

    def undo(self) -> None:
        """Put the weights back to where they were before the latest call, unless they have been fused since."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a protocol ended: ``forgotten``, ``not_forgotten``, ``utility_floor`` or the like."""

    status: str
    reason: str
    rounds: Sequence[Mapping[str, Any]] = ()
    artefacts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    """Weight tensors that an edit has changed."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What an edit reports of itself."""


class Protocol(Method):
    """A procedure around training, which is handed in."""

    @abc.abstractmethod
    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Carry the procedure out on `model` in place."""


# ---- measurement ----------------------------------------------------------------------------------------------


class Metric(abc.ABC):
    """A number from probes."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool | None] = None

    @abc.abstractmethod
    def measure(self, probes: Any, target: str) -> list[Result]:
        """Results for the model `target` from its cached probes."""


class Attack(abc.ABC):
    """A probe with a budget."""

    name: ClassVar[str]
    domains: ClassVar[frozenset[str]]
    version: ClassVar[int] = 1

    @property
    @abc.abstractmethod
    def budget(self) -> str:
        """What the attacker has and may do, in words."""

    @abc.abstractmethod
    def run(self, model: Any, splits: Splits, target: str) -> list[Result]:
        """Attack `model` within the budget held in the attack's fields."""


def with_sides(splits: Splits, forget: Sequence[Any], retain: Sequence[Any] | None) -> Splits:
    """The same request with other training data."""
    return replace(splits, forget=forget, retain=retain)
