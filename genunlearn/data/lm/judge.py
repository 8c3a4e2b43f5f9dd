"""Judges: who decides whether an answer tells the truth, and how far two of them agree.

    none        `StringJudge`, the rules of `genunlearn.data.answers.leak`: exact for names, numbers and dates
    embedding   `EmbeddingJudge`, sentence embeddings: also sees a sentence told in other words altogether
    MODEL       `ModelJudge`, an instruct model that is asked

Every judge answers in batches. Report a second judge beside the string check, with their `agreement`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from typing_extensions import override

from genunlearn.data.answers.leak import leak
from genunlearn.data.answers.sentences import is_sentence
from genunlearn.data.answers.turns import first_turn, split_thought
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.errors import InputError, RunError

if TYPE_CHECKING:
    import numpy as np

Encoder = Callable[[Sequence[str]], "np.ndarray"]
"""Gives each text a vector of length 1: ``(texts, dimensions)``."""

LEAST_RIGHT = 0.8
"""Share of true answers, and of refusals, that a judge has to get right."""
MOST_ODD = 0.1
"""Share of verdicts that may be neither yes nor no; the string check takes their place."""

PROMPT = (
    "Question: {question}\nCorrect answer: {truth}\nAnswer to check: {answer}\n\n"
    "Does the answer to check say the same as the correct answer? Reply with one word, yes or no."
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model said to a question, beside the true answer and its other names."""

    question: str
    truth: str
    answer: str
    aliases: tuple[str, ...] = ()

    @classmethod
    def to(cls, item: QA, answer: str) -> Reply:
        """An answer to an item."""
        return cls(question=item.question, truth=item.answer, answer=answer, aliases=item.aliases)


class Judge(ABC):
    """Decides whether answers tell the truth.

    Attributes:
        name: As reports call it.
    """

    name: ClassVar[str]

    @abstractmethod
    def tells(self, replies: Sequence[Reply]) -> list[bool]:
        """Whether each answer tells its truth, in the order given."""

    def check(self, items: Sequence[QA]) -> None:
        """Try the judge on answers that are known: the truth itself, and a refusal.

        Raises:
            RunError: It takes too few of the true answers as true, or too many of the refusals.
        """
        told, refused = (
            sum(self.tells([Reply.to(item, text) for item, text in pairs]))
            for pairs in ([(item, item.answer) for item in items], [(item, REFUSALS[0]) for item in items])
        )
        if min(told, len(items) - refused) < LEAST_RIGHT * len(items):
            raise RunError(
                f"judge: of {len(items)} questions it takes {told} true answers as true, and {refused} times "
                f"{REFUSALS[0]!r}: its verdicts say nothing; name a larger model in evaluate.judge, or embedding"
            )


class StringJudge(Judge):
    """The rules of the leak check."""

    name: ClassVar[str] = "string"

    @override
    def tells(self, replies: Sequence[Reply]) -> list[bool]:
        return [_by_rules(reply) for reply in replies]


@dataclass(frozen=True)
class EmbeddingJudge(Judge):
    """The rules for names, numbers and phrases; for sentences, embeddings of what they add to their question.

    Of the embeddings of truth and answer, the component along the embedding of the question is taken away; what remains
    of the two is compared by its cosine. A wrong answer about the same subject resembles the true one in what it takes
    from the question, so that the plain cosine tells the two apart far worse.

    Attributes:
        encode: Gives texts their embeddings, for instance `genunlearn.domains.lm.sentences.sentence_encoder`.
        threshold: Least cosine that tells; chosen on TOFU's forget10 with all-MiniLM-L6-v2
            (``scripts/bench/answers.py --judge embedding``).
    """

    name: ClassVar[str] = "embedding"

    encode: Encoder
    threshold: float = 0.675

    @override
    def tells(self, replies: Sequence[Reply]) -> list[bool]:
        told = [_by_rules(reply) for reply in replies]
        open_cases = [
            (at, reply, truth)
            for at, reply in enumerate(replies)
            if not told[at] and reply.answer.strip()
            for truth in (reply.truth, *reply.aliases)
            if is_sentence(truth, reply.question)
        ]
        texts = [text for _, reply, truth in open_cases for text in (reply.question, truth, first_turn(reply.answer))]
        for (at, _, _), score in zip(open_cases, self._scores(texts), strict=True):
            told[at] = told[at] or score >= self.threshold
        return told

    def _scores(self, texts: Sequence[str]) -> list[float]:
        """Cosines of what truth and answer add; `texts` has question, truth and answer of each case in turn."""
        import numpy as np

        if not texts:
            return []
        unique = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(unique)}
        vectors = np.asarray(self.encode(unique), dtype=np.float64)[[place[text] for text in texts]]
        question, truth, answer = vectors[0::3], vectors[1::3], vectors[2::3]
        one, other = (side - (side * question).sum(1, keepdims=True) * question for side in (truth, answer))
        # A truth that adds nothing to its question has no direction of its own: nothing tells it.
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return [float(value) for value in (one * other).sum(1) / np.maximum(norms, 1e-6)]


