"""What a language model says about every measured question; computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from genunlearn.data.lm.facts import FORGET_GROUPS, QA
from genunlearn.data.lm.telling import gives
from genunlearn.ops.logprobs import IGNORE, answer_lengths, answer_logprobs, extraction_strength


@dataclass(frozen=True)
class Scored:
    """How a model rates the true answers: mean log-probability a token, and extraction strength."""

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
    ) -> None:
        """`neutral`: plain texts about nothing that is forgotten, for perplexity."""
        self.model = model
        self.measured = {group: list(items) for group, items in measured.items() if items}
        self.samples, self.temperature = samples, temperature
        self._neutral, self._batch_size, self._seed = neutral, batch_size, seed

    @cached_property
    def answers(self) -> dict[str, list[str]]:
        """Greedy answers by group."""
        items = [item for group in self.measured.values() for item in group]
        texts = iter(self.model.answer([item.question for item in items], batch_size=self._batch_size))
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
        return {group: self._score(items) for group, items in self.measured.items()}

    @cached_property
    def neutral_nll(self) -> list[float]:
        """Negative log-likelihood a token of each neutral text."""
        return self.model.perplexity_terms(self._neutral).tolist()

    def _sample(self, items: Sequence[QA]) -> list[list[str]]:
        asked = [[{"role": "user", "content": item.question}] for item in items]
        options = {"batch_size": self._batch_size, "seed": self._seed}
        return self.model.generate(asked, samples=self.samples, temperature=self.temperature, **options)

    @torch.no_grad()
    def _score(self, items: Sequence[QA]) -> Scored:
        logprob: list[float] = []
        strength: list[float] = []
        for start in range(0, len(items), self._batch_size):
            examples = self.model.collate(items[start : start + self._batch_size])
            labels, logits = examples["labels"], self.model.logits(examples)
            sums = answer_logprobs(logits, labels).sum(-1)
            logprob += (sums / answer_lengths(labels).clamp_min(1)).tolist()
            targets = labels[:, -logits.shape[1] :][:, 1:]
            correct = logits[:, :-1].argmax(-1) == targets
            strength += extraction_strength(correct, targets != IGNORE).tolist()
        return Scored(logprob, strength)
