"""The surroundings of a fact, asked of the model itself before it unlearns.

Where nobody hands over what must stay, the model lists questions near the fact and answers them. Its
answers count as right whether they are true or not: unlearning one fact should change nothing else that the
model says. With a `Critic`, a question is kept only if the model gives the same answer when it is asked freely,
and questions about other subjects are the fact's own, with another subject of the kind in its place.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from genunlearn.data.answers.leak import is_refusal, leak, mention
from genunlearn.data.answers.lists import parse_list
from genunlearn.data.answers.wording import key
from genunlearn.data.lm.critic import Critic
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.data.lm.limits import limits
from genunlearn.data.lm.shapes import like
from genunlearn.data.lm.telling import gives
from genunlearn.prompts import load_prompt

Message = dict[str, str]
Ask = Callable[..., list[list[str]]]
"""``ask(conversations, num_samples, temperature, **limits)`` gives the sampled texts of each conversation; the limits,
``max_new_tokens`` and ``max_lines``, are there where a prompt's file says how long its answers may be."""

NEIGHBOUR_GROUPS = ("same_subject", "same_object", "same_relation")
LISTS_PER_GROUP = 4
"""Lists sampled for a group at a time; small models repeat themselves within a list, less so between
lists."""
TEMPERATURES = (0.7, 0.9, 1.1)
"""One for each attempt; later ones only ask for the groups that still lack questions."""
MAX_ANSWER_WORDS = 12
"""A longer answer cannot be recognised in other words, so that it could not be measured."""


def distil_neighbours(
    fact: Fact, ask: Ask, *, prompts: str = "instruct", per_group: int = 8, critic: Critic | None = None
) -> tuple[QA, ...]:
    """Questions near a fact with the model's own answers, up to `per_group` in each of `NEIGHBOUR_GROUPS`.

    A question about another subject whose answer is the object (Hermione, too, studied at Hogwarts) counts as
    ``same_object``, whatever it was listed for.

    Args:
        fact: The fact that is to be forgotten.
        ask: Samples texts from the model; temperature 0 asks for the greedy answer.
        prompts: The suite whose ``neighbours`` and ``neighbour_answer`` are used.
        per_group: Questions to be had for each group.
        critic: The model as it answers freely; None keeps every answer.

    Returns:
        Question-answer pairs with their group set; fewer than asked for, or none, where the model knows no
        more.
    """
    search = _Search(fact, ask, prompts, per_group, critic)
    for temperature in TEMPERATURES if critic is None else TEMPERATURES[:2]:
        search.attempt(temperature)
    return search.found()


def split_scope(fact: Fact, qas: Sequence[QA], seed: int) -> Scope:
    """Divide the neighbours of a fact into those that training may see and those that are measured.

    Each group is halved at random by `seed`; the odd one goes to training. The fact's own phrasings are
    measured in ``forget`` and its held-out ones in ``forget_heldout``.
    """
    retain: list[QA] = []
    measured: dict[str, Sequence[QA]] = {
        "forget": _asked(fact, fact.phrasings, "forget"),
        "forget_heldout": _asked(fact, fact.heldout, "forget_heldout"),
    }
    for group in dict.fromkeys(item.group for item in qas):
        items = [item for item in qas if item.group == group]
        random.Random(f"{seed}/{fact.id}/{group}").shuffle(items)
        half = (len(items) + 1) // 2
        retain += items[:half]
        measured[group] = tuple(items[half:])
    return Scope(facts=(fact,), retain=tuple(retain), measured=measured)


def _asked(fact: Fact, questions: Sequence[str], group: str) -> tuple[QA, ...]:
    marks = {"forget": "#", "forget_heldout": "#heldout-"}
    return tuple(
        QA(
            id=f"{fact.id}{marks[group]}{number}",
            question=question,
            answer=f"{fact.object}.",
            aliases=fact.aliases,
            group=group,
            fact=fact.id,
        )
        for number, question in enumerate(questions)
    )


