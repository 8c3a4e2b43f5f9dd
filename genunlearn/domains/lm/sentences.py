"""Sentence encoders: a folder of the sentence-transformers format, read by transformers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genunlearn.domains.files import read_json
from genunlearn.domains.pretrained import read_model, read_part
from genunlearn.errors import InputError

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Gives each text a vector of length 1: ``(texts, dimensions)``."""


def sentence_encoder(folder: str | Path, *, device: str = "cpu", batch_size: int = 64) -> Encoder:
    """The encoder of a sentence-transformers folder, such as all-MiniLM-L6-v2.

    Weights are read from safetensors alone, and nothing in the folder is executed. Pooling is the folder's: the mean
    over tokens, or the first token.

    Raises:
        SourceNotFound: The folder is not there, is damaged, or lacks weights.
        InputError: The folder pools in another way.
    """
    folder = Path(folder)
    pooling = _pooling(folder)
    from transformers import AutoModel, AutoTokenizer

    what = "a sentence encoder"
    tokenizer = read_part(AutoTokenizer, folder, what)
    model = read_model(AutoModel, folder, what, may_lack=("pooler.",))  # the pooler is not used
    model = model.eval().to(device)
    longest = min(model.config.max_position_embeddings, tokenizer.model_max_length, 512)

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors: list[Any] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        for begin in range(0, len(order), batch_size):
            places = order[begin : begin + batch_size]
            batch = tokenizer(
                [texts[at] for at in places], padding=True, truncation=True, max_length=longest, return_tensors="pt"
            ).to(device)
            states = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None].float()
            pooled = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
            for at, vector in zip(places, torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy(), strict=True):
                vectors[at] = vector
        return np.stack(vectors)

    return encode


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    settings = read_json(path)
    modes = [name for name, is_on in settings.items() if name.startswith("pooling_mode") and is_on is True]
    if modes == ["pooling_mode_mean_tokens"]:
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "cls"
    raise InputError(
        f"embeddings: {folder} pools by {', '.join(modes) or 'nothing'}; use a model that pools by mean or cls"
    )
