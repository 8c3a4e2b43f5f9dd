"""Weights that a run has left, found again by their hash, wherever the user says that they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genunlearn.domains.sources import hash_weights
from genunlearn.errors import InputError
from genunlearn.records import hash_files

KEPT = ("patch", "model")
"""Where a run leaves weights."""
ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
RULE = "guidance.json"


def find_weights(folder: Path, sha256: str) -> Path | None:
    """The folder of a patch or model with this hash: `folder` itself, or ``patch`` or ``model`` in it; None if none.

    Raises:
        OSError: A file cannot be read.
    """
    places = [place for place in (folder, *(folder / name for name in KEPT)) if place.is_dir()]
    return next((place for place in places if sha256 in _hashes(place)), None)


def has_weights(folder: Path) -> bool:
    """Whether something lies where a run leaves weights."""
    return any((folder / name).is_dir() for name in KEPT)


def _hashes(place: Path) -> Iterator[str]:
    """The hashes that the families give to what may lie in `place`, the cheapest first."""
    if all((place / name).is_file() for name in ADAPTER):
        yield hash_files([place / name for name in ADAPTER])
        return
    if (place / RULE).is_file():
        yield hash_files([place / RULE])
    # One level: a run's folder has images and checkpoints below it that are no weights of its model.
    if own := sorted(place.glob("*.safetensors")):
        yield hash_files(own)
        if (place / "config.json").is_file():
            try:
                yield hash_weights(place)
            except InputError:  # a configuration that cannot be read is none of this run
                return
    elif below := sorted(place.rglob("*.safetensors")):  # a pipeline, whose parts have folders
        yield hash_files(below)
