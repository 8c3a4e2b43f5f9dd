"""Image and sequence classifiers in the hub's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

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
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

    if not (folder / "config.json").is_file():
        raise SourceNotFound(f"{folder}: no config.json; this is not a model folder in the hub's format")
    check_weights(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    architecture = (config.architectures or ["unknown"])[0]
    loaders = {IMAGE: AutoModelForImageClassification, SEQUENCE: AutoModelForSequenceClassification}
    loader = next((loader for ending, loader in loaders.items() if architecture.endswith(ending)), None)
    if loader is None:
        raise MismatchError(f"{folder} holds a {architecture}: give a model ...{IMAGE} or ...{SEQUENCE}")
    if (config.problem_type == "regression" or config.num_labels == 1) != is_regression:
        domains = ("classifier", "regression") if is_regression else ("regression", "classifier")
        raise MismatchError(f"{folder} holds a model for domain {domains[0]!r}, asked for as {domains[1]!r}")
    module = loader.from_pretrained(
        folder,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        dtype=dtype if dtype == "auto" else getattr(torch, dtype),
    )
    return module, _load_processor(folder, architecture)


def _load_processor(folder: Path, architecture: str) -> Any:
    from transformers import AutoImageProcessor, AutoTokenizer

    is_image = architecture.endswith(IMAGE)
    names = (
        ("preprocessor_config.json",) if is_image else ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    )
    if not any((folder / name).is_file() for name in names):
        return None
    return (AutoImageProcessor if is_image else AutoTokenizer).from_pretrained(folder, local_files_only=True)
