"""Image and sequence classifiers in the hub's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.domains.files import check_files, read_json
from genunlearn.domains.pretrained import read_model, read_part
from genunlearn.domains.sources import check_weights
from genunlearn.errors import MismatchError, SourceNotFound

IMAGE, SEQUENCE = "ForImageClassification", "ForSequenceClassification"


def load_folder(folder: Path, dtype: str, *, is_regression: bool) -> tuple[nn.Module, Any]:
    """The network of a folder, and its tokenizer or image processor (None where the folder holds none).

    Args:
        folder: Local folder with ``config.json`` and safetensors weights.
        dtype: Name of a torch dtype, or ``auto``.
        is_regression: Whether the caller wants a regressor.

    Raises:
        SourceNotFound: The folder is not complete.
        MismatchError: The model is no classifier, or a regressor where a classifier is wanted, or the reverse.
    """
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    architecture = check_folder(folder, is_regression=is_regression)
    loaders = {IMAGE: AutoModelForImageClassification, SEQUENCE: AutoModelForSequenceClassification}
    loader = next(loader for ending, loader in loaders.items() if architecture.endswith(ending))
    precision = dtype if dtype == "auto" else getattr(torch, dtype)
    return read_model(loader, folder, f"a model {architecture}", dtype=precision), load_processor(folder)


def check_folder(folder: Path, *, is_regression: bool) -> str:
    """Refuse a folder that cannot be the model asked for, without loading its weights; returns its architecture.

    Raises:
        SourceNotFound: The folder is not complete.
        MismatchError: The model is no classifier, or a regressor where a classifier is wanted, or the reverse.
    """
    from transformers import AutoConfig

    architecture = _architecture(folder)
    check_files(folder)
    check_weights(folder)
    config = read_part(AutoConfig, folder, f"a model {architecture}")
    if not architecture.endswith((IMAGE, SEQUENCE)):
        raise MismatchError(f"{folder} holds a {architecture}: give a model ...{IMAGE} or ...{SEQUENCE}")
    if (config.problem_type == "regression" or config.num_labels == 1) != is_regression:
        domains = ("classifier", "regression") if is_regression else ("regression", "classifier")
        raise MismatchError(f"{folder} holds a model for domain {domains[0]!r}, asked for as {domains[1]!r}")
    return architecture


def load_processor(folder: Path) -> Any:
    """The tokenizer or image processor of a folder; None where it holds none.

    Raises:
        SourceNotFound: The folder has no ``config.json``.
    """
    from transformers import AutoImageProcessor, AutoTokenizer

    is_image = _architecture(folder).endswith(IMAGE)
    names = (
        ("preprocessor_config.json",) if is_image else ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    )
    if not any((folder / name).is_file() for name in names):
        return None
    kind, what = (AutoImageProcessor, "an image processor") if is_image else (AutoTokenizer, "a tokenizer")
    return read_part(kind, folder, what)


def encode_value(processor: Any, value: Any) -> dict[str, Tensor]:
    """The named inputs that a tokenizer or image processor makes of one text or image."""
    options = {"truncation": True} if isinstance(value, str) else {}
    encoded = processor(value, return_tensors="pt", **options)
    return {name: tensor[0] for name, tensor in encoded.items()}


def _architecture(folder: Path) -> str:
    if not (folder / "config.json").is_file():
        raise SourceNotFound(f"{folder}: no config.json; this is not a model folder in the hub's format")
    named = read_json(folder / "config.json").get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "unknown"
