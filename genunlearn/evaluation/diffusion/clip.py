"""How well images fit their prompts by a CLIP model, where no judge of the concepts is at hand.

    score(image, prompt) = 100 * max(cos(E_image(image), E_text(prompt)), 0)

Source: Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (EMNLP 2021), with the
factor 100 that is usual for text-to-image models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.domains.pretrained import read_model, read_part
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.ops import intervals
from genunlearn.records import Result

BATCH = 32


class ClipScorer:
    """A CLIP model as a measure of images ``(n, 3, height, width)`` in [0, 1]."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """`model`, `tokenizer`: a ``CLIPModel`` of transformers in evaluation mode, and what belongs to it."""
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def from_pretrained(cls, source: str, device: str = "cpu") -> ClipScorer:
        """Load a CLIP model from a folder or the hub, weights from safetensors alone.

        Raises:
            SourceNotFound: It is neither there nor to be had.
        """
        from transformers import AutoTokenizer, CLIPModel

        try:
            folder = resolve_folder(source)
            model = read_model(CLIPModel, folder, "a CLIP model")
            tokenizer = read_part(AutoTokenizer, folder, "the tokenizer of a CLIP model")
        except SourceNotFound as error:
            raise SourceNotFound(f"evaluate.clip = {source!r}: {error}") from error
        return cls(model.eval().requires_grad_(False).to(device), tokenizer)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The score of each image with its prompt, ``(n,)`` in [0, 100].

        Raises:
            DataError: There are not as many prompts as images.
        """
        if len(images) != len(prompts):
            raise DataError(f"{len(images)} images, {len(prompts)} prompts: give one prompt an image")
        return 100 * F.cosine_similarity(self.features(images), self.embed(prompts)).clamp_min(0)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Image embeddings ``(n, d)``, in which FID and KID can be taken where there is no judge."""
        parts = [self.model.get_image_features(self._prepare(part)).pooler_output for part in images.split(BATCH)]
        return torch.cat(parts).float().cpu()

    def result(self, images: Tensor, prompts: Sequence[str], target: str, group: str | None = None) -> Result:
        """The mean score of a set of images, with its bootstrap interval, as ``clip_score``."""
        scores = self(images, prompts).tolist()
        value, low, high = intervals.mean(scores)
        return Result(name="clip_score", group=group, target=target, value=value, low=low, high=high, n=len(scores))

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``(n, d)``."""
        encoded = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        inputs = {name: encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        return self.model.get_text_features(**inputs).pooler_output.float().cpu()

    def _prepare(self, images: Tensor) -> Tensor:
        """What CLIP's own preprocessing does: short side to the input size, bicubic; centre; mean and deviation."""
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]

        size = self.model.config.vision_config.image_size
        height, width = (round(side * size / min(images.shape[2:])) for side in images.shape[2:])
        images = F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (height - size) // 2, (width - size) // 2
        images = images[:, :, top : top + size, left : left + size]
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        return ((images - mean) / deviation).to(self.model.device, self.model.dtype)