@dataclass
class _Search:
    """Questions found so far, by group."""

    fact: Fact
    ask: Ask
    prompts: str
    per_group: int
    critic: Critic | None = None
    answers: dict[str, dict[str, str]] = field(default_factory=lambda: {group: {} for group in NEIGHBOUR_GROUPS})
    seen: set[str] = field(default_factory=set)

    def missing(self, group: str) -> int:
        """How many questions a group lacks."""
        return self.per_group - len(self.answers[group])

    def attempt(self, temperature: float) -> None:
        """List questions for the groups that lack some, and keep those whose answers allow it."""
        if not (listed := self._listed(temperature)):
            return
        template = load_prompt(f"{self.prompts}/neighbour_answer")
        asked = [template.messages(question=question) for question, _ in listed]
        placed = []
        for (question, group), (text,) in zip(listed, self.ask(asked, 1, 0.0, **limits(template)), strict=True):
            answer = _first_line(text)
            if place := self._place(question, answer, group):
                placed.append((place, question, answer))
        for place, question, answer in self._confirmed(placed, _shown(asked)):
            if self.missing(place):
                self.answers[place][question] = answer

    def _confirmed(self, placed: list[tuple[str, str, str]], shown: Collection[str]) -> list[tuple[str, str, str]]:
        """What the model says again when it is asked without examples, and has neither from them nor from the question.

        Args:
            placed: Group, question and answer.
            shown: Answers of the examples.
        """
        if self.critic is None:
            return placed
        own = [row for row in placed if key(row[2]) not in shown and not mention(row[1], row[2].strip(" ."))]
        texts = self.critic.answer([question for _, question, _ in own])
        return [
            row
            for row, text in zip(own, texts, strict=True)
            if gives(text, QA(id=row[1], question=row[1], answer=row[2]))
        ]

    def found(self) -> tuple[QA, ...]:
        """Everything found, in the order of the groups."""
        return tuple(
            QA(id=f"{self.fact.id}/{group}/{number}", question=question, answer=answer, group=group)
            for group, pairs in self.answers.items()
            for number, (question, answer) in enumerate(pairs.items())
        )

    def _listed(self, temperature: float) -> list[tuple[str, str]]:
        """New questions and their groups."""
        groups = [group for group in NEIGHBOUR_GROUPS if self.missing(group)]
        template = load_prompt(f"{self.prompts}/neighbours")
        names = {"subject": self.fact.subject, "object": self.fact.object, "relation": self.fact.relation}
        names |= {"question": self.fact.question}
        listed: list[tuple[str, str]] = []
        written = {}
        if self.critic is not None and "same_relation" in groups and self.fact.subject in self.fact.question:
            written["same_relation"] = self._about_siblings(temperature)
        left = [group for group in groups if group not in written]
        asked = [template.messages(**names, group=group, n=self.per_group) for group in left]
        rows = self.ask(asked, LISTS_PER_GROUP, temperature, **limits(template, self.per_group)) if asked else []
        for group, texts in zip(left, rows, strict=True):
            items = [item for text in texts for item in parse_list(text, questions=True, like=self.fact.question)]
            written[group] = [item for item in items if key(item) not in _shown(asked)]
        for wanted in groups:
            fresh = written[wanted]
            placed = [(item, place) for item in fresh if (place := self._group(item, wanted))]
            # At most twice as many as are missing: each of them costs an answer.
            listed += placed[: 2 * self.missing(wanted)]
        return listed

    def _about_siblings(self, temperature: float) -> list[str]:
        """The fact's question about other things of its subject's kind, those first that the model names most often."""
        template = load_prompt(f"{self.prompts}/siblings")
        asked = template.messages(subject=self.fact.subject, n=self.per_group)
        (texts,) = self.ask([asked], 2 * LISTS_PER_GROUP, temperature, **limits(template, self.per_group))
        named = Counter(item for text in texts for item in parse_list(text, like=self.fact.question))
        shown, subject = _shown([asked]), self.fact.subject
        names = [name for name, _ in named.most_common() if key(name) not in shown and not self._names_subject(name)]
        likeable = [alike for name in names if (alike := like(name, subject))]
        return [self.fact.question.replace(subject, name) for name in likeable]

    def _group(self, question: str, wanted: str) -> str | None:
        """The group that a question belongs to by what it names; None if it is not new or about the fact."""
        if key(question) in self.seen:
            return None
        self.seen.add(key(question))
        fact = self.fact
        names_object = mention(question, fact.object, aliases=fact.aliases, subject=fact.subject) is not None
        if self._names_subject(question):
            return None if names_object else "same_subject"
        if names_object:
            return "same_object"
        return wanted if wanted == "same_relation" else None

    def _place(self, question: str, answer: str, group: str) -> str | None:
        """The group of a question now that its answer is known; None if it must not be kept."""
        fact = self.fact
        if is_refusal(answer) or len(answer.split()) > MAX_ANSWER_WORDS:
            return None
        if group == "same_object":
            # "Who studied at Hogwarts?" asks for the fact from its other end.
            return None if self._names_subject(answer) else group
        told = leak(answer, fact.object, aliases=fact.aliases, question=question, subject=fact.subject)
        if group == "same_relation" and told:
            return "same_object"
        return None if told else group

    def _names_subject(self, text: str) -> bool:
        return mention(text, self.fact.subject, aliases=self.fact.subject_aliases, exact=True) is not None


def _shown(conversations: Sequence[Sequence[Message]]) -> set[str]:
    """What the examples of prompts answer, line by line, as it is compared."""
    turns = [turn["content"] for asked in conversations for turn in asked if turn["role"] == "assistant"]
    return {key(item) for text in turns for item in (text.strip(" ."), *parse_list(text))} | {
        key(item) for text in turns for item in parse_list(text, questions=True)
    }


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
