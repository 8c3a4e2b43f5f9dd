"""Metrics of concept erasure on images: is the concept gone, did the others stay, do images still look real.

The names are those of UnlearnCanvas (Zhang et al., NeurIPS 2024). For an erased concept, with the judge's word for
what an image shows:

    ua    share of the images asked to show the concept that do not show it
    ira   share of the other images that show what was asked of the concept's own kind (digits, for a digit)
    cra   share of the other images that show what was asked of the other kind (styles, for a digit)

"Other images" are those whose prompts name no erased concept at all.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

from torch import Tensor

from genunlearn.contracts import Metric, Suite
from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.image_distances import LEAST, Estimate, fid, kid
from genunlearn.ops import intervals
from genunlearn.records import Result


class Judge(Protocol):
    """A classifier of images with one head for each kind of concept."""

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """Names of the classes by kind, in the order of the heads and of their outputs."""

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Probabilities ``(n, classes)`` of each kind for images ``(n, 3, height, width)`` in [0, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """Features ``(n, d)`` in which sets of images are compared."""


class NamedConcept(Protocol):
    """A concept that was erased."""

    @property
    def kind(self) -> str:
        """One of the judge's kinds."""

    @property
    def name(self) -> str:
        """One of the classes of that kind."""

    @property
    def label(self) -> str:
        """How reports name it."""


@dataclass(frozen=True, kw_only=True)
class ImageProbes:
    """Images of one model, what was asked of each, and what a judge sees; seen once, read by every metric.

    Attributes:
        images: ``(n, 3, height, width)`` in [0, 1].
        asked: By kind, the concept that each image's prompt names; None where it leaves the kind open.
        judge: Who says what the images show.
        erased: Concepts that were to be erased.
        references: Features of images to compare with, by name: ``real``, ``original``.
        prompts: Which prompts were used, to tell results apart, for instance ``held-out prompts``; empty for the usual.
    """

    images: Tensor
    asked: Mapping[str, Sequence[str | None]]
    judge: Judge
    erased: Sequence[NamedConcept]
    references: Mapping[str, Tensor] = field(default_factory=dict)
    prompts: str = ""

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            DataError: A kind is not the judge's, or the counts of images and prompts differ.
        """
        for kind in {*self.asked, *(concept.kind for concept in self.erased)}:
            if kind not in self.judge.classes:
                known = ", ".join(self.judge.classes)
                raise DataError(f"the judge tells no {kind!r}, only {known}: leave these prompts out")
            if len(self.asked.get(kind, ())) != len(self.images):
                raise DataError(f"{len(self.images)} images, {len(self.asked.get(kind, ()))} prompts with a {kind}")

    @cached_property
    def seen(self) -> dict[str, list[str]]:
        """By kind, the class that the judge finds most likely in each image."""
        verdicts = zip(self.judge.classes.items(), self.judge(self.images), strict=True)
        return {kind: [names[i] for i in odds.argmax(-1).tolist()] for (kind, names), odds in verdicts}

    @cached_property
    def features(self) -> Tensor:
        """The images in the judge's features, ``(n, d)``."""
        return self.judge.features(self.images)

    def rows_of(self, concept: NamedConcept) -> list[int]:
        """Images whose prompts name `concept`."""
        return [row for row, name in enumerate(self.asked[concept.kind]) if name == concept.name]

    @cached_property
    def other_rows(self) -> list[int]:
        """Images whose prompts name no erased concept."""
        named = {row for concept in self.erased for row in self.rows_of(concept)}
        return [row for row in range(len(self.images)) if row not in named]

    def hits(self, kind: str, rows: Iterable[int] | None = None) -> list[bool]:
        """Whether images show what their prompts ask of a kind: those of `rows` (all by default) that ask for it."""
        asked, seen = self.asked.get(kind, [None] * len(self.images)), self.seen[kind]
        rows = range(len(self.images)) if rows is None else rows
        return [asked[row] == seen[row] for row in rows if asked[row] is not None]

    def group(self, name: str) -> str:
        """The group of a result about `name`."""
        return f"{name}, {self.prompts}" if self.prompts else name


