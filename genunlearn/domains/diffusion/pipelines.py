"""Pipelines on disk and in memory: found, checked, read, and parts that leave memory and come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from genunlearn.domains.files import check_files, read_json
from genunlearn.domains.pretrained import download_pipeline, read_model, read_pipeline
from genunlearn.domains.sources import check_weights, fetch, find_folder
from genunlearn.errors import SourceNotFound

INDEX = "model_index.json"
NOT_LOADED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that making images from text does not need; a whole exported pipeline gets them from its source."""
WEIGHTLESS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "Extractor")


def find(source: str, revision: str | None = None) -> Path:
    """The local folder of a pipeline, complete: `source` itself or its snapshot from the hub.

    Raises:
        SourceNotFound: No such pipeline, or one with a missing or damaged part.
    """
    if (folder := find_folder(source)) is None:
        folder = fetch("pipeline", source, lambda: download_pipeline(source, revision))
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Refuse a folder that is not a complete pipeline.

    Raises:
        SourceNotFound: There is no index, or a part that it lists is missing or damaged.
    """
    if not (folder / INDEX).is_file():
        raise SourceNotFound(f"{folder}: no {INDEX}; this is not a pipeline folder in the hub's format")
    for name, kind in parts_of(folder).items():
        if name in NOT_LOADED:
            continue
        if not (folder / name).is_dir():
            raise SourceNotFound(f"{folder}: part {name!r} ({kind}) is missing; fetch or save the pipeline again")
        check_files(folder / name)
        if not kind.endswith(WEIGHTLESS):
            check_weights(folder / name)


def parts_of(folder: Path) -> dict[str, str]:
    """Class of each part that the index of a pipeline folder lists, by name.

    Raises:
        SourceNotFound: The index is damaged.
    """
    listed = {name: entry for name, entry in read_json(folder / INDEX).items() if isinstance(entry, list)}
    parts = {name: entry for name, entry in listed.items() if not name.startswith("_") and entry[:1] != [None]}
    for name, entry in parts.items():
        if len(entry) != 2 or not all(isinstance(word, str) for word in entry) or Path(name).name != name:
            raise SourceNotFound(f"{folder / INDEX}: {name} = {entry!r}: a part is [library, class]; fetch it again")
    return {name: entry[1] for name, entry in parts.items()}


def read(folder: Path, dtype: str, device: str) -> Any:
    """Read a checked pipeline; a safety checker stays where it is, since it would falsify what is measured.

    Raises:
        SourceNotFound: Diffusers cannot read a part.
    """
    from accelerate import PartialState
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    for library in (logging, transformers_logging):  # reading a folder is quick, and has no use for their bars
        library.disable_progress_bar()
    left_out: dict[str, Any] = {name: None for name in NOT_LOADED if name in parts_of(folder)}
    if "safety_checker" in left_out:
        left_out["requires_safety_checker"] = False
    pipeline = read_pipeline(DiffusionPipeline, folder, dtype=getattr(torch, dtype), **left_out)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(PartialState().device if device == "auto" else device)


class Parts:
    """The parts of a pipeline that may leave memory while they are not needed.

    Where the pipeline has a folder they are dropped and read again; without one they wait on the CPU.
    """

    def __init__(self, pipeline: Any, source: str) -> None:
        """`source`: the pipeline's folder, or an empty string."""
        self._pipeline = pipeline
        self._folder = Path(source) if source else None
        self._classes: dict[str, Any] = {}
        self._dtypes: dict[str, torch.dtype] = {}

    def spare(self) -> tuple[str, ...]:
        """Text encoders and VAE: what training on known prompts and latents can do without."""
        return (*self.text_encoders(), "vae")

    def text_encoders(self) -> tuple[str, ...]:
        """Names of the text encoders that the pipeline has, released ones included."""
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        return tuple(n for n in names if n in self._classes or getattr(self._pipeline, n, None) is not None)

    def release(self, names: Sequence[str]) -> None:
        """Let parts leave memory, on an accelerator or, where they can be read again, altogether."""
        for name in names:
            if (part := getattr(self._pipeline, name, None)) is None:
                continue
            if self._folder is None:
                part.to("cpu")
                continue
            self._classes[name], self._dtypes[name] = type(part), part.dtype
            setattr(self._pipeline, name, None)

    def get(self, name: str, device: torch.device) -> Any:
        """A part, on `device`, read again if it had been dropped."""
        if name in self._classes and self._folder is not None:
            kind = self._classes.pop(name)
            part = read_model(kind, self._folder / name, f"a {kind.__name__}", dtype=self._dtypes.pop(name))
            self._pipeline.register_modules(**{name: part.eval().requires_grad_(False)})
        return getattr(self._pipeline, name).to(device)

    def restore(self, device: torch.device) -> None:
        """Bring every part back."""
        for name in tuple(self._classes):
            self.get(name, device)
