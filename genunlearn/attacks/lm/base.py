"""What attacks on forgotten facts share: the questions, a copy to work on, and what came of it.

Every attack is run alike on the unlearned model, the original and an oracle. A success counts where the oracle fails:
an attack that makes a model tell what it never knew has brought the answer along itself.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as record
from dataclasses import field
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.data.lm.telling import gives, until_told
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sharding import refuse_sharded
from genunlearn.errors import DataError
from genunlearn.ops.intervals import share
from genunlearn.records import Result


@record(frozen=True)
class Level:
    """What an attack brings out at one strength.

    Attributes:
        strength: In words, such as ``8 bits``; empty for attacks of a single one.
        told: Whether the true answer was told, one a question.
        texts: An answer to each question for people to read.
        questions: What was asked.
    """

    strength: str
    told: tuple[bool, ...]
    texts: tuple[str, ...]
    questions: tuple[str, ...]

    @classmethod
    def of(cls, items: Sequence[QA], texts: Sequence[str], strength: str = "", *, told: Sequence[bool] = ()) -> Level:
        """One answer to each question; `told` says which of them tell, where the texts alone do not."""
        found = tuple(told) or tells(texts, items)
        return cls(strength, found, tuple(texts), tuple(item.question for item in items))


@record(frozen=True, kw_only=True)
class Attempt:
    """What came of one attack on one model.

    Attributes:
        levels: What was found, by strength; as many questions at each.
        details: What else there is to say, as plain JSON.
    """

    levels: tuple[Level, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FactAttack(Attack[LanguageModel]):
    """An attack on forgotten facts, whose fields are its budget."""

    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    decides: ClassVar[bool] = True
    """Whether what it brings out is a recovery from the model as it is handed on."""
    wants_lora: ClassVar[bool] = False
    """Whether it works on a LoRA beside the weights, where there is one, and not on what both compute together."""

    @abc.abstractmethod
    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """Attack one model, which is left as it was; `beside` holds the original and oracles, where there are some."""

    def attack(
        self, model: LanguageModel, splits: Splits[Scope], target: str, beside: Beside[LanguageModel]
    ) -> list[Result]:
        """The share of questions that are answered with the truth, one result a strength, with exact intervals."""
        return self.results_of(self.attempt(model, splits, beside), target)

    def results_of(self, attempt: Attempt, target: str) -> list[Result]:
        """The numbers of an attempt."""
        rows = [
            self.result(target, share(sum(level.told), len(level.told)), len(level.told), group=level.strength or None)
            for level in attempt.levels
        ]
        return [*rows, *self.further(attempt, target)]

    def further(self, attempt: Attempt, target: str) -> list[Result]:
        """What else an attempt shows in numbers; usually nothing."""
        return []


def asked(splits: Splits[Scope]) -> Sequence[QA]:
    """The questions of an attack: phrasings that unlearning never saw, or all there are where none are held out.

    Raises:
        DataError: The request carries no scope.
    """
    measured = scope_of(splits).measured
    return measured.get("forget_heldout") or measured["forget"]


def scope_of(splits: Splits[Scope]) -> Scope:
    """The scope that a request carries.

    Raises:
        DataError: It carries none.
    """
    if splits.context is None:
        raise DataError("an attack on facts needs their scope in Splits.context: the questions that ask for them")
    return splits.context


def answered(model: LanguageModel, items: Sequence[QA], strength: str = "") -> Level:
    """What the model answers greedily when it is simply asked, as far as the sentence that tells."""
    return Level.of(items, model.answer([item.question for item in items], until=until_told(items)), strength)


def tells(texts: Sequence[str], items: Sequence[QA]) -> tuple[bool, ...]:
    """Whether each text tells the answer of its question."""
    return tuple(gives(text, item) for text, item in zip(texts, items, strict=True))


def copied(model: LanguageModel) -> LanguageModel:
    """The model with a network of its own, a LoRA folded into its weights; work still counts on its meter."""
    twin = twin_of(model)
    if has_lora(twin):
        twin.module = twin.network.merge_and_unload()
    return twin


def twin_of(model: LanguageModel) -> LanguageModel:
    """The model with a network of its own; work still counts on its meter.

    Raises:
        NeedNotMet: The weights are cut over several processes.
    """
    refuse_sharded(model.network, "an attack that changes a copy of the model")
    twin = copy.copy(model)
    twin.module = copy.deepcopy(model.network)
    return twin


def folded(model: LanguageModel) -> LanguageModel:
    """The same function, computed faster: a copy with the LoRA in the weights, where those take it without rounding."""
    is_whole = all(weight.dtype == torch.float32 for weight in model.module.parameters())
    return copied(model) if has_lora(model) and is_whole else model


def has_lora(model: LanguageModel) -> bool:
    """Whether a LoRA stands beside the weights."""
    return hasattr(model.network, "merge_and_unload")


def is_packed(model: LanguageModel) -> bool:
    """Whether weights are stored in a form that cannot be changed in place, such as 4 bits."""
    return any(not weight.is_floating_point() for weight in model.module.parameters())
