"""The three shapes of a method.

A method is a frozen, keyword-only dataclass whose fields are its hyper-parameters, with bounds declared on the
field. It takes one of three shapes:

    Objective   a loss; the training loop does everything else
    Edit        one shot, no loop
    Protocol    wraps training, which is handed in
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar
from typing import Protocol as Interface

from pydantic import ConfigDict

from genunlearn.contracts.data import Batch, Splits, Terms
from genunlearn.contracts.model import Domain, Reference
from genunlearn.errors import NeedNotMet

STRICT = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
"""For ``@pydantic.dataclasses.dataclass(config=STRICT, frozen=True, kw_only=True)`` on every method."""

D = TypeVar("D", bound=Domain)
"""The domain that a method or an attack works on; `Domain` itself for general ones."""


@dataclass(frozen=True)
class Needs:
    """What a method cannot work without; checked before any weights load."""

    retain: bool = False
    reference: bool = False
    facts: bool = False
    """It works on facts (subject, object, question), not on bare pairs of question and answer."""
    forget: bool = True
    labels: bool = False
    """It gives examples other labels: classes, answers, images of other concepts."""
    whole_classes: bool = False
    """It works on classes as such: of a part of one, the rest would go as well."""
    full_weights: bool = False
    """It ranks or shrinks the weights themselves, so that an adapter beside them is of no use to it."""


class Method(abc.ABC):
    """What the three shapes share: a name, what it asks of a model, its needs.

    A method of one family names its `domains`. A general one names none: it fits every domain that offers what it
    `asks`.
    """

    name: ClassVar[str]
    domains: ClassVar[frozenset[str] | None] = None
    asks: ClassVar[frozenset[str]] = frozenset()
    trains_on: ClassVar[Literal["examples", "request"]] = "request"
    """A request's own items, or plain training examples of the domain, which some families make from the request."""
    needs: ClassVar[Needs] = Needs()
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "bounded"
    """Where more and more training leads: to an end, ever further away (a loss without a lower bound), or, from fresh
    weights, to a model that has nothing of the original."""
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""

    @classmethod
    def fits(cls, domain: type[Domain]) -> bool:
        """Whether it can work on models of `domain`."""
        has_labels = domain.has_labels or not cls.needs.labels
        return has_labels and cls.asks <= domain.offers and (cls.domains is None or domain.name in cls.domains)

    @classmethod
    def check(
        cls,
        domain: type[Domain],
        *,
        retain: bool = True,
        facts: bool = True,
        whole_classes: bool = True,
        full_weights: bool = True,
    ) -> None:
        """Refuse a pairing that cannot work, naming what is missing.

        Raises:
            NeedNotMet: The method does not fit `domain`, lacks retain data or facts, cannot forget a part of a class,
                or cannot work on an adapter.
        """
        if not cls.fits(domain):
            fits = ", ".join(sorted(cls.domains or ()))
            lacking = ", ".join(sorted(cls.asks - domain.offers))
            asked = f"it asks for {lacking}, which that does not offer" if lacking else "its examples have no labels"
            reason = f"it fits {fits}" if fits else asked
            raise NeedNotMet(f"method {cls.name!r} does not fit domain {domain.name!r}: {reason}")
        if cls.needs.retain and not retain:
            raise NeedNotMet(f"method {cls.name!r} needs retain data, and none is given: add some")
        if cls.needs.facts and not facts:
            raise NeedNotMet(f"method {cls.name!r} needs facts (subject, object, question), not bare QA pairs")
        if cls.needs.whole_classes and not whole_classes:
            raise NeedNotMet(
                f"method {cls.name!r} forgets whole classes, and the forget set holds parts of some: ask for class:, "
                "or take another method"
            )
        if cls.needs.full_weights and not full_weights:
            raise NeedNotMet(
                f"method {cls.name!r} works on the weights themselves, not on a LoRA: set parameters.kind = 'full'"
            )

    def check_model(self, model: Any) -> None:  # noqa: B027 - most methods name no part of a model
        """Refuse a loaded model that lacks a part which the hyper-parameters name; by default none is refused.

        Raises:
            MismatchError: It has no such layer or the like.
        """


class Objective(Method, Generic[D]):
    """A loss. Values are per example; the loop sums, normalises and steps."""

    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = ()
    """``(side, name)`` of what is asked of the reference per example: one pass over the data fills a cache."""
    asks_reference_else: ClassVar[bool] = True
    """Whether the reference may be asked for more than that; where not, it need not be kept beside the model."""
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = ()
    """``(side, name)`` of what the loss asks of the model, each at the weights that the step began with: some domains
    answer them in one pass."""

    def prepare(self, splits: Splits[Any], seed: int) -> Splits[Any]:
        """Add to the data what the loss asks for (refusals, relabelled targets); by default nothing."""
        return splits

    @abc.abstractmethod
    def loss(self, batch: Batch, model: D, reference: Reference) -> Terms:
        """The terms of the loss on one batch."""


@dataclass(frozen=True, kw_only=True)
class EditReport:
    """What a one-shot edit did."""

    changed: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


class Edit(Method, Generic[D]):
    """A change of weights in one shot."""

    @abc.abstractmethod
    def apply(self, model: D, splits: Splits[Any]) -> EditReport:
        """Change the model's weights in place and say what was changed."""


class Watcher(Interface):
    """Tells the person who waits what is being done."""

    def announce(self, message: str) -> None:
        """Tell the person who watches what happens."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """Show how far long work is: what is entered is called after each step, with a ``note`` or without."""


class Journal(Watcher, Interface):
    """Memory of a protocol: finished stages are read back after an interruption instead of being done again."""

    def stage(self, name: str, compute: Callable[[], Any]) -> Any:
        """The JSON value of the stage: recorded, or computed now and recorded."""


class Train(Interface):
    """The training loop as a protocol sees it."""

    def __call__(
        self,
        objective: Objective[Any],
        splits: Splits[Any],
        *,
        steps: int | None = None,
        learning_rate: float | None = None,
        check: Callable[[int], bool] | None = None,
    ) -> None:
        """Train the model in place, for other than the configured number of steps or at another rate where given.

        `check` is called with the number of steps done, as often as configured, and True from it ends training. It
        may be called anew for what is past, so what it measures comes from a journal. Only for the first call.
        """

    def fuse(self) -> None:
        """Fold what has been trained into the weights and go on with a fresh trainable set."""

    def mark(self) -> None:
        """Remember the weights as they are."""

    def back(self) -> None:
        """Put the weights back to where they were when `mark` was last called, unless they have been fused since."""


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


class Protocol(Method, Generic[D]):
    """A procedure around training, which is handed in."""

    @abc.abstractmethod
    def run(self, train: Train, model: D, splits: Splits[Any], journal: Journal) -> Outcome:
        """Carry the procedure out on `model` in place."""
