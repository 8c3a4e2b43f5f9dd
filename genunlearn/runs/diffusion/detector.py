"""Who says in an audit whether an image shows a concept."""

from __future__ import annotations

from genunlearn.attacks.diffusion.base import Detector
from genunlearn.config.diffusion import DiffusionAuditEvaluateConfig
from genunlearn.data.diffusion.requests import AuditedConcept
from genunlearn.errors import NeedNotMet
from genunlearn.evaluation.diffusion.detectors import ClipDetector, JudgeDetector


def detector_of(settings: DiffusionAuditEvaluateConfig, subject: AuditedConcept, lab: str | None) -> Detector:
    """The lab's judge, the user's classifier, or a CLIP model.

    Args:
        settings: Names the latter two.
        subject: The concept.
        lab: Folder of the lab's pipeline, with its judge; None for others.

    Raises:
        NeedNotMet: There is nobody.
        DataError: The concept is unknown to the judge.
        SourceNotFound: A classifier or a CLIP model is not there.
    """
    if lab is not None:
        from genunlearn.lab.diffusion.image_judge import load_judge

        return JudgeDetector(load_judge(lab), subject.named)
    if settings.judge:
        from genunlearn.evaluation.diffusion.folder_judge import FolderJudge

        return JudgeDetector(FolderJudge.load(settings.judge, [subject.named.name]), subject.named)
    if settings.clip:
        from genunlearn.evaluation.diffusion.clip import ClipScorer

        scorer = ClipScorer.from_pretrained(settings.clip)
        return ClipDetector(scorer, subject.prompts[1], [*subject.neighbours, "a photo", "a painting"])
    raise NeedNotMet(
        "nobody can say what images show: name a classifier in evaluate.judge, or a CLIP model in evaluate.clip"
    )
