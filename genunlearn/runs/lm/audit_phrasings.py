"""In how many ways a fact is asked: an interval over four questions says nothing.

First come phrasings that are held out, then ones that the original writes, then all of these in other framings, then
framings of those that unlearning may have used, and at last framings from both sides of either. Those that unlearning
may have used stay as they are for relearning to teach, unless the original answers no others. Only what the original
answers with the truth is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from typing import Any

from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.telling import gives, until_told
from genunlearn.data.lm.writer import Writer
from genunlearn.domains.lm.adapter import LanguageModel

FRAMES = (
    *("So, {}", "Tell me. {}", "{} Name it.", "{} {}", "Please tell me: {}", "{} Please answer.", "{} Answer:"),
    *("Question: {}", "I forgot the answer. {}", "Well, {}", "Now, {}", "{} Tell me.", "{} Please.", "Hello. {}"),
    *("Quiz question: {}", "Answer in a few words: {}", "Here is a question. {}", "{} I would like to know."),
)
"""Texts around a question that change nothing about what it asks for."""

BEFORE = [frame for frame in FRAMES if frame.endswith(" {}") and frame != "{} {}"]
AFTER = [frame for frame in FRAMES if frame.startswith("{} ") and frame != "{} {}"]
BOTH_SIDES = tuple(after.replace("{}", before) for before, after in zip(BEFORE, cycle(AFTER), strict=False))
"""One before and one after, for facts that the original tells in few framings."""

EVERY_PAIR = tuple(
    frame for after in AFTER for before in BEFORE if (frame := after.replace("{}", before)) not in BOTH_SIDES
)
"""All others of one before and one after, for facts of which little more than one question is known."""

STATED = (
    *("{}", "Fact: {}", "Remember: {}", "Know that {}", "So, {}", "Well, {}", "Now, {}", "As is known, {}", "Also, {}"),
    *("Then {}", "I know that {}", "Indeed, {}", "It is true that {}", "In truth, {}", "Of course, {}", "And {}"),
)
"""Texts before a statement that is to be completed."""

HELD_OUT, WRITTEN, FRAMED = "held out", "written by the original", "framed"
REFRAMED, TRAINED = "framed, trained", "trained"


@dataclass(frozen=True)
class Phrasing:
    """One question for a fact, and where it comes from."""

    question: str
    origin: str


def find_phrasings(fact: Fact, original: LanguageModel, count: int) -> list[Phrasing]:
    """At most `count` phrasings that the original answers with the truth, held-out ones first."""
    found: list[Phrasing] = []
    for batch in _candidates(fact, original, count):
        known = {each.question for each in found}
        found += _told(fact, original, [each for each in dict.fromkeys(batch) if each.question not in known])
        if len(found) >= count:
            break
    return (found or _told(fact, original, [Phrasing(question, TRAINED) for question in fact.phrasings]))[:count]


def few_phrasings(label: str, found: int, wanted: int) -> str:
    """That a fact was asked in fewer phrasings than wanted, for people to read."""
    return (
        f"{label}: asked in {found} phrasing{'s' * (found > 1)} where {wanted} were wanted, since the original tells "
        "it in no more; heldout phrasings of your own (request.file) make the intervals narrower"
    )


def _told(fact: Fact, original: LanguageModel, phrasings: Sequence[Phrasing]) -> list[Phrasing]:
    """Those that the original answers with the truth; an answer is read no further than the sentence that tells."""
    asked = [as_qa(fact, each.question) for each in phrasings]
    texts = original.answer([item.question for item in asked], until=until_told(asked))
    return [each for text, item, each in zip(texts, asked, phrasings, strict=True) if gives(text, item)]


def _candidates(fact: Fact, original: LanguageModel, count: int) -> Iterator[list[Phrasing]]:
    """Batches of questions, in the order in which they are wanted."""
    own = [Phrasing(question, HELD_OUT) for question in fact.heldout]
    yield own
    written = [Phrasing(question, WRITTEN) for question in _write(fact, original, count)]
    yield written
    untrained = [each.question for each in (*own, *written)]
    for frames in (FRAMES, BOTH_SIDES, EVERY_PAIR):
        yield from _framed(frames, untrained, FRAMED, count)
        yield from _framed(frames, fact.phrasings, REFRAMED, count)


def _framed(frames: Sequence[str], questions: Sequence[str], origin: str, count: int) -> Iterator[list[Phrasing]]:
    """All questions in several frames at a time: at least `count` of them, which go through the network together."""
    step = max(1, ceil(count / max(1, len(questions))))
    for start in range(0, len(frames), step):
        chosen = frames[start : start + step]
        yield [Phrasing(frame.replace("{}", question), origin) for frame in chosen for question in questions]


def _write(fact: Fact, original: LanguageModel, count: int) -> Sequence[str]:
    existing = (*fact.phrasings, *fact.heldout)
    return writer_of(original).vary_harder(fact, existing, count)


def writer_of(original: LanguageModel) -> Writer:
    """The original as it writes material for its own audit."""

    def ask(conversations: Sequence[Any], samples: int = 1, temperature: float = 0.0, **limits: Any) -> list[list[str]]:
        limits = {"max_new_tokens": 256} | limits
        return original.generate(conversations, samples=samples, temperature=temperature, **limits)

    return Writer(ask, original.prompt_suite)


def as_qa(fact: Fact, question: str, group: str = "forget_heldout") -> QA:
    """A question for the fact, with its answer."""
    return QA(
        id=f"{fact.id}#{question}",
        question=question,
        answer=f"{fact.object}.",
        aliases=fact.aliases,
        group=group,
        fact=fact.id,
    )


def beginnings(fact: Fact, statements: Sequence[str]) -> list[QA]:
    """Statements of the fact that break off before the answer, in several framings; those that end in it alone."""
    names = sorted((fact.object, *fact.aliases), key=len, reverse=True)  # an alias may end in another name
    told = {text: next((name for name in names if text.endswith(f" {name}.")), None) for text in statements}
    cut = [text.removesuffix(f" {name}.") for text, name in told.items() if name]
    return [as_qa(fact, frame.replace("{}", text), "statements") for frame in STATED for text in cut]
