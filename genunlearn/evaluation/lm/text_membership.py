"""Membership of whole texts: can one still tell that a model was trained on what is to go?

A text's score is Min-40%, the mean log-probability of the least likely 40% of its tokens. Members are texts of what is
to go, the others texts of the same kind that no model has seen.

Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models" (ICLR 2025), section 3.
Deviations: where no retain model is known PrivLeak is held against chance, an area of 0.5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from genunlearn.contracts import Metric, Suite
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.benchmark_metrics import AnswerProbability, Repetition, RougeLRecall
from genunlearn.evaluation.lm.metrics import JUDGED, ExtractionStrength, Perplexity, Recall, ThoughtRecall
from genunlearn.ops.membership import privleak
from genunlearn.records import Result

TEXTS = "texts"
CHANCE = 0.5
LACKS = "the benchmark has no texts of members and of others"


class TextMembership(Metric):
    """Area under the ROC curve of Min-40% over whole texts: the chance that a member scores above another text."""

    name: ClassVar[str] = "text_membership"
    higher_is_better: ClassVar[bool | None] = False

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result, or a skipped one that says what is missing."""
        if probes.membership is None:
            return [Result(name=self.name, group=TEXTS, target=target, value=None, skipped=LACKS)]
        value, low, high = probes.membership
        return [
            Result(
                name=self.name, group=TEXTS, target=target, value=value, low=low, high=high,
                n=sum(map(len, probes.texts.values())), version=self.version, higher_is_better=False,
            )
        ]  # fmt: skip


class PrivLeak(Metric):
    """How far that area lies from the retain model's, in percent; 0 is best, below 0 members can still be told."""

    name: ClassVar[str] = "privleak"

    def measure(self, probes: BenchmarkProbes, target: str) -> list[Result]:
        """One result, or a skipped one that says what is missing."""
        (area,) = TextMembership().measure(probes, target)
        blank = replace(area, name=self.name, version=self.version, higher_is_better=None)
        if area.value is None or area.low is None or area.high is None:
            return [blank]
        control = CHANCE if probes.retrained_area is None else probes.retrained_area
        if control >= 1:
            nothing = replace(blank, value=None, low=None, high=None, n=0)
            return [replace(nothing, skipped="the retain model itself tells all members: PrivLeak has no scale")]
        value, low, high = (privleak(end, control) for end in (area.value, area.high, area.low))
        return [replace(blank, value=value, low=low, high=high)]


MUSE = Suite(
    (
        *(Recall, ThoughtRecall, AnswerProbability, RougeLRecall, ExtractionStrength, TextMembership, PrivLeak),
        *(Repetition, Perplexity, *JUDGED),
    )
)
