"""A user's own image classifier as the judge of what images show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.domains.pretrained import read_model, read_part
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import DataError, SourceNotFound

KIND = "concept"
BATCH = 32


class FolderJudge:
    """An image classifier in the hub's format; its labels are the only kind of concept that it tells apart.

    Attributes:
        classes: Names of its labels, in order, under ``concept``.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        """`model`: an ``AutoModelForImageClassification`` in evaluation mode; `processor`: what belongs to it."""
        self.model, self.processor = model, processor
        labels = model.config.id2label
        self.classes: Mapping[str, Sequence[str]] = {KIND: [labels[number] for number in sorted(labels)]}

    @classmethod
    def load(cls, source: str | Path, names: Sequence[str] = (), device: str = "cpu") -> FolderJudge:
        """Read a classifier from its folder.

        Args:
            source: Folder or hub id.
            names: Concepts that it has to know.
            device: Where it runs.

        Raises:
            SourceNotFound: It is not there.
            DataError: It has no label for one of `names`.
        """
        from transformers import AutoModelForImageClassification
        from transformers.models.auto.image_processing_auto import AutoImageProcessor  # the other asks for torchvision

        try:
            folder = resolve_folder(str(source))
            model = read_model(AutoModelForImageClassification, folder, "an image classifier")
            processor = read_part(AutoImageProcessor, folder, "an image processor", use_fast=False)
        except SourceNotFound as error:
            raise SourceNotFound(f"evaluate.judge = {str(source)!r}: {error}") from error
        judge = cls(model.eval().requires_grad_(False).to(device), processor)
        if unknown := [name for name in names if name not in judge.classes[KIND]]:
            known = ", ".join(judge.classes[KIND][:8])
            raise DataError(f"evaluate.judge = {str(source)!r} has no label {unknown[0]!r}; it knows {known}, ...")
        return judge

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Probabilities ``(n, labels)`` for images ``(n, 3, height, width)`` in [0, 1], in a list of one."""
        return [self._logits(images).softmax(-1)]

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The last hidden state of each image, averaged over places, ``(n, d)``."""
        parts = []
        for part in images.split(BATCH):
            hidden = self.model(self._prepare(part), output_hidden_states=True).hidden_states[-1]
            parts.append(hidden.flatten(2).mean(-1) if hidden.ndim == 4 else hidden.mean(1))
        return torch.cat(parts).float().cpu()

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        return torch.cat([self.model(self._prepare(part)).logits for part in images.split(BATCH)]).float().cpu()

    def _prepare(self, images: Tensor) -> Tensor:
        """Resized and normalised as the classifier's own processor says; tensors stay tensors."""
        size = self.processor.size
        side = size.get("shortest_edge") or size["height"]
        sized = F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.processor.image_mean, self.processor.image_std))
        return ((sized - mean) / std).to(self.model.device, self.model.dtype)
