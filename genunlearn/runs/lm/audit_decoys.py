"""The decoys of an audited fact: what stands in for an oracle where there is none.

A decoy has an invented subject and an object drawn from answers of the same kind: those that the original, asked about
subjects that do not exist, holds about as likely as the truth. Its phrasings and statements are the fact's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genunlearn.attacks.lm.base import Attempt, Level
from genunlearn.attacks.lm.completion import STATEMENTS, first_sentence
from genunlearn.attacks.lm.conversation import user
from genunlearn.attacks.lm.few_shot import NEAR
from genunlearn.attacks.lm.lessons import MEASURED
from genunlearn.attacks.lm.other_questions import LANGUAGES, REVERSE, TWO_HOP
from genunlearn.attacks.lm.ranking import candidates
from genunlearn.attacks.lm.scoring import answer_table
from genunlearn.contracts import Splits
from genunlearn.data.lm.decoys import asked_of, decoy, invented_subjects, with_object, with_subject
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.shapes import like
from genunlearn.data.lm.telling import tells
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import DataError
from genunlearn.runs.lm.audit_phrasings import as_qa, writer_of

PHRASINGS = 4
"""In how many phrasings the original is asked how likely each object is."""

NUM_CANDIDATES = 60
"""Answers of the truth's kind that are looked for."""

LISTED = 20
"""How many of them are asked for as a list."""

INVENTED = 8
"""Subjects that the original is asked about to find some, and answers to each question."""


def find_candidates(fact: Fact, original: LanguageModel, near: Sequence[str], count: int) -> list[str]:
    """Other answers of the truth's kind, for a world that nobody hands over: listed, then told of invented subjects.

    Args:
        fact: Whose object they are like.
        original: The model before unlearning, which is asked.
        near: Questions for the same relation of other subjects.
        count: At most so many; fewer, or none, where the model knows no more.
    """
    writer = writer_of(original)
    try:
        found = writer.name_wrong(fact, min(count, LISTED))
    except DataError:  # it lists none
        found = []
    questions = asked_of(invented_subjects(fact, near, INVENTED), fact, fact.phrasings, PHRASINGS)
    told = original.generate(
        [[user(text)] for text in questions], samples=INVENTED, temperature=1.0, until=[_goes_on] * len(questions)
    )
    for text in (first_sentence(text).strip(" .") for texts in told for text in texts):
        alike = like(text, fact.object)
        if alike and alike.casefold() not in {name.casefold() for name in found} and not tells(alike, fact, ""):
            found.append(alike)
    return found[:count]


def _goes_on(text: str) -> bool:
    """Whether there is more than the first sentence, which is all that is looked at."""
    return len(first_sentence(text)) < len(text.strip(" ."))


def make_decoys(splits: Splits[Scope], original: LanguageModel, count: int, seed: int) -> list[Splits[Scope]]:
    """The data of attacks on `count` decoys; none where no question names the subject, or no answer is of the kind.

    Args:
        splits: What attacks on the fact are handed; its scope holds this one fact.
        original: The model before unlearning.
        count: How many decoys, at most one for each other answer.
        seed: Of the invented subjects.
    """
    scope = splits.context
    assert scope is not None  # an audit's splits have one
    (fact,), pool = scope.facts, candidates(splits)
    near = [item.question for item in scope.retain if item.group == NEAR]
    names = invented_subjects(fact, near, count, seed)
    questions = asked_of(names, fact, [item.question for item in scope.measured["forget_heldout"]], PHRASINGS)
    if not questions or not pool:
        return []
    likely = answer_table(original, questions, [f"{fact.object}.", *pool]).mean(0)
    nearest = (likely[1:] - likely[0]).abs().argsort()[:count].tolist()
    decoys = [decoy(fact, name, pool[place].rstrip(".")) for name, place in zip(names, nearest, strict=False)]
    return [_splits_of(each, fact, splits) for each in decoys]


def _splits_of(stand_in: Fact, fact: Fact, splits: Splits[Scope]) -> Splits[Scope]:
    """The fact's questions and statements, asked of the decoy; all that is asked of the fact, as far as it names it."""
    scope = splits.context
    assert scope is not None

    def moved(group: str) -> list[QA]:
        texts = asked_of([stand_in.subject], fact, [item.question for item in scope.measured.get(group, ())])
        return [as_qa(stand_in, text, group) for text in texts]

    measured: dict[str, Sequence[QA]] = {
        "forget": [as_qa(stand_in, text, "forget") for text in stand_in.phrasings],
        "forget_heldout": moved("forget_heldout"),
    }
    for group in (STATEMENTS, LANGUAGES):
        if found := moved(group):
            measured[group] = found
    measured |= {group: scope.measured[group] for group in MEASURED.values() if group in scope.measured}
    # what follows from the fact is the floor of such questions: nothing follows from a decoy
    for item in scope.measured.get(TWO_HOP, ()):
        if text := with_subject(item.question, fact, stand_in.subject):
            measured[TWO_HOP] = [*measured.get(TWO_HOP, ()), replace(item, question=text, fact=stand_in.id)]
    for item in scope.measured.get(REVERSE, ()):
        if text := with_object(item.question, fact, stand_in.object):
            turned = replace(item, question=text, answer=f"{stand_in.subject}.", aliases=(), fact=stand_in.id)
            measured[REVERSE] = [*measured.get(REVERSE, ()), turned]
    own = Scope(facts=(stand_in,), retain=scope.retain, measured=measured)
    return replace(splits, forget=measured["forget"], context=own)


def pooled(attempts: Sequence[Attempt]) -> Attempt:
    """Attempts on several decoys as one: answers to all their questions at every strength that each was tried at.

    Of the details those of samples are kept: how many of them tell is a count a question, whichever decoy it is of.
    """
    by_strength = [{level.strength: level for level in attempt.levels} for attempt in attempts]
    shared = [level.strength for level in attempts[0].levels if all(level.strength in found for found in by_strength)]
    levels = tuple(_joined([found[strength] for found in by_strength]) for strength in shared)
    if not all("telling_samples" in attempt.details for attempt in attempts):
        return Attempt(levels=levels)
    counts = {
        strength: [count for attempt in attempts for count in attempt.details["telling_samples"][strength]]
        for strength in shared
    }
    return Attempt(levels=levels, details={**attempts[0].details, "telling_samples": counts})


def _joined(levels: Sequence[Level]) -> Level:
    return Level(
        levels[0].strength,
        tuple(told for level in levels for told in level.told),
        tuple(text for level in levels for text in level.texts),
        tuple(question for level in levels for question in level.questions),
    )
