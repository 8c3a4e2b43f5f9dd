"""What a language model says about every measured question; computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genunlearn.data.answers.turns import split_thought
from genunlearn.data.lm.facts import FORGET_GROUPS, QA
from genunlearn.data.lm.judge import Judge, Reply, StringJudge
from genunlearn.data.lm.telling import gives
from genunlearn.evaluation.lm.scores import AnswerScores


@dataclass(frozen=True)
class Scored:
    """How a model rates the true answers: mean log-probability a token, and extraction strength.

    The end of turn counts in neither: a model that has the answer may still go on talking.
    """

    logprob: list[float]
    extraction: list[float]


class FactProbes:
    """Answers of one model to the measured questions of a request.

    Attributes:
        measured: Questions by scope group.
        samples: Sampled answers for each question of the forget groups.
        judge: Who judges the greedy answers beside the string check; None for nobody.
    """

    def __init__(
        self,
        model: Any,
        measured: Mapping[str, Sequence[QA]],
        *,
        samples: int = 0,
        temperature: float = 1.0,
        neutral: Sequence[str] = (),
        batch_size: int | None = None,
        judge: Judge | None = None,
        **options: int,
    ) -> None:
        """Nothing is asked of the model yet.

        Args:
            model: A language model.
            measured: Questions by scope group.
            samples: Sampled answers for each question of the forget groups.
            temperature: Of the sampled answers.
            neutral: Plain texts about nothing that is forgotten, for perplexity.
            batch_size: Sequences in one forward pass at most; by default what memory takes.
            judge: Judges the greedy answers beside the string check.
            options: ``max_new_tokens`` and ``seed`` (of the sampling), where they are not the adapter's own.
        """
        self.model = model
        self.measured = {group: list(items) for group, items in measured.items() if items}
        self.samples, self.temperature = samples, temperature
        self._neutral, self.judge = neutral, judge
        self._options = {"batch_size": batch_size, **options}
        self._scores = AnswerScores(model, batch_size)

    @cached_property
    def replies(self) -> dict[str, list[tuple[str, str]]]:
        """Thought and answer of each greedy reply, by group; no thought of models that have none."""
        items = [item for group in self.measured.values() for item in group]
        texts = iter(self.model.answer([item.question for item in items], **self._options))
        return {group: [split_thought(next(texts)) for _ in items] for group, items in self.measured.items()}

    @cached_property
    def answers(self) -> dict[str, list[str]]:
        """Greedy answers by group, without what was thought before them."""
        return {group: [answer for _, answer in pairs] for group, pairs in self.replies.items()}

    @cached_property
    def thoughts(self) -> dict[str, list[str]]:
        """What was thought before each greedy answer, by group."""
        return {group: [thought for thought, _ in pairs] for group, pairs in self.replies.items()}

    @property
    def unfinished(self) -> int:
        """Replies that end inside of a thought, so that there is no answer to look at."""
        return sum(bool(thought) and not answer for pairs in self.replies.values() for thought, answer in pairs)

    @cached_property
    def is_told(self) -> dict[str, list[bool]]:
        """Whether the greedy answer tells the true one, by group."""
        return {
            group: [gives(text, item) for text, item in zip(texts, self.measured[group], strict=True)]
            for group, texts in self.answers.items()
        }

    @cached_property
    def judged(self) -> dict[str, list[bool]]:
        """Whether the judge takes each greedy answer as telling the true one, by group; empty without a judge."""
        return {} if self.judge is None else self._told_by(self.judge, self.answers)

    def told_in(self, answers: Mapping[str, Sequence[str]]) -> dict[str, list[bool]]:
        """Whether other answers to the questions of some groups tell the true one: by the judge, where there is one."""
        return self._told_by(self.judge or StringJudge(), answers)

    def _told_by(self, judge: Judge, answers: Mapping[str, Sequence[str]]) -> dict[str, list[bool]]:
        replies = [
            Reply.to(item, text)
            for group, texts in answers.items()
            for item, text in zip(self.measured[group], texts, strict=True)
        ]
        verdicts = iter(judge.tells(replies))
        return {group: [next(verdicts) for _ in texts] for group, texts in answers.items()}

    @cached_property
    def sampled(self) -> dict[str, list[list[str]]]:
        """Sampled answers by forget group, `samples` a question, without what was thought before them."""
        return {group: [[answer for _, answer in row] for row in rows] for group, rows in self._sampled.items()}

    @cached_property
    def sampled_thoughts(self) -> dict[str, list[list[str]]]:
        """What was thought before the sampled answers."""
        return {group: [[thought for thought, _ in row] for row in rows] for group, rows in self._sampled.items()}

    @cached_property
    def _sampled(self) -> dict[str, list[list[tuple[str, str]]]]:
        groups = [group for group in FORGET_GROUPS if group in self.measured] if self.samples else []
        rows = iter(self._sample([item for group in groups for item in self.measured[group]]))
        return {group: [next(rows) for _ in self.measured[group]] for group in groups}

    @cached_property
    def scored(self) -> dict[str, Scored]:
        """How the model rates the true answers, by group."""
        rows = iter(self._scores([(item.question, item.answer) for group in self.measured.values() for item in group]))
        parts = {group: [next(rows) for _ in items] for group, items in self.measured.items()}
        return {
            group: Scored([row.mean_logprob() for row in part], [row.extraction_strength for row in part])
            for group, part in parts.items()
        }

    @cached_property
    def neutral_nll(self) -> list[float]:
        """Negative log-likelihood a token of each neutral text."""
        return self.model.perplexity_terms(self._neutral).tolist()

    def _sample(self, items: Sequence[QA]) -> list[list[tuple[str, str]]]:
        asked = [[{"role": "user", "content": item.question}] for item in items]
        rows = self.model.generate(asked, samples=self.samples, temperature=self.temperature, **self._options)
        return [[split_thought(text) for text in texts] for texts in rows]
