"""Who says in an audit what images show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from genunlearn.attacks.diffusion.base import Detector
from genunlearn.config.diffusion import DiffusionAuditEvaluateConfig
from genunlearn.data.diffusion.requests import AuditedConcept, ErasedConcept
from genunlearn.errors import NeedNotMet
from genunlearn.evaluation.diffusion.detectors import ClipDetector, JudgeDetector
from genunlearn.evaluation.diffusion.metrics import Judge
from genunlearn.runs.diffusion.request import TEMPLATES


class Detectors:
    """The lab's judge, the user's classifier, or a CLIP model; each is loaded once."""

    def __init__(self, settings: DiffusionAuditEvaluateConfig, lab: str | None, names: Sequence[str]) -> None:
        """Nothing is loaded yet.

        Args:
            settings: Names a classifier or a CLIP model.
            lab: Folder of the lab's pipeline, with its judge; None for others.
            names: Concepts that a classifier has to know.
        """
        self.settings, self.lab, self.names = settings, lab, names

    @cached_property
    def judge(self) -> Judge | None:
        """A classifier; None where there is none.

        Raises:
            DataError: It does not know a concept.
            SourceNotFound: It is not there.
        """
        if self.lab is not None:
            from genunlearn.lab.diffusion.image_judge import load_judge

            return load_judge(self.lab)
        if self.settings.judge:
            from genunlearn.evaluation.diffusion.folder_judge import FolderJudge

            return FolderJudge.load(self.settings.judge, self.names)
        return None

    @cached_property
    def clip(self) -> Any:
        """A CLIP model.

        Raises:
            NeedNotMet: There is none, and no classifier either.
            SourceNotFound: It is not there.
        """
        if not self.settings.clip:
            raise NeedNotMet(
                "nobody can say what images show: name a classifier in evaluate.judge, or a CLIP model in evaluate.clip"
            )
        from genunlearn.evaluation.diffusion.clip import ClipScorer

        return ClipScorer.from_pretrained(self.settings.clip)

    def of(self, subject: AuditedConcept) -> Detector:
        """Who says whether an image shows a concept under audit."""
        if self.judge is not None:
            return JudgeDetector(self.judge, subject.named)
        return ClipDetector(self.clip, subject.caption, [*subject.neighbours, "a photo", "a painting"])

    def of_kept(self, concept: ErasedConcept, others: Sequence[str]) -> Detector:
        """Who says whether an image shows a concept that must stay.

        Args:
            concept: The concept.
            others: What CLIP may see instead.
        """
        if self.judge is not None:
            return JudgeDetector(self.judge, concept)
        texts = [TEMPLATES[1].format(name) for name in others if name != concept.name]
        return ClipDetector(self.clip, TEMPLATES[1].format(concept.name), [*texts, "a photo", "a painting"])

    @property
    def labels(self) -> Sequence[str]:
        """What the classifier tells apart; nothing where there is none."""
        return [] if self.judge is None else [name for names in self.judge.classes.values() for name in names]
