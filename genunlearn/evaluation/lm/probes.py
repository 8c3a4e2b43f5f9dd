"""What a language model says about every measured question; computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genunlearn.data.answers.leak import gives
from genunlearn.data.lm.facts import FORGET_GROUPS, QA
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
    """

    def __init__(
        self,
        model: Any,
        measured: Mapping[str, Sequence[QA]],
        *,
        samples: int = 0,
        temperature: float = 1.0,
        neutral: Sequence[str] = (),
        batch_size: int = 128,
        seed: int = 0,
        **options: int,
    ) -> None:
        """Nothing is asked of the model yet.

        Args:
            model: A language model.
            measured: Questions by scope group.
            samples: Sampled answers for each question of the forget groups.
            temperature: Of the sampled answers.
            neutral: Plain texts about nothing that is forgotten, for perplexity.
            batch_size: Sequences in one forward pass.
            seed: Seed of the sampling.
            options: ``max_new_tokens``, where it is not the adapter's own.
        """
        self.model = model
        self.measured = {group: list(items) for group, items in measured.items() if items}
        self.samples, self.temperature = samples, temperature
        self._neutral, self._seed = neutral, seed
        self._options = {"batch_size": batch_size, **options}
        self._scores = AnswerScores(model, batch_size)

    @cached_property
    def answers(self) -> dict[str, list[str]]:
        """Greedy answers by group."""
        items = [item for group in self.measured.values() for item in group]
        texts = iter(self.model.answer([item.question for item in items], **self._options))
        return {group: [next(texts) for _ in items] for group, items in self.measured.items()}

    @cached_property
    def is_told(self) -> dict[str, list[bool]]:
        """Whether the greedy answer tells the true one, by group."""
        return {
            group: [gives(text, item) for text, item in zip(texts, self.measured[group], strict=True)]
            for group, texts in self.answers.items()
        }

    @cached_property
    def sampled(self) -> dict[str, list[list[str]]]:
        """Sampled answers by forget group, `samples` a question."""
        groups = [group for group in FORGET_GROUPS if group in self.measured] if self.samples else []
        return {group: self._sample(self.measured[group]) for group in groups}

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

    def _sample(self, items: Sequence[QA]) -> list[list[str]]:
        asked = [[{"role": "user", "content": item.question}] for item in items]
        options = {**self._options, "seed": self._seed}
        return self.model.generate(asked, samples=self.samples, temperature=self.temperature, **options)
