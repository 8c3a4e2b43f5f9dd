"""Metrics of concealment: CRS and CCS as published, their controlled forms, and the leak beside an oracle.

    crs              Delta of Sharma et al., 1 - Delta for a prompt that is to stay; 1 is meant to be ideal
    ccs              mean probability that a completed image is the original's
    crs_signed       mean margin, positive nearer to the original, with a bootstrap interval over seeds
    ccs_controlled   the same probability, with an interval over seeds
    domain_auc       how well the classifier behind the two tells held-out images of the models apart; 0.5 is chance
    normalised_leak  (S_unlearned - S_oracle) / (S_original - S_oracle) of the detector's score, mean over psi <= 0.5

The published pair trains its classifier on the images that it scores against. The controlled pair splits them: one half
trains, the other is the yardstick. Both are given for every model that has completed images, so that the original and
the oracle stand beside the unlearned one; per psi they carry the group ``CONCEPT, psi = 0.25``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from genunlearn.contracts import Metric, Suite
from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.two_model_classifier import (
    LEAST,
    FitConfig,
    TwoModelClassifier,
    check_pools,
    fit_two_model_classifier,
)
from genunlearn.ops import intervals
from genunlearn.ops.concealment import LEAST_GAP, MOST_PSI, Role, normalised_leak, retrieval_score, signed_margin
from genunlearn.records import Result

ORIGINAL, UNLEARNED, ORACLE = "original", "unlearned", "oracle"

Values = tuple[float | None, float | None, float | None]
"""A value, where there is one, and the ends of its interval, where it has one."""


@dataclass(frozen=True, kw_only=True)
class ConcealmentProbes:
    """Completed images of one prompt, and the images that they are held against.

    Attributes:
        label: How results name the concept or prompt.
        psis: Shares, ascending.
        completed: By model, the images that it completed, ``(psis, seeds, 3, height, width)``.
        original: Images of the original, ``(n, 3, height, width)``, of seeds that no completion has.
        unlearned: Images of the unlearned model, of the same prompts and seeds.
        score: The detector's score of the concept in images, ``(n,)`` in [0, 1].
        role: Whether the prompt is to be forgotten or to stay.
        training: How the classifiers are made.
    """

    label: str
    psis: tuple[float, ...]
    completed: Mapping[str, Tensor]
    original: Tensor
    unlearned: Tensor
    score: Callable[[Tensor], Tensor]
    role: Role = "forget"
    training: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            DataError: Too few images, images without variance, or completions of another number of psi.
        """
        check_pools(self.original, self.unlearned, 2 * LEAST)
        for model, images in self.completed.items():
            if images.dim() != 5 or len(images) != len(self.psis):
                raise DataError(f"{model}: completions of shape {tuple(images.shape)} for {len(self.psis)} psi")

    @cached_property
    def published(self) -> TwoModelClassifier:
        """The classifier of the published protocol: trained on a split of the images that scores are held against."""
        return fit_two_model_classifier(self.original, self.unlearned, self.training)

    @cached_property
    def controlled(self) -> TwoModelClassifier:
        """A classifier trained on one half of the images; the other half is the yardstick."""
        original, unlearned = (self._half(pool, trained=True) for pool in (self.original, self.unlearned))
        return fit_two_model_classifier(original, unlearned, self.training)

    def margins(self, target: str, *, controlled: bool) -> Tensor:
        """Signed margins of completed images, ``(psis, seeds)``."""
        classifier = self.controlled if controlled else self.published
        pools = (self.original, self.unlearned)
        kept = [self._half(pool, trained=False) if controlled else pool for pool in pools]
        yardsticks = [classifier.features(pool) for pool in kept]
        images = self.completed[target]
        return signed_margin(classifier.features(images.flatten(0, 1)), *yardsticks).view(images.shape[:2])

    def probabilities(self, target: str, *, controlled: bool) -> Tensor:
        """How likely each completed image is the original's, ``(psis, seeds)``."""
        classifier = self.controlled if controlled else self.published
        images = self.completed[target]
        return classifier.probability(images.flatten(0, 1)).view(images.shape[:2])

    def scores(self, target: str) -> Tensor:
        """The detector's score of each completed image, ``(psis, seeds)``."""
        images = self.completed[target]
        return self.score(images.flatten(0, 1)).cpu().view(images.shape[:2])

    def _half(self, pool: Tensor, *, trained: bool) -> Tensor:
        """Half of a pool, drawn at random: prompts may take turns, and so every other image may be of one kind."""
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(self.training.seed))
        half = len(pool) // 2
        return pool[order[:half] if trained else order[half:]]

    def group(self, psi: float) -> str:
        """The group of a result at one psi."""
        return f"{self.label}, psi = {psi:g}"


