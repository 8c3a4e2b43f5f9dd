"""Who says whether an image shows a concept: a judge that knows it, or a CLIP model where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.clip import ClipScorer
from genunlearn.evaluation.diffusion.metrics import Judge, NamedConcept

TEMPERATURE = 100.0
"""CLIP's own factor between cosines and logits."""


class JudgeDetector:
    """A concept shows in an image if the judge finds it the most likely of its kind."""

    def __init__(self, judge: Judge, concept: NamedConcept) -> None:
        """Take one head of `judge`.

        Raises:
            DataError: The judge knows no such kind, or no such class of it.
        """
        if concept.kind not in judge.classes or concept.name not in judge.classes[concept.kind]:
            known = ", ".join(name for names in judge.classes.values() for name in names)
            raise DataError(f"the judge does not know {concept.label!r}: it tells {known}")
        self.judge = judge
        self.head = list(judge.classes).index(concept.kind)
        self.row = list(judge.classes[concept.kind]).index(concept.name)

    def score(self, images: Tensor) -> Tensor:
        """The probability of the concept in images ``(n, 3, height, width)``, ``(n,)``."""
        return self._odds(images)[:, self.row]

    def shown(self, images: Tensor) -> Tensor:
        """Whether it is the most likely of its kind, ``(n,)`` bool."""
        return self._odds(images).argmax(1) == self.row

    @torch.no_grad()
    def _odds(self, images: Tensor) -> Tensor:
        return self.judge(images.float().cpu())[self.head].cpu()


class ClipDetector:
    """A concept shows in an image that CLIP finds nearer to its words than to any of the others."""

    def __init__(self, scorer: ClipScorer, words: str, others: Sequence[str]) -> None:
        """Embed the words once.

        Args:
            scorer: A CLIP model.
            words: Text that describes the concept, such as ``a painting by Van Gogh``.
            others: Texts of what could be seen instead.

        Raises:
            DataError: There are no others to choose from.
        """
        if not others:
            raise DataError(
                f"CLIP cannot say whether an image shows {words!r} without others to choose from: give some"
            )
        self.scorer = scorer
        self._texts = F.normalize(scorer.embed([words, *others]), dim=1)

    def score(self, images: Tensor) -> Tensor:
        """The probability of the concept's words among all, ``(n,)``."""
        return self._odds(images)[:, 0]

    def shown(self, images: Tensor) -> Tensor:
        """Whether they are the most likely, ``(n,)`` bool."""
        return self._odds(images).argmax(1) == 0

    def _odds(self, images: Tensor) -> Tensor:
        features = F.normalize(self.scorer.features(images), dim=1)
        return (TEMPERATURE * features @ self._texts.T).softmax(1)
