"""The scope of a request: handed over by the lab, or what the model itself says around the facts before unlearning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from genunlearn.config.lm import LMAuditConfig, LMConfig
from genunlearn.contracts import Journal
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.neighbours import distil_neighbours, split_scope
from genunlearn.data.lm.own_words import in_own_words
from genunlearn.data.lm.requests import asks_for
from genunlearn.data.lm.telling import evenly
from genunlearn.data.lm.thoughts import thinks
from genunlearn.data.lm.writer import Writer
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import DataError
from genunlearn.runs.lm.request import LMRequest

HELD_OUT = 6
"""Phrasings of a fact that the model writes for measurement alone, where nobody hands any over."""

MEASURED_PAIRS = 200
"""Questions of a retain file that are measured, in each of its two groups."""

REWORDED = 32
"""Questions of a retain file that the model is asked to reword, where nobody gives another phrasing of them."""

LONGEST_LIST = 256
"""Tokens of a generated list."""


def make_scope(request: LMRequest, model: LanguageModel, config: LMConfig | LMAuditConfig, journal: Journal) -> Scope:
    """What is measured around the request, and what must stay while it is forgotten."""
    if request.scope is not None:
        return request.scope if request.retain else _spoken(request.scope, model, journal)

    def ask(conversations: Sequence[Any], samples: int = 1, temperature: float = 0.0, **limits: Any) -> list[list[str]]:
        limits = {"max_new_tokens": LONGEST_LIST} | limits
        return model.generate(conversations, samples=samples, temperature=temperature, **limits)

    suite = model.prompt_suite
    critic = None if suite == "lab" else Critic.of(model)
    writer = Writer(ask, suite, critic=critic)
    kept = measure_retain(request, writer, journal)
    if not request.facts:
        return Scope(facts=(), retain=request.retain or (), measured={"forget": request.forget, **kept})
    facts = tuple(_hold_out(fact, writer, journal) for fact in request.facts)
    parts = [
        _surround(fact, facts, partial(distil_neighbours, ask=ask, prompts=suite, critic=critic), config.seed, journal)
        for fact in facts
    ]
    measured: dict[str, list[QA]] = {group: [] for part in parts for group in part.measured}
    for part in parts:
        for group, items in part.measured.items():
            measured[group] += items
    for group, items in kept.items():
        measured[group] = [*measured.get(group, ()), *items]
    if request.retain:
        return Scope(facts=facts, retain=request.retain, measured=measured)
    scope = Scope(facts=facts, retain=tuple(item for part in parts for item in part.retain), measured=measured)
    return _spoken(scope, model, journal)


def read_replies(request: LMRequest, model: LanguageModel, journal: Journal) -> dict[str, str]:
    """What the model thinks and then answers to the questions that it is trained on, by identifier.

    Raises:
        DataError: It does not think before a forget question, or no thought has ended.
    """
    items = [*request.forget, *(request.retain or ())]
    texts = journal.stage("thoughts before answers", lambda: model.answer([item.question for item in items]))
    found = {item.id: text for item, text in zip(items, texts, strict=True) if thinks(text)}
    if not any(item.id in found for item in request.forget):
        raise DataError(
            f"request.thoughts = 'forget': none of {len(request.forget)} replies is a thought and then an answer; "
            f"leave it out, or raise evaluate.max_new_tokens = {model.longest_answer} where thoughts are cut"
        )
    return found


def read_own_words(request: LMRequest, model: LanguageModel, journal: Journal) -> dict[str, str]:
    """What the model answers to the questions of facts, by identifier; none where a file gives the answers too."""
    if not request.facts:
        return {}
    asked = [item.question for item in request.forget]
    texts = journal.stage("own words of what must go", lambda: model.answer(asked))
    return {item.id: text for item, text in zip(request.forget, texts, strict=True)}


def _spoken(scope: Scope, model: LanguageModel, journal: Journal) -> Scope:
    """The scope with what must stay in the model's own words."""
    asked = [item.question for item in scope.retain]
    texts = journal.stage("own words of what must stay", lambda: model.answer(asked)) if asked else []
    return replace(scope, retain=tuple(in_own_words(scope.retain, texts)))


def measure_retain(request: LMRequest, writer: Writer, journal: Journal) -> dict[str, list[QA]]:
    """What is measured of a retain file: phrasings that are never trained on, apart from those that are."""
    trained = request.retain or ()
    covered = {item.fact for item in request.heldout}
    alone = evenly([item for item in trained if item.fact is None or item.fact not in covered], MEASURED_PAIRS)
    asked = evenly(alone, REWORDED)
    written = journal.stage("rewordings of what must stay", lambda: writer.reword(asked)) if asked else []
    pairs = [(item, text) for item, text in zip(asked, written, strict=True) if text]
    reworded = [replace(item, id=f"{item.id}/reworded", question=text) for item, text in pairs]
    have = {item.id for item, _ in pairs}
    groups = {
        "rest": [*request.heldout, *reworded][:MEASURED_PAIRS],
        "rest_trained": [replace(item, group="rest_trained") for item in alone if item.id not in have],
    }
    return {group: items for group, items in groups.items() if items}


def _hold_out(fact: Fact, writer: Writer, journal: Journal) -> Fact:
    """The fact with phrasings that unlearning never sees."""
    if fact.heldout:
        return fact
    written = journal.stage(f"held-out phrasings of {fact.id}", lambda: writer.hold_out(fact, HELD_OUT))
    return replace(fact, heldout=tuple(written))


def _surround(
    fact: Fact, facts: Sequence[Fact], find: Callable[[Fact], tuple[QA, ...]], seed: int, journal: Journal
) -> Scope:
    """The scope of one fact; a question that asks for any fact of the request is no neighbour."""

    def distil() -> list[dict[str, Any]]:
        return [asdict(item) for item in find(fact) if not any(asks_for(item, other) for other in facts)]

    rows = journal.stage(f"neighbours of {fact.id}", distil)
    return split_scope(fact, [QA(**{**row, "aliases": tuple(row["aliases"])}) for row in rows], seed)