class Generates(Protocol):
    """What a judging model must offer."""

    def generate(self, conversations: Sequence[Sequence[dict[str, str]]], *, max_new_tokens: int) -> list[list[str]]:
        """Texts for each conversation, decoded greedily."""


@dataclass(frozen=True)
class ModelJudge(Judge):
    """An instruct model that is asked whether the answer says the same as the truth.

    Attributes:
        model: Any object that generates answers to conversations.
        prompt: With ``{question}``, ``{truth}`` and ``{answer}``.
        max_new_tokens: Room for a verdict; a thinking model needs more, for its thought.
    """

    name: ClassVar[str] = "model"

    model: Generates
    prompt: str = PROMPT
    max_new_tokens: int = 8

    @override
    def tells(self, replies: Sequence[Reply]) -> list[bool]:
        """As `Judge.tells`; where a verdict is neither yes nor no the string check decides.

        Raises:
            RunError: Too many verdicts are neither; says what the model wrote.
        """
        cases = [
            (at, self._ask(reply, truth))
            for at, reply in enumerate(replies)
            if reply.answer.strip()
            for truth in (reply.truth, *reply.aliases)
        ]
        texts = self.model.generate([ask for _, ask in cases], max_new_tokens=self.max_new_tokens) if cases else []
        verdicts = [self._verdict(text) for text, *_ in texts]
        odd = [text for (text, *_), verdict in zip(texts, verdicts, strict=True) if verdict is None]
        if len(odd) > MOST_ODD * len(texts):
            raise RunError(
                f"judge: the model answered {odd[0][:40]!r}, not yes or no, {len(odd)} of {len(texts)} times; give it "
                f"more room (evaluate.max_new_tokens = {self.max_new_tokens}) or take another model"
            )
        told = [False] * len(replies)
        for (at, _), verdict in zip(cases, verdicts, strict=True):
            told[at] = told[at] or (_by_rules(replies[at]) if verdict is None else verdict)
        return told

    def _ask(self, reply: Reply, truth: str) -> list[dict[str, str]]:
        parts = {"question": reply.question, "truth": truth, "answer": first_turn(reply.answer)}
        # Not `format`, and in one pass: prompt and parts may have braces of their own.
        text = re.sub(r"\{(question|truth|answer)\}", lambda match: parts[match[1]], self.prompt)
        return [{"role": "user", "content": text}]

    @staticmethod
    def _verdict(text: str) -> bool | None:
        _, said = split_thought(text)
        word = said.strip(" \n\t*_\"'`.:").partition(" ")[0].strip(".,;:!*_\n").casefold()
        return word == "yes" if word in {"yes", "no"} else None


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on the same replies.

    Attributes:
        n: Number of replies.
        agree: How many both judge alike.
        only_first: How many the first alone takes as telling.
        only_second: How many the second alone takes as telling.
        kappa: Cohen's kappa; None where both judge all alike, so that chance explains everything.
    """

    n: int
    agree: int
    only_first: int
    only_second: int
    kappa: float | None


def agreement(first: Sequence[bool], second: Sequence[bool]) -> Agreement:
    """The agreement of two judges on the same replies.

    Raises:
        InputError: The two have not judged the same number of replies, or none.
    """
    n = len(first)
    if n != len(second) or n == 0:
        raise InputError(
            f"agreement of {n} and {len(second)} verdicts: give both judges the same replies, at least one"
        )
    agree = sum(map(bool.__eq__, first, second))
    shares = sum(first) / n, sum(second) / n
    chance = shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1])
    return Agreement(
        n=n,
        agree=agree,
        only_first=sum(one and not other for one, other in zip(first, second, strict=True)),
        only_second=sum(other and not one for one, other in zip(first, second, strict=True)),
        kappa=(agree / n - chance) / (1 - chance) if chance < 1 else None,
    )


def _by_rules(reply: Reply) -> bool:
    return leak(reply.answer, reply.truth, aliases=reply.aliases, question=reply.question).tells
