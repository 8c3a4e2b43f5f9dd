"""How a model rates answers, token by token: one forward pass a text, whatever is made of it afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.data.lm.facts import QA
from genunlearn.domains.sharding import is_sharded
from genunlearn.errors import DataError
from genunlearn.ops.logprobs import exact_memorisation, extraction_strength
from genunlearn.processes import in_turns

TOKENS_A_BATCH = 4096
"""Tokens in one forward pass, padding included: long answers go through in smaller batches."""


@dataclass(frozen=True)
class AnswerScore:
    """How a model rates one answer.

    Attributes:
        logprobs: Log-probability of each token of the answer, its end of turn left out, ``(tokens,)``.
        is_argmax: Whether it is the token that the model would have written, ``(tokens,)`` bool.
        end_logprobs: Log-probability of the end of turn, ``(ends,)``.
    """

    logprobs: Tensor
    is_argmax: Tensor
    end_logprobs: Tensor

    def mean_logprob(self, *, counts_end: bool = False) -> float:
        """Mean log-probability a token; its exponential is the length-normalised probability of the answer."""
        values = torch.cat([self.logprobs, self.end_logprobs]) if counts_end else self.logprobs
        return values.mean().item()

    def probability(self, *, counts_end: bool = False) -> float:
        """Geometric mean over the tokens of their probabilities."""
        return math.exp(self.mean_logprob(counts_end=counts_end))

    @property
    def extraction_strength(self) -> float:
        """Share of the answer that follows by itself from its shortest sufficient prefix."""
        return extraction_strength(self.is_argmax[None], torch.ones_like(self.is_argmax)[None]).item()

    @property
    def exact_memorisation(self) -> float:
        """Share of the tokens that are the argmax once those before them are given."""
        return exact_memorisation(self.is_argmax[None], torch.ones_like(self.is_argmax)[None]).item()


class AnswerScores:
    """Scores of (question, answer) pairs, each computed once; several processes take batches in turn."""

    def __init__(self, model: Any, batch_size: int | None = None) -> None:
        """`batch_size`: most answers in one forward pass, beside the number of tokens that bounds it anyway."""
        self.model, self.batch_size = model, batch_size
        self._known: dict[tuple[str, str], AnswerScore] = {}

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[AnswerScore]:
        """The scores of `pairs`, in their order.

        Raises:
            DataError: An answer has no tokens.
        """
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        lengths = {pair: sum(map(len, self.model.encode(*pair))) for pair in missing}
        batches = [*self._batches(sorted(missing, key=lambda pair: (lengths[pair], pair)), lengths)]
        with self.model.by_itself():
            found = in_turns(batches, lambda _, batch: [*self._score(batch)], is_joint=is_sharded(self.model.network))
        for batch, scores in zip(batches, found, strict=True):
            self._known |= zip(batch, scores, strict=True)
        return [self._known[pair] for pair in pairs]

    def _batches(
        self, pairs: Sequence[tuple[str, str]], lengths: dict[tuple[str, str], int]
    ) -> Iterator[list[tuple[str, str]]]:
        """Pairs of similar lengths, the shortest first."""
        batch: list[tuple[str, str]] = []
        for pair in pairs:
            if batch and (len(batch) == self.batch_size or (len(batch) + 1) * lengths[pair] > TOKENS_A_BATCH):
                yield batch
                batch = []
            batch.append(pair)
        if batch:
            yield batch

    @torch.no_grad()
    def _score(self, pairs: Sequence[tuple[str, str]]) -> Iterator[AnswerScore]:
        items = [
            QA(id=str(number), question=question, answer=answer) for number, (question, answer) in enumerate(pairs)
        ]
        examples: Examples = self.model.collate(items)
        logprobs, is_argmax = (values.cpu() for values in self.model.token_scores(examples))
        numbers = zip(examples["tokens"].tolist(), examples["ends"].tolist(), strict=True)
        width = logprobs.shape[1]
        for row, (tokens, ends) in enumerate(numbers):
            if tokens == ends:
                question, answer = pairs[row]
                raise DataError(f"the answer {answer!r} to {question!r} has no tokens: give every question an answer")
            text = slice(width - tokens, width - ends)
            yield AnswerScore(logprobs[row, text], is_argmax[row, text], logprobs[row, width - ends :])
