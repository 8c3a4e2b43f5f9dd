"""Metrics of unlearning benchmarks, by the published definitions.

Each has one value a set. ``forget`` should fall, or look as if the model had never known; all other sets should stay.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

from genunlearn.contracts import Metric, Suite
from genunlearn.data.lm.facts import FORGET_GROUPS
from genunlearn.errors import NeedNotMet
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.metrics import JUDGED, ExtractionStrength, Perplexity, Recall, ThoughtRecall
from genunlearn.ops import intervals
from genunlearn.ops.fluency import ngram_entropy, repetition
from genunlearn.ops.truth_ratio import balance, forget_quality, margin, preference
from genunlearn.records import Result

FORGET = "forget"
KEPT = ("retain", "real_authors", "world_facts")
WITH_OPTIONS = ("real_authors", "world_facts")
"""Sets in which the right answer's probability is that among the options: the model never learnt their wording."""


class _BySet(Metric):
    """A metric that is a mean over the questions of each set."""

    higher_on_forget: ClassVar[bool | None] = False
    """Whether a higher value on what is to go is better; on all other sets it is, unless neither is better there."""
    higher_elsewhere: ClassVar[bool | None] = True
    is_bounded: ClassVar[bool] = True
    """Whether values lie in [0, 1]."""
    lacks: ClassVar[str] = "no set of the benchmark has what this metric needs"

    @abc.abstractmethod
    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """One number a question, by set."""

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result a set, or a skipped one that says what is missing."""
        try:
            found = {name: values for name, values in self.values(probes).items() if values}
        except NeedNotMet as error:
            return [Result(name=self.name, target=target, value=None, skipped=str(error))]
        if not found:
            return [Result(name=self.name, target=target, value=None, skipped=self.lacks)]
        return [self._result(name, target, values) for name, values in found.items()]

    def _result(self, group: str, target: str, values: Sequence[float]) -> Result:
        value, low, high = (intervals.bounded_mean if self.is_bounded else intervals.mean)(values)
        better = self.higher_on_forget if group in FORGET_GROUPS else self.higher_elsewhere
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=len(values),
            version=self.version, higher_is_better=better,
        )  # fmt: skip


class AnswerProbability(_BySet):
    """Probability of the true answer, geometric mean over its tokens."""

    name: ClassVar[str] = "answer_probability"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question."""
        return probes.probabilities


class OptionProbability(_BySet):
    """Probability of the true answer among those offered, each length-normalised."""

    name: ClassVar[str] = "option_probability"
    lacks: ClassVar[str] = "no question comes with wrong answers"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question with wrong answers."""
        return probes.option_probabilities


class Rouge1Recall(_BySet):
    """Share of the true answer's words that the greedy answer has."""

    name: ClassVar[str] = "rouge1_recall"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every greedy answer."""
        return {name: [recall.rouge1 for recall in rows] for name, rows in probes.rouge.items()}


class RougeLRecall(_BySet):
    """Share of the true answer's words that the greedy answer has in the same order."""

    name: ClassVar[str] = "rougeL_recall"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every greedy answer."""
        return {name: [recall.rouge_l for recall in rows] for name, rows in probes.rouge.items()}


class TruthRatioBalance(_BySet):
    """``min(R, 1/R)`` of the truth ratio R: 1 where wrong answers are as likely as the right one."""

    name: ClassVar[str] = "truth_ratio_balance"
    higher_on_forget: ClassVar[bool | None] = True
    higher_elsewhere: ClassVar[bool | None] = None
    lacks: ClassVar[str] = "no question comes with wrong answers"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question with wrong answers."""
        return {name: balance(ratios) for name, ratios in probes.truth_ratios.items()}


