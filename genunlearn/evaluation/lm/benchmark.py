"""What a language model says and rates on the question sets of a benchmark; computed once, read by every metric.

A benchmark has named sets: ``forget`` is to go, ``retain`` and sets about the world are to stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genunlearn.errors import DataError
from genunlearn.evaluation.lm.probes import Scored
from genunlearn.evaluation.lm.rouge import RougeRecall, porter_stem, rouge_recall
from genunlearn.evaluation.lm.scores import AnswerScore, AnswerScores
from genunlearn.ops.truth_ratio import option_probability, truth_ratio

LONGEST_REPLY = 200
"""Tokens of a generated answer, as the open-unlearning benchmark has it."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A question with its true answer and wrong ones.

    Attributes:
        question: What is asked.
        answer: The true answer.
        paraphrase: The true answer in other words, where there is one.
        wrong: Wrong answers in the same form; empty where there are none.
    """

    question: str
    answer: str
    paraphrase: str | None = None
    wrong: tuple[str, ...] = ()

    @property
    def right(self) -> str:
        """The form of the true answer that wrong ones are held against."""
        return self.paraphrase or self.answer

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The question with everything that is rated as its answer."""
        return [(self.question, text) for text in (self.answer, self.right, *self.wrong)]


class BenchmarkProbes:
    """Answers and ratings of one model on the sets of a benchmark.

    The forward passes are shared: every text is rated once, whichever metrics ask.

    Attributes:
        sets: Questions by set.
        retrained: Truth ratios on ``forget`` of a model trained without it, for the forget quality; None without one.
    """

    def __init__(
        self,
        model: Any,
        sets: Mapping[str, Sequence[Contrast]],
        *,
        retrained: Sequence[float] | None = None,
        neutral: Sequence[str] = (),
        counts_end: bool = True,
        max_new_tokens: int = LONGEST_REPLY,
        batch_size: int = 128,
    ) -> None:
        """Nothing is asked of the model yet.

        Args:
            model: A language model.
            sets: Questions by set; empty ones are left out.
            retrained: Truth ratios on ``forget`` of a model trained without it.
            neutral: Plain texts for the perplexity.
            counts_end: Whether probabilities count the end of turn as a token of the answer, as the published numbers
                do. Exact memorisation and extraction strength never do.
            max_new_tokens: Where an answer is cut that has not ended by then.
            batch_size: Sequences in one forward pass.
        """
        self.model, self.retrained, self.counts_end = model, retrained, counts_end
        self.sets = {name: list(items) for name, items in sets.items() if items}
        self._neutral, self._budget, self._batch_size = neutral, max_new_tokens, batch_size
        self._scores = AnswerScores(model, batch_size)

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """Greedy answers by set."""
        questions = [item.question for items in self.sets.values() for item in items]
        answers = self.model.answer(questions, max_new_tokens=self._budget, batch_size=self._batch_size)
        rows = iter(answers)
        return {name: [next(rows) for _ in items] for name, items in self.sets.items()}

    @cached_property
    def rouge(self) -> dict[str, list[RougeRecall]]:
        """ROUGE recall of the greedy answers by set.

        Raises:
            NeedNotMet: The stemmer is not installed.
        """
        stem = porter_stem()
        return {
            name: [rouge_recall(text, item.answer, stem) for text, item in zip(self.texts[name], items, strict=True)]
            for name, items in self.sets.items()
        }

    @cached_property
    def _rated(self) -> dict[str, list[list[AnswerScore]]]:
        """Scores by set and question: of the answer, of its other wording, of each wrong one."""
        rows = iter(self._scores([pair for items in self.sets.values() for item in items for pair in item.pairs]))
        return {name: [[next(rows) for _ in item.pairs] for item in items] for name, items in self.sets.items()}

    @cached_property
    def scored(self) -> dict[str, Scored]:
        """How the model rates the true answers, by set."""
        return {
            name: Scored([row[0].mean_logprob() for row in rows], [row[0].extraction_strength for row in rows])
            for name, rows in self._rated.items()
        }

    @cached_property
    def exact_memorisation(self) -> dict[str, list[float]]:
        """Share of each true answer's tokens that are the argmax, by set."""
        return {name: [row[0].exact_memorisation for row in rows] for name, rows in self._rated.items()}

    @cached_property
    def probabilities(self) -> dict[str, list[float]]:
        """Length-normalised probability of each true answer, by set."""
        return {
            name: [row[0].probability(counts_end=self.counts_end) for row in rows] for name, rows in self._rated.items()
        }

    @cached_property
    def option_probabilities(self) -> dict[str, list[float]]:
        """Probability of each true answer among those offered, for the sets that have wrong ones."""
        return {
            name: [option_probability(losses[0], losses[2:]) for losses in self._losses(name)]
            for name in self._contrasted
        }

    @cached_property
    def truth_ratios(self) -> dict[str, list[float]]:
        """Truth ratio of each question, for the sets that have wrong answers."""
        return {
            name: [truth_ratio(losses[1], losses[2:]) for losses in self._losses(name)] for name in self._contrasted
        }

    @cached_property
    def neutral_nll(self) -> list[float]:
        """Negative log-likelihood a token of each neutral text."""
        return self.model.perplexity_terms(self._neutral).tolist()

    @cached_property
    def _contrasted(self) -> list[str]:
        """Sets that have wrong answers.

        Raises:
            DataError: Some questions of a set have them and others do not.
        """
        names = []
        for name, items in self.sets.items():
            lacking = [item.question for item in items if not item.wrong]
            if lacking and len(lacking) < len(items):
                raise DataError(
                    f"set {name!r}: {lacking[0]!r} has no wrong answers, others have: give all of them some"
                )
            names += [] if lacking else [name]
        return names

    def _losses(self, name: str) -> list[list[float]]:
        """Mean negative log-likelihoods a token, in the order of `Contrast.pairs`, for each question of a set."""
        return [[-score.mean_logprob(counts_end=self.counts_end) for score in row] for row in self._rated[name]]
