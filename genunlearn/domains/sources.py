"""Where weights come from: local folders in the hub's format or hub ids, checked before anything loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from genunlearn.domains.files import check_files, read_json, read_shapes
from genunlearn.errors import InputError, SourceNotFound
from genunlearn.records import hash_files, hash_json

WEIGHT_INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""The weights of a LoRA, which may lie beside those of the model that it was put on."""
ASSISTANT = "assistant"
"""The folder within a model's where a smaller model lies that is taken off from it (`.lm.logit_difference`)."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def find_place(source: str | Path) -> Path | None:
    """`source` as a local file or folder; None where there is none, or nothing can have such a name."""
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a zero byte, half a surrogate pair
        return None


def find_folder(source: str | Path) -> Path | None:
    """`source` as a local folder; None where there is no such folder, or no folder can have such a name."""
    path = find_place(source)
    return path if path is not None and path.is_dir() else None


def resolve_folder(source: str, revision: str | None = None) -> Path:
    """The local folder of a model: `source` itself, or the hub snapshot, fetched if it is not cached.

    Raises:
        SourceNotFound: No such folder, no such hub model, or no network and no cached copy.
    """
    if (path := find_folder(source)) is not None:
        return path
    from huggingface_hub import snapshot_download

    def download() -> str:
        patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
        # Mistral's folders hold the weights a second time, as consolidated.safetensors.
        return snapshot_download(source, revision=revision, allow_patterns=patterns, ignore_patterns=["consolidated*"])

    return fetch("model", source, download)


def check_name(kind: str, source: str) -> None:
    """Refuse what is neither here nor can be on the hub; nothing is fetched.

    Raises:
        SourceNotFound: `source` is no folder and no hub id, or names something in a folder that is here.
    """
    if find_folder(source) is not None:
        return
    is_id = HUB_ID.fullmatch(source) and not source.startswith(".")
    if not is_id or find_folder(source.partition("/")[0]) is not None:
        raise SourceNotFound(f"no {kind} at {source!r}: give a folder, a hub id (owner/name) or lab:NAME")


def fetch(kind: str, source: str, download: Callable[[], str]) -> Path:
    """The folder that `download` gives for a hub id; `kind` is what messages call it.

    Raises:
        SourceNotFound: `source` is no hub id, names something in a folder that is here, or the hub does not give it:
            offline, missing, gated.
    """
    check_name(kind, source)
    from huggingface_hub import errors

    # The hub client mostly raises an OSError, and a ValueError of a name that is no id; the rest differs by release.
    names = ("EntryNotFoundError", "HTTPError", "RevisionResolutionError", "XetDownloadError")
    refusals = (OSError, ValueError, *(getattr(errors, name, OSError) for name in names))
    try:
        return Path(download())
    except refusals as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceNotFound(f"{kind} {source!r} is neither a folder nor to be had from the hub: {reason}") from error


def check_language_model(folder: Path) -> None:
    """Refuse a folder that cannot be a complete language model.

    Raises:
        SourceNotFound: Configuration, tokenizer or weights are missing, or a file is damaged or cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise SourceNotFound(f"{folder}: no config.json; this is not a model folder in the hub's format")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise SourceNotFound(f"{folder}: no tokenizer (tokenizer.json); save one beside the model")
    for place in _with_assistant(folder):
        check_files(place)
        check_weights(place)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, as its index lists them if it has one.

    Raises:
        SourceNotFound: There are none, or one that the index lists is missing.
    """
    index = folder / WEIGHT_INDEX
    if index.is_file():
        files = [folder / name for name in _indexed(index)]
        if missing := [file.name for file in files if not file.is_file()]:
            raise SourceNotFound(f"{folder}: weight file {missing[0]} is missing; fetch the folder again")
        return files
    files = sorted(file for file in folder.glob("*.safetensors") if file.name != ADAPTER_WEIGHTS)
    if not files:
        hint = "; pickle weights (.bin) are not read, convert them to safetensors" if _has_pickle(folder) else ""
        raise SourceNotFound(f"{folder}: no safetensors weights{hint}")
    return files


def check_weights(folder: Path) -> None:
    """Refuse weight files that are cut short or damaged.

    Raises:
        SourceNotFound: There are no weight files, or one's header does not describe what follows it.
    """
    for file in weight_files(folder):
        read_shapes(file)


def hash_weights(folder: Path) -> str:
    """SHA-256 that identifies base weights: contents of the weight files and of ``config.json``."""
    parts = []
    for place in _with_assistant(folder):
        config = read_json(place / "config.json")
        config.pop("_name_or_path", None)
        parts += [hash_files(weight_files(place)), hash_json(config)]
    return hash_json(parts)


def _with_assistant(folder: Path) -> list[Path]:
    return [place for place in (folder, folder / ASSISTANT) if place == folder or place.is_dir()]


def _indexed(index: Path) -> list[str]:
    """Names of the files that an index lists: each lies beside it, since a name could lead anywhere else."""
    listed = read_json(index).get("weight_map")
    names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
    if not names or any(name != Path(name).name or not name.endswith(".safetensors") for name in names):
        raise SourceNotFound(f"{index}: weight_map must name safetensors files beside it; fetch the folder again")
    return sorted(names)


def _has_pickle(folder: Path) -> bool:
    return any(folder.glob("*.bin")) or any(folder.glob("*.pt"))


def refuse_quantized_full(quantize: str, kind: str) -> None:
    """A 4-bit base can carry a LoRA but cannot be trained itself."""
    if quantize != "none" and kind == "full":
        raise InputError(f"model.quantize = {quantize!r} allows parameters.kind = 'lora' only, got {kind!r}")