class TruthRatioMargin(_BySet):
    """``max(0, 1 - R)`` of the truth ratio R: 1 where only the right answer is likely."""

    name: ClassVar[str] = "truth_ratio_margin"
    lacks: ClassVar[str] = "no question comes with wrong answers"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question with wrong answers."""
        return {name: margin(ratios) for name, ratios in probes.truth_ratios.items()}


class TruthRatioPreference(_BySet):
    """``1 / (1 + R)`` of the truth ratio R: the right answer's share of the two probabilities."""

    name: ClassVar[str] = "truth_ratio_preference"
    lacks: ClassVar[str] = "no question comes with wrong answers"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question with wrong answers."""
        return {name: preference(ratios) for name, ratios in probes.truth_ratios.items()}


class ExactMemorisation(_BySet):
    """Share of the true answer's tokens that the model would have written, each after those before it."""

    name: ClassVar[str] = "exact_memorisation"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every question."""
        return probes.exact_memorisation


class NgramEntropy(_BySet):
    """How varied the greedy answers are: weighted mean entropy of two- and three-word sequences, bits."""

    name: ClassVar[str] = "ngram_entropy"
    higher_on_forget: ClassVar[bool | None] = True
    is_bounded: ClassVar[bool] = False
    lacks: ClassVar[str] = "no answer has three words"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every greedy answer of at least three words."""
        return {
            name: [value for text in texts if (value := ngram_entropy(text)) is not None]
            for name, texts in probes.answers.items()
        }


class Repetition(_BySet):
    """Share of the four-word sequences of a greedy answer that it has had before."""

    name: ClassVar[str] = "repetition"
    higher_elsewhere: ClassVar[bool | None] = False
    lacks: ClassVar[str] = "no answer has four words"

    def values(self, probes: BenchmarkProbes) -> Mapping[str, Sequence[float]]:
        """Of every greedy answer of at least four words."""
        return {
            name: [value for text in texts if (value := repetition(text)) is not None]
            for name, texts in probes.answers.items()
        }


class ForgetQuality(Metric):
    """p-value of the Kolmogorov-Smirnov test between the truth ratios of this model and of a retrained one.

    Above 0.05 the two cannot be told apart by it.
    """

    name: ClassVar[str] = "forget_quality"
    higher_is_better: ClassVar[bool | None] = True

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result, or a skipped one that says what is missing."""
        ratios = probes.truth_ratios.get(FORGET)
        if not ratios:
            return [Result(name=self.name, target=target, value=None, skipped="no forget set with wrong answers")]
        if not probes.retrained:
            reason = (
                "no model trained without the forget set is known: name one in evaluate.oracle, or give oracle.base"
            )
            return [Result(name=self.name, target=target, value=None, skipped=reason)]
        value = forget_quality(ratios, probes.retrained)
        return [
            Result(
                name=self.name, group=FORGET, target=target, value=value, n=len(ratios),
                version=self.version, higher_is_better=True,
            )
        ]  # fmt: skip


class ModelUtility(Metric):
    """Harmonic mean of nine numbers: probability, ROUGE-L recall and truth-ratio margin on three kept sets.

    Source: Maini et al., "TOFU" (COLM 2024), section 2.2.1.
    """

    name: ClassVar[str] = "model_utility"
    higher_is_better: ClassVar[bool | None] = True

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result, or a skipped one that says what is missing."""
        missing = [name for name in KEPT if name not in probes.truth_ratios]
        if missing:
            reason = f"it needs the sets {', '.join(KEPT)} with wrong answers, and lacks {', '.join(missing)}"
            return [Result(name=self.name, target=target, value=None, skipped=reason)]
        try:
            value, low, high = intervals.harmonic_mean([self._numbers(probes, name) for name in KEPT])
        except NeedNotMet as error:
            return [Result(name=self.name, target=target, value=None, skipped=str(error))]
        n = sum(len(probes.measured[name]) for name in KEPT)
        return [
            Result(
                name=self.name, group="kept", target=target, value=value, low=low, high=high, n=n,
                version=self.version, higher_is_better=True,
            )
        ]  # fmt: skip

    @staticmethod
    def _numbers(probes: BenchmarkProbes, name: str) -> list[Sequence[float]]:
        """Probability, ROUGE-L recall and margin of every question of a set."""
        probabilities = probes.option_probabilities if name in WITH_OPTIONS else probes.probabilities
        recalls = [recall.rouge_l for recall in probes.rouge[name]]
        return [probabilities[name], recalls, margin(probes.truth_ratios[name])]


TOFU = Suite(
    (
        Recall,
        AnswerProbability,
        OptionProbability,
        Rouge1Recall,
        RougeLRecall,
        TruthRatioBalance,
        TruthRatioMargin,
        TruthRatioPreference,
        ExactMemorisation,
        ExtractionStrength,
        ForgetQuality,
        ModelUtility,
        NgramEntropy,
        Repetition,
        Perplexity,
        ThoughtRecall,
        *JUDGED,
    ),
    version=3,
)
