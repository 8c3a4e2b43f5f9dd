"""What a model says when a fact's subject goes by another name, and which names there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Journal, Splits
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.writer import Writer
from genunlearn.errors import DataError
from genunlearn.methods.lm.base.rounds import answer_logits

LONGEST_LIST = 96
"""Tokens of a generated list of names."""


def writer(model: Any, seed: int, *, is_checked: bool = False, siblings: Sequence[str] = ()) -> Writer:
    """Who asks `model` for lists of names, with `seed`.

    Args:
        model: A language model.
        seed: Seed of everything sampled.
        is_checked: Whether the model judges what it wrote, unless it was trained here to write what is asked of it.
        siblings: Names that are judged beside those that it writes.
    """

    def generate(asked: Sequence[Any], *, samples: int = 1, temperature: float = 0.0, **limits: int) -> list[list[str]]:
        limits = {"max_new_tokens": LONGEST_LIST} | limits
        return model.generate(asked, samples=samples, temperature=temperature, seed=seed, **limits)

    critic = Critic.of(model) if is_checked and model.prompt_suite != "lab" else None
    return Writer(generate, model.prompt_suite, critic=critic, siblings=siblings)


def siblings_of(splits: Splits) -> list[str]:
    """The answers of retain questions that ask the same of other subjects."""
    return [item.answer.strip(" .") for item in splits.retain or () if item.group == "same_relation"]


def other_names(
    model: Any, splits: Splits, given: Sequence[str], *, count: int, seed: int, journal: Journal
) -> dict[str, tuple[Fact, Sequence[str]]]:
    """The fact behind each forget question with names of other things of its subject's kind, by the fact's identifier.

    The names are those `given`, or at most `count` that the model is asked for.

    Raises:
        DataError: A question belongs to no fact, or the model gives no name.
    """
    facts = {str(item.fact): fact_of(item, splits) for item in splits.forget}
    if given:
        return {key: (fact, given[:count]) for key, fact in facts.items()}
    found = {}
    for key, fact in facts.items():
        # The question for a name of the same kind is the one for wrong answers, with the subject as the answer.
        turned = Fact(
            id=fact.id,
            subject=fact.object,
            object=fact.subject,
            question=f"What is {fact.subject}?",
            aliases=fact.subject_aliases,
            subject_aliases=fact.aliases,
        )
        names = journal.stage(f"other names/{key}", partial(writer(model, seed).name_wrong, turned, count))
        found[key] = (fact, names)
    return found


def fact_of(item: QA, splits: Splits) -> Fact:
    """The fact that `item` asks for.

    Raises:
        DataError: The request has no such fact.
    """
    for fact in splits.context.facts if splits.context is not None else ():
        if fact.id == item.fact:
            return fact
    raise DataError(f"question {item.id!r} belongs to no fact of the request: give facts with a subject and an object")


def renamed(item: QA, fact: Fact, name: str) -> QA:
    """The same question and answer about `name` instead of the fact's subject.

    Raises:
        DataError: The question does not name the subject.
    """
    pattern = "|".join(re.escape(word) for word in sorted((fact.subject, *fact.subject_aliases), key=len, reverse=True))
    question = re.sub(pattern, lambda _: name, item.question)
    if question == item.question:
        raise DataError(f"question {item.question!r} does not name {fact.subject!r}: add the name as a subject alias")
    answer, opening = (re.sub(pattern, lambda _: name, text) for text in (item.taught or item.answer, item.opening))
    return replace(item, id=f"{item.id}/{name}", question=question, answer=answer, taught=None, opening=opening)


def renamed_logits(model: Any, item: QA, fact: Fact, names: Sequence[str]) -> Tensor:
    """What the model predicts in the place of each token of an answer, had the subject another name.

    Where the answer names the subject, its tokens have no counterpart: those places are left out.

    Returns:
        ``(names, tokens, vocab)``, NaN where a place is left out.
    """
    others = [renamed(item, fact, name) for name in names]
    own = model.turn(item).answer
    rows = []
    for other, logits in zip(others, answer_logits(model, others), strict=True):
        ids = model.turn(other).answer
        first, last = _common(own, ids), _common(own[::-1], ids[::-1])
        last = min(last, min(len(own), len(ids)) - first)
        row = torch.full((len(own), logits.shape[-1]), torch.nan, device=logits.device)
        row[:first] = logits[:first]
        if last:
            row[-last:] = logits[-last:]
        rows.append(row)
    return torch.stack(rows)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning."""
    length = min(len(first), len(second))
    return next((n for n in range(length) if first[n] != second[n]), length)
