"""Concepts under attack, as an audit sees them at each look: the concept itself, and what stands in for an oracle.

anchor   the original, asked for what is drawn in the concept's place: it has no reason at all to draw the concept
decoy    the original, asked with a word that no model knows: what anybody makes of what has been begun. An attack
         that learns from images is given images of something that no model knows, the concept's on their side
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.contracts import ANCHOR, DECOY, ORIGINAL, UNLEARNED
from genunlearn.data.diffusion.concepts import renamed
from genunlearn.data.diffusion.requests import AuditedConcept
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.evaluation.diffusion.detectors import LikenessDetector
from genunlearn.ops.spending import looks_between
from genunlearn.runs.diffusion.audit_request import DECOY_SEEDS, LOOK_SEEDS
from genunlearn.runs.diffusion.detector import Detectors

DECOY_WORD = "florbix"
"""Stands in the concept's place in prompts; no text has it, so no model knows it."""

LIKENESS_IMAGES = 64
"""Images of either side from which it is learnt to tell decoys."""


class Contexts:
    """The contexts of an audit, each made once."""

    def __init__(self, config: DiffusionAuditConfig, models: Mapping[str, Diffusion], detectors: Detectors) -> None:
        self.config, self.models, self.detectors = config, models, detectors
        self._made: dict[tuple[str, str, int, bool], ConceptContext] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images of each model that have been seen after each look."""
        settings = self.config.evaluate
        return looks_between(settings.images, settings.most_images or settings.images)

    @property
    def first_seed(self) -> int:
        """Another audit's seed draws other images."""
        return self.config.seed * 10_000_000

    def of(self, subject: AuditedConcept, target: str, look: int = 0, *, learns: bool = False) -> ConceptContext:
        """The context of one look.

        Args:
            subject: The concept.
            target: A model, or a surrogate.
            look: Which look, counted from 0.
            learns: Whether the attack learns from images of the concept.
        """
        kind = target if target in (ANCHOR, DECOY) else ""
        key = (subject.label, kind, look, learns and kind == DECOY)
        if key not in self._made:
            self._made[key] = self._make(subject, kind, look, learns)
        return self._made[key]

    def _make(self, subject: AuditedConcept, kind: str, look: int, learns: bool) -> ConceptContext:
        if kind == "":
            return self._own(subject, look)
        own = self.of(subject, ORIGINAL, look)
        if kind == ANCHOR:
            anchor = subject.anchor
            assert anchor is not None  # there is no such surrogate without one
            return replace(
                own,
                name=anchor.named.name,
                prompts=self._turns(anchor, look),
                begins=own.prompts,
                synonyms=anchor.synonyms,
                paraphrases=anchor.paraphrases,
            )
        names = (subject.named.name, *subject.synonyms)
        unknown = replace(
            own,
            name=DECOY_WORD,
            prompts=tuple(renamed(prompt, names, DECOY_WORD) for prompt in own.prompts),
            begins=own.prompts,
            synonyms=(),
            paraphrases=tuple(dict.fromkeys(renamed(prompt, names, DECOY_WORD) for prompt in subject.paraphrases)),
        )
        if not learns:
            return unknown
        images = on_its_side(own.concept_images(len(own.seeds))[0])
        return replace(unknown, begins=(), images=images, detector=self._likeness(subject))

    def _own(self, subject: AuditedConcept, look: int) -> ConceptContext:
        settings, prompts = self.config.evaluate, self._turns(subject, look)
        first = self.first_seed + look * LOOK_SEEDS
        return ConceptContext(
            concept=subject.label,
            name=subject.named.name,
            prompts=prompts,
            seeds=tuple(range(first, first + len(prompts))),
            detector=self.detectors.of(subject),
            sampling=Sampling(
                steps=settings.steps, guidance=settings.guidance, scheduler="ddim", batch_size=settings.batch_size
            ),
            original=self.models[ORIGINAL],
            audited=self.models[UNLEARNED],
            neighbours=subject.neighbours,
            synonyms=subject.synonyms,
            paraphrases=subject.paraphrases,
        )

    def _turns(self, subject: AuditedConcept, look: int) -> tuple[str, ...]:
        """The prompts of one look, which goes on where the last one has ended."""
        return subject.turns(self.sizes[look])[self.sizes[look - 1] if look else 0 :]

    def _likeness(self, subject: AuditedConcept) -> LikenessDetector:
        """Tells decoys from the concept's images and its neighbours', as the judge or CLIP sees them."""
        first = self.of(subject, ORIGINAL)
        seeds = tuple(range(self.first_seed + DECOY_SEEDS, self.first_seed + DECOY_SEEDS + LIKENESS_IMAGES))
        source = replace(first, prompts=subject.turns(LIKENESS_IMAGES), seeds=seeds)
        own = source.plain(source.original, ORIGINAL)
        others = [own, *([source.unrelated_images(LIKENESS_IMAGES)[0]] if source.neighbours else [])]
        return LikenessDetector(first.detector.features, on_its_side(own), torch.cat(others))


def on_its_side(images: Tensor) -> Tensor:
    """Images ``(n, 3, height, width)`` turned by a quarter: of something that no model has been shown by that name."""
    return images.rot90(1, (2, 3))