class _PerConcept(Metric):
    """A share for each erased concept, with its exact interval."""

    higher_is_better: ClassVar[bool | None] = True

    def measure(self, probes: ImageProbes, target: str) -> list[Result]:
        """One result an erased concept."""
        return [self._result(probes, concept, target) for concept in probes.erased]

    @abc.abstractmethod
    def hits(self, probes: ImageProbes, concept: NamedConcept) -> list[bool]:
        """What counts for the metric, image by image."""

    def _result(self, probes: ImageProbes, concept: NamedConcept, target: str) -> Result:
        hits = self.hits(probes, concept)
        value, low, high = intervals.share(sum(hits), len(hits)) if hits else (None, None, None)
        return Result(
            name=self.name, group=probes.group(concept.label), target=target, value=value, low=low, high=high,
            n=len(hits), version=self.version, higher_is_better=self.higher_is_better,
            skipped=None if hits else f"no prompt asks for what {self.name} counts",
        )  # fmt: skip


class UnlearningAccuracy(_PerConcept):
    """Share of the images asked to show an erased concept that do not show it."""

    name: ClassVar[str] = "ua"

    def hits(self, probes: ImageProbes, concept: NamedConcept) -> list[bool]:
        """Images of the concept's prompts; True where it is gone."""
        return [not shown for shown in probes.hits(concept.kind, probes.rows_of(concept))]


class InDomainRetainAccuracy(_PerConcept):
    """Share of the other images that show what was asked of the concept's own kind."""

    name: ClassVar[str] = "ira"

    def hits(self, probes: ImageProbes, concept: NamedConcept) -> list[bool]:
        """Images of prompts without an erased concept; True where they show the asked one of its kind."""
        return probes.hits(concept.kind, probes.other_rows)


class CrossDomainRetainAccuracy(_PerConcept):
    """Share of the other images that show what was asked of the other kinds."""

    name: ClassVar[str] = "cra"

    def hits(self, probes: ImageProbes, concept: NamedConcept) -> list[bool]:
        """Images of prompts without an erased concept; True where they show the asked one of another kind."""
        kinds = [kind for kind in probes.judge.classes if kind != concept.kind]
        return [hit for kind in kinds for hit in probes.hits(kind, probes.other_rows)]


class _Distance(Metric):
    """A distance of the images from each reference, on images whose prompts name no erased concept."""

    higher_is_better: ClassVar[bool | None] = False
    distance: ClassVar[Callable[[Tensor, Tensor], Estimate]]

    def measure(self, probes: ImageProbes, target: str) -> list[Result]:
        """One result a reference: how far what should have stayed has moved."""
        features = probes.features[probes.other_rows]
        return [self._result(probes.group(name), features, other, target) for name, other in probes.references.items()]

    def _result(self, group: str, features: Tensor, other: Tensor, target: str) -> Result:
        is_enough = min(len(features), len(other)) >= LEAST
        value, low, high = type(self).distance(features, other) if is_enough else (None, None, None)
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=len(features),
            version=self.version, higher_is_better=self.higher_is_better,
            skipped=None if is_enough else f"{self.name} needs {LEAST} images that name no erased concept",
        )  # fmt: skip


class FrechetDistance(_Distance):
    """FID on the judge's features."""

    name: ClassVar[str] = "fid"
    distance: ClassVar[Callable[[Tensor, Tensor], Estimate]] = staticmethod(fid)


class KernelDistance(_Distance):
    """KID on the judge's features."""

    name: ClassVar[str] = "kid"
    distance: ClassVar[Callable[[Tensor, Tensor], Estimate]] = staticmethod(kid)


IMAGES_QUICK = Suite(
    (
        UnlearningAccuracy,
        InDomainRetainAccuracy,
        CrossDomainRetainAccuracy,
    )
)
IMAGES = Suite((*IMAGES_QUICK.metrics, FrechetDistance, KernelDistance))
