"""Metrics of fact removal: what is still told, what still could be, what stayed."""

from __future__ import annotations

import math
from typing import ClassVar

from genunlearn.contracts import Metric, Suite
from genunlearn.data.lm.facts import GONE_GROUPS, KEEP_GROUPS
from genunlearn.data.lm.judge import agreement
from genunlearn.data.lm.telling import gives
from genunlearn.evaluation.lm.probes import FactProbes
from genunlearn.ops import intervals
from genunlearn.records import Result


class _ByGroup(Metric):
    """A metric with one value for each scope group."""

    def result(self, target: str, group: str, estimate: tuple[float, float, float], n: int) -> Result:
        value, low, high = estimate
        better = True if group in KEEP_GROUPS else False if group in GONE_GROUPS else None
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=n,
            version=self.version, higher_is_better=better,
        )  # fmt: skip


class Recall(_ByGroup):
    """Share of questions whose greedy answer tells the true one."""

    name: ClassVar[str] = "recall"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a group."""
        return [
            self.result(target, group, intervals.share(sum(told), len(told)), len(told))
            for group, told in probes.is_told.items()
        ]


class ThoughtRecall(_ByGroup):
    """Share of questions whose thought, before the greedy answer, tells the true answer; of those with a thought."""

    name: ClassVar[str] = "thought_recall"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a group in which the model has thought; none for models that do not."""
        results = []
        for group, thoughts in probes.thoughts.items():
            pairs = [(text, item) for text, item in zip(thoughts, probes.measured[group], strict=True) if text]
            if pairs:
                told = sum(gives(text, item) for text, item in pairs)
                results.append(self.result(target, group, intervals.share(told, len(pairs)), len(pairs)))
        return results


class JudgedRecall(_ByGroup):
    """Share of questions whose greedy answer tells the true one, by the judge that the run names."""

    name: ClassVar[str] = "judged_recall"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a group; none without a judge."""
        return [
            self.result(target, group, intervals.share(sum(told), len(told)), len(told))
            for group, told in probes.judged.items()
        ]


class JudgeAgreement(Metric):
    """Share of greedy answers on which judge and string check agree."""

    name: ClassVar[str] = "judge_agreement"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result; none without a judge."""
        by_judge = [one for told in probes.judged.values() for one in told]
        if not by_judge:
            return []
        found = agreement([one for told in probes.is_told.values() for one in told], by_judge)
        value, low, high = intervals.share(found.agree, found.n)
        return [Result(name=self.name, target=target, value=value, low=low, high=high, n=found.n, version=self.version)]


class LeakRate(_ByGroup):
    """Share of questions about the facts that any of k sampled answers tells."""

    name: ClassVar[str] = "leak_rate"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a forget group; none where nothing was sampled."""
        results = []
        for group, rows in probes.sampled.items():
            items = probes.measured[group]
            leaks = [any(gives(text, item) for text in texts) for texts, item in zip(rows, items, strict=True)]
            results.append(self.result(target, group, intervals.share(sum(leaks), len(leaks)), len(leaks)))
        return results


class ThoughtLeakRate(_ByGroup):
    """Share of questions about the facts that any thought before k sampled answers tells; of those with a thought."""

    name: ClassVar[str] = "thought_leak_rate"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a forget group in which the model has thought; none for models that do not."""
        results = []
        for group, rows in probes.sampled_thoughts.items():
            pairs = [(texts, item) for texts, item in zip(rows, probes.measured[group], strict=True) if any(texts)]
            if pairs:
                leaks = sum(any(gives(text, item) for text in texts) for texts, item in pairs)
                results.append(self.result(target, group, intervals.share(leaks, len(pairs)), len(pairs)))
        return results


class TruthProbability(_ByGroup):
    """Probability of the true answer, geometric mean over its tokens."""

    name: ClassVar[str] = "truth_probability"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a group."""
        return [
            self.result(
                target, group, intervals.bounded_mean([math.exp(v) for v in scored.logprob]), len(scored.logprob)
            )
            for group, scored in probes.scored.items()
        ]


class ExtractionStrength(_ByGroup):
    """Share of the true answer that follows by itself from its shortest sufficient prefix.

    Source: Carlini et al., "Extracting Training Data from Large Language Models" (USENIX Security 2021), in the form
    of the open-unlearning benchmark.
    """

    name: ClassVar[str] = "extraction_strength"

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result a group."""
        return [
            self.result(target, group, intervals.bounded_mean(scored.extraction), len(scored.extraction))
            for group, scored in probes.scored.items()
        ]


class Perplexity(Metric):
    """Perplexity on neutral text: exp of the mean over texts of the negative log-likelihood a token."""

    name: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool | None] = False

    def measure(self, probes: FactProbes, target: str) -> list[Result]:
        """One result, or a skipped one where there is no neutral text."""
        values = probes.neutral_nll
        if not values:
            return [Result(name=self.name, target=target, value=None, skipped="no neutral text for this model")]
        value, low, high = map(math.exp, intervals.mean(values))
        return [
            Result(
                name=self.name, group="neutral", target=target, value=value, low=low, high=high, n=len(values),
                version=self.version, higher_is_better=False,
            )
        ]  # fmt: skip


JUDGED = (JudgedRecall, JudgeAgreement)
THOUGHTS = (ThoughtRecall, ThoughtLeakRate)
FACTS = Suite((Recall, LeakRate, *THOUGHTS, TruthProbability, ExtractionStrength, Perplexity, *JUDGED), version=3)
FACTS_QUICK = Suite((Recall, ThoughtRecall, *JUDGED), version=2)
