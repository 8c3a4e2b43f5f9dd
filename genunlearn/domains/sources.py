"""Where weights come from: local folders in the hub's format or hub ids, checked before anything loads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from genunlearn.errors import InputError, SourceNotFound
from genunlearn.records import hash_files, hash_json

WEIGHT_INDEX = "model.safetensors.index.json"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def resolve_folder(source: str, revision: str | None = None) -> Path:
    """The local folder of a model: `source` itself, or the hub snapshot, fetched if it is not cached.

    Raises:
        SourceNotFound: No such folder, no such hub model, or no network and no cached copy.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    def download() -> str:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
        # Mistral's folders hold the weights a second time, as consolidated.safetensors.
        return snapshot_download(source, revision=revision, allow_patterns=patterns, ignore_patterns=["consolidated*"])

    return fetch("model", source, download)


def fetch(kind: str, source: str, download: Callable[[], str]) -> Path:
    """The folder that `download` gives for a hub id; `kind` is what messages call it.

    Raises:
        SourceNotFound: `source` is no hub id, names something in a folder that is here, or the hub does not give it:
            offline, missing, gated.
    """
    is_path = source.startswith((".", "/", "~")) or ("/" in source and Path(source).parent.is_dir())
    if is_path or not HUB_ID.match(source):
        raise SourceNotFound(f"no {kind} at {source!r}: give a folder, a hub id (owner/name) or lab:NAME")
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its transport's, whichever it has
        EntryNotFoundError,
        HTTPError,
        RevisionResolutionError,
        XetDownloadError,
    )

    try:
        return Path(download())
    # Most of what the hub client raises is an OSError; a name that is no id is a ValueError.
    except (OSError, ValueError, HTTPError, EntryNotFoundError, RevisionResolutionError, XetDownloadError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceNotFound(f"{kind} {source!r} is neither a folder nor to be had from the hub: {reason}") from error


def check_language_model(folder: Path) -> None:
    """Refuse a folder that cannot be a complete language model.

    Raises:
        SourceNotFound: Configuration, tokenizer or weights are missing, or a file is cut short.
    """
    if not (folder / "config.json").is_file():
        raise SourceNotFound(f"{folder}: no config.json; this is not a model folder in the hub's format")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise SourceNotFound(f"{folder}: no tokenizer (tokenizer.json); save one beside the model")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHT_INDEX):
        if (folder / name).is_file():
            read_json(folder / name)
    check_weights(folder)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, as its index lists them if it has one.

    Raises:
        SourceNotFound: There are none, or one that the index lists is missing.
    """
    index = folder / WEIGHT_INDEX
    if index.is_file():
        names = sorted(set(read_json(index)["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
        if missing := [file.name for file in files if not file.is_file()]:
            raise SourceNotFound(f"{folder}: weight file {missing[0]} is missing; fetch the folder again")
        return files
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        hint = "; pickle weights (.bin) are not read, convert them to safetensors" if _has_pickle(folder) else ""
        raise SourceNotFound(f"{folder}: no safetensors weights{hint}")
    return files


def check_weights(folder: Path) -> None:
    """Refuse weight files that are cut short: each must be as long as its header says."""
    for file in weight_files(folder):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = file.stat().st_size
            try:
                header = json.loads(stream.read(length)) if 0 < length < size else None
            except (json.JSONDecodeError, UnicodeDecodeError):
                header = None
        ends = [v["data_offsets"][1] for k, v in (header or {}).items() if k != "__metadata__"]
        if header is None or 8 + length + max(ends, default=0) != size:
            raise SourceNotFound(f"{file}: half-written or damaged weight file; write or fetch it again")


def hash_weights(folder: Path) -> str:
    """SHA-256 that identifies base weights: contents of the weight files and of ``config.json``."""
    config = read_json(folder / "config.json")
    config.pop("_name_or_path", None)
    return hash_json([hash_files(weight_files(folder)), hash_json(config)])


def read_json(path: Path) -> dict:
    """The content of a JSON file that belongs to a model folder.

    Raises:
        SourceNotFound: It is cut short or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise SourceNotFound(f"{path}: half-written or damaged file; write or fetch it again") from None


def _has_pickle(folder: Path) -> bool:
    return any(folder.glob("*.bin")) or any(folder.glob("*.pt"))


def refuse_quantized_full(quantize: str, kind: str) -> None:
    """A 4-bit base can carry a LoRA but cannot be trained itself."""
    if quantize != "none" and kind == "full":
        raise InputError(f"model.quantize = {quantize!r} allows parameters.kind = 'lora' only, got {kind!r}")