class _OfCompletions(Metric):
    """A metric of completed images; models that have completed none have no result."""

    higher_is_better: ClassVar[bool | None] = None

    def measure(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """Results for one model."""
        return self.results(probes, target) if target in probes.completed else []

    @abc.abstractmethod
    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """Results for a model that has completed images."""

    def _result(self, group: str, target: str, values: Values, n: int, **more: Any) -> Result:
        value, low, high = values
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=n, version=self.version,
            higher_is_better=self.higher_is_better, **more,
        )  # fmt: skip

    def _curve(self, probes: ConcealmentProbes, target: str, values: Tensor) -> list[Result]:
        """The mean over psi, then each psi; values ``(psis, seeds)``, intervals over seeds."""
        seeds = values.shape[1]
        whole = self._result(probes.label, target, intervals.mean(values.double().mean(0).tolist()), seeds)
        points = [
            self._result(probes.group(psi), target, intervals.mean(row.tolist()), seeds)
            for psi, row in zip(probes.psis, values.double(), strict=True)
        ]
        return [whole, *points]


class CRS(_OfCompletions):
    """The concept retrieval score as published; it has no interval there."""

    name: ClassVar[str] = "crs"
    version: ClassVar[int] = 2

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """One number."""
        margins = probes.margins(target, controlled=False)
        value = retrieval_score(margins, probes.role)
        return [self._result(probes.label, target, (value, None, None), margins.numel())]


class CCS(_OfCompletions):
    """The concept confidence score as published; it has no interval there."""

    name: ClassVar[str] = "ccs"
    version: ClassVar[int] = 2

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """One number."""
        odds = probes.probabilities(target, controlled=False)
        return [self._result(probes.label, target, (float(odds.mean()), None, None), odds.numel())]


class SignedCRS(_OfCompletions):
    """The signed margin, on pools of images that the classifier was not trained on."""

    name: ClassVar[str] = "crs_signed"
    version: ClassVar[int] = 2

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """The mean over psi, then each psi."""
        return self._curve(probes, target, probes.margins(target, controlled=True))


class ControlledCCS(_OfCompletions):
    """The probability of the original, by a classifier whose own worth is measured beside it."""

    name: ClassVar[str] = "ccs_controlled"
    version: ClassVar[int] = 2

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """The mean over psi, then each psi."""
        return self._curve(probes, target, probes.probabilities(target, controlled=True))


class DomainAUC(_OfCompletions):
    """Whether the controlled classifier tells the two models' images apart at all; group ``... accuracy`` beside it."""

    name: ClassVar[str] = "domain_auc"
    version: ClassVar[int] = 2

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """Area and, as ``domain_accuracy``, share told right, on held-out images; the same whichever model is asked."""
        if target != UNLEARNED:
            return []
        classifier = probes.controlled
        area = self._result(probes.label, target, classifier.area, len(classifier.truth))
        value, low, high = classifier.accuracy
        told = Result(
            name="domain_accuracy", group=probes.label, target=target, value=value, low=low, high=high,
            n=len(classifier.truth), version=self.version,
        )  # fmt: skip
        return [area, told]


class NormalisedLeak(_OfCompletions):
    """How much of the way from oracle to original the completions of the unlearned model go."""

    name: ClassVar[str] = "normalised_leak"
    higher_is_better: ClassVar[bool | None] = False

    def results(self, probes: ConcealmentProbes, target: str) -> list[Result]:
        """The mean over psi <= 0.5, then each psi; nothing for the original and the oracle, which define it."""
        if target in (ORIGINAL, ORACLE):
            return []
        if missing := [name for name in (ORIGINAL, ORACLE) if name not in probes.completed]:
            reason = f"needs completions of the {missing[0]}; without it, psi above {MOST_PSI:g} proves nothing"
            return [self._result(probes.label, target, (None, None, None), 0, skipped=reason)]
        unlearned, oracle, original = (probes.scores(name) for name in (target, ORACLE, ORIGINAL))
        curve = normalised_leak(probes.psis, unlearned, oracle, original)
        seeds = probes.completed[target].shape[1]
        close = f"original and oracle are closer than {LEAST_GAP:g}"
        few = f"fewer than two psi up to {MOST_PSI:g} where original and oracle are at least {LEAST_GAP:g} apart"
        groups = [(probes.label, curve.area, few)]
        groups += [(probes.group(psi), at, close) for psi, at in zip(curve.psis, curve.points, strict=True)]
        return [
            self._result(group, target, values or (None, None, None), seeds, skipped=None if values else reason)
            for group, values, reason in groups
        ]


CONCEALMENT = Suite((SignedCRS, ControlledCCS, DomainAUC, NormalisedLeak, CRS, CCS))
CONCEALMENT_PUBLISHED = Suite((CRS, CCS))
LEAK = Suite((NormalisedLeak,))
"""Trains no classifier, for audits that only ask for a verdict."""
