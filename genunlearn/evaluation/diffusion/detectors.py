"""Who says whether an image shows a concept: a judge that knows it, or a CLIP model where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion.clip import ClipScorer
from genunlearn.evaluation.diffusion.metrics import Judge, NamedConcept

RIDGE = 0.1
"""Pull to 0 of the weights of features with unit variance."""

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

    def features(self, images: Tensor) -> Tensor:
        """What the judge sees in images, ``(n, d)``."""
        return self.judge.features(images.float().cpu())

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

    def features(self, images: Tensor) -> Tensor:
        """CLIP's embeddings of images, ``(n, d)``."""
        return self.scorer.features(images)

    def _odds(self, images: Tensor) -> Tensor:
        features = F.normalize(self.scorer.features(images), dim=1)
        return (TEMPERATURE * features @ self._texts.T).softmax(1)


class LikenessDetector:
    """Images show a concept for which nobody has a word if they look more like its images than like others.

    A ridge regression on standardised features, which says 1 for images of the concept and 0 for others.
    """

    def __init__(self, features: Callable[[Tensor], Tensor], own: Tensor, others: Tensor) -> None:
        """Fit it.

        Args:
            features: Features ``(n, d)`` of images, as a judge or CLIP sees them.
            own: Images that show the concept, ``(n, 3, height, width)``.
            others: Images that do not, ``(m, 3, height, width)``.
        """
        self.features = features
        seen = [features(images).double() for images in (own, others)]
        self._mean, self._deviation = torch.cat(seen).mean(0), torch.cat(seen).std(0).clamp_min(1e-6)
        inputs = torch.cat([self._scaled(part) for part in seen])
        targets = torch.cat([torch.ones(len(own)), torch.zeros(len(others))]).double()
        weights = torch.cat([torch.full((len(part),), 0.5 / len(part)) for part in seen]).double()  # sides count alike
        penalty = RIDGE * torch.eye(inputs.shape[1], dtype=torch.double)
        penalty[-1, -1] = 0  # the constant is free
        self._weights = torch.linalg.solve(inputs.T * weights @ inputs + penalty, inputs.T @ (weights * targets))

    def score(self, images: Tensor) -> Tensor:
        """How surely, ``(n,)`` in [0, 1]."""
        return (self._scaled(self.features(images).double()) @ self._weights).clamp(0, 1).float()

    def shown(self, images: Tensor) -> Tensor:
        """Whether they are more like the concept's images, ``(n,)`` bool."""
        return self.score(images) > 0.5

    def _scaled(self, features: Tensor) -> Tensor:
        scaled = (features - self._mean) / self._deviation
        return torch.cat([scaled, torch.ones(len(scaled), 1).double()], 1)
