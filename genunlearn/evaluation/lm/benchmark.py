"""What a language model says and rates on the question sets of a benchmark; computed once, read by every metric.

A benchmark has named sets: ``forget`` and ``forget_heldout`` are to go, ``retain`` and sets about the world to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from genunlearn.data.answers.turns import split_thought
from genunlearn.data.lm.facts import FORGET_GROUPS, QA, Contrast
from genunlearn.domains.lm.shots import fitting, shown
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.evaluation.lm.probes import FactProbes, Scored
from genunlearn.evaluation.lm.rouge import RougeRecall, porter_stem, rouge_recall
from genunlearn.evaluation.lm.scores import AnswerScore
from genunlearn.ops.intervals import Estimate
from genunlearn.ops.membership import auc, lowest
from genunlearn.ops.truth_ratio import option_probability, truth_ratio

LONGEST_REPLY = 200
"""Tokens of a generated answer, as the open-unlearning benchmark has it."""
MEMBERS, OTHERS = "members", "others"
"""Plain texts that training saw, and texts of the same kind that it did not."""
LEAST_LIKELY = 0.4
"""Share of a text's tokens that its membership goes by."""
SHOTS, FEWEST_SHOTS = 100, 3
"""Answered questions before the one that counts, as many as the context holds between these."""


class BenchmarkProbes(FactProbes):
    """Answers and ratings of one model on the sets of a benchmark, or on the scope groups of facts.

    The forward passes are shared: every text is rated once, whichever metrics ask. Questions are `Contrast`s where a
    set has wrong answers, and plain pairs otherwise.
    """

    def __init__(
        self,
        model: Any,
        measured: Mapping[str, Sequence[QA]],
        *,
        retrained: Callable[[], Sequence[float] | None] | None = None,
        retrained_area: Callable[[], float | None] | None = None,
        patching: Callable[[], Any] | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
        counts_end: bool = True,
        **options: Any,
    ) -> None:
        """Nothing is asked of the model yet.

        What other models give is asked when it is first measured, and None where there is no such model.

        Args:
            model: A language model.
            measured: Questions by set; empty ones are left out.
            retrained: Gives the truth ratios on ``forget`` of a model trained without it, for the forget quality.
            retrained_area: Gives the area of `membership` of such a model, for PrivLeak.
            patching: Gives a `genunlearn.evaluation.lm.depth.Patching`, for the unlearning depth.
            texts: Plain texts of ``members`` and of ``others``, for `membership`.
            counts_end: Whether probabilities count the end of turn as a token of the answer, as the published numbers
                do. Exact memorisation and extraction strength never do.
            options: As of `FactProbes`.
        """
        super().__init__(model, measured, **{"max_new_tokens": LONGEST_REPLY} | options)
        self.counts_end, self.texts = counts_end, texts or {}
        self._ask_retrained = retrained or (lambda: None)
        self._ask_area = retrained_area or (lambda: None)
        self._ask_patching = patching or (lambda: None)

    @cached_property
    def retrained(self) -> Sequence[float] | None:
        """Truth ratios on ``forget`` of a model trained without it; None where there is none."""
        return self._ask_retrained()

    @cached_property
    def retrained_area(self) -> float | None:
        """Area of `membership` of a model trained without the forget set; None where there is none."""
        return self._ask_area()

    @cached_property
    def patching(self) -> Any:
        """What the original says with other models' states in it; None without a model to hold it against."""
        return self._ask_patching()

    @cached_property
    def membership(self) -> Estimate | None:
        """Area under the ROC curve of Min-40%, members above others; None where there are no texts of both."""
        sides = [self.texts.get(name) for name in (MEMBERS, OTHERS)]
        if not all(sides):
            return None
        scores = [torch.tensor([_least_likely(row) for row in self.model.text_logprobs(side)]) for side in sides]
        return auc(*scores)

    @cached_property
    def told_after_shots(self) -> dict[str, list[bool]]:
        """Whether the answer tells the true one where answered questions about other things come first, by forget set.

        Raises:
            NeedNotMet: There are not enough of them, or there is no room.
        """
        asked = {name: items for name, items in self.measured.items() if name in FORGET_GROUPS}
        pool = [item for name, items in self.measured.items() if name not in FORGET_GROUPS for item in items]
        questions = [item.question for items in asked.values() for item in items]
        examples = fitting(self.model, pool, questions, most=SHOTS, seed=0)
        if len(examples) < FEWEST_SHOTS:
            raise NeedNotMet(
                f"needs {FEWEST_SHOTS} questions that must stay and fit the context together, has {len(examples)}"
            )
        before = shown(examples)
        conversations = [[*before, {"role": "user", "content": question}] for question in questions]
        rows = iter(self.model.generate(conversations, **self._options))
        texts = {name: [split_thought(next(rows)[0])[1] for _ in items] for name, items in asked.items()}
        return self.told_in(texts)

    @cached_property
    def rouge(self) -> dict[str, list[RougeRecall]]:
        """ROUGE recall of the greedy answers by set.

        Raises:
            NeedNotMet: The stemmer is not installed.
        """
        stem = porter_stem()
        return {
            name: [rouge_recall(text, item.answer, stem) for text, item in zip(self.answers[name], items, strict=True)]
            for name, items in self.measured.items()
        }

    @cached_property
    def _rated(self) -> dict[str, list[list[AnswerScore]]]:
        """Scores by set and question: of the answer, of its other wording, of each wrong one."""
        pairs = {name: [_pairs(item) for item in items] for name, items in self.measured.items()}
        rows = iter(self._scores([pair for asked in pairs.values() for texts in asked for pair in texts]))
        return {name: [[next(rows) for _ in texts] for texts in asked] for name, asked in pairs.items()}

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
    def _contrasted(self) -> list[str]:
        """Sets that have wrong answers.

        Raises:
            DataError: Some questions of a set have them and others do not.
        """
        names = []
        for name, items in self.measured.items():
            lacking = [item.question for item in items if not _wrong(item)]
            if lacking and len(lacking) < len(items):
                raise DataError(
                    f"set {name!r}: {lacking[0]!r} has no wrong answers, others have: give all of them some"
                )
            names += [] if lacking else [name]
        return names

    def _losses(self, name: str) -> list[list[float]]:
        """Mean negative log-likelihoods a token, in the order of `Contrast.pairs`, for each question of a set."""
        return [[-score.mean_logprob(counts_end=self.counts_end) for score in row] for row in self._rated[name]]


def _least_likely(logprobs: Tensor) -> float:
    return lowest(logprobs[None], torch.ones_like(logprobs, dtype=torch.bool)[None], LEAST_LIKELY).item()


def _wrong(item: QA) -> tuple[str, ...]:
    return item.wrong if isinstance(item, Contrast) else ()


def _pairs(item: QA) -> list[tuple[str, str]]:
    return item.pairs if isinstance(item, Contrast) else [(item.question, item.answer)]
