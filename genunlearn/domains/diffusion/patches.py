"""Patches: found, told apart, verified whole, and only then put on a pipeline.

A patch of this package is one safetensors file whose header says which base it was made for and what its content
hashes to, or a small JSON file with a rule of guidance. What other tools release is read as well (`formats`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from genunlearn.domains.diffusion.formats import ACCEPTED, Changes, read_changes
from genunlearn.domains.diffusion.guidance import CHANGED, RULE_FILE, read_rule
from genunlearn.domains.diffusion.identity import hash_tensors
from genunlearn.domains.diffusion.layout import TEXT_ENCODERS, Names
from genunlearn.domains.diffusion.pipelines import loaded_files, refuse_pickle
from genunlearn.errors import DataError, MismatchError, SourceNotFound

HEADER = "genunlearn"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for a LoRA in a folder."""
DELTA_FILE = "delta.safetensors"
KOHYA_FILE = "kohya.safetensors"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
OTHER_BASE = "made for other base weights: load the model that the patch's record names"
KINDS = ("lora", "delta", "kohya", "unet")
LARGEST = 1e300
"""Numbers in headers are below it."""
ADAPTER_METADATA = "lora_adapter_metadata"
"""Where diffusers keeps PEFT's configuration in a LoRA's header."""


def patch_files(source: Path) -> list[Path]:
    """The files of a patch: `source` itself, or what a folder holds.

    Raises:
        SourceNotFound: There is none.
        DataError: They are pickles, or several files none of which is named.
    """
    if source.is_file():
        refuse_pickle(source)
        return [source]
    rules = [path for path in [source / RULE_FILE] if path.is_file()]
    for name in (LORA_FILE, DELTA_FILE, KOHYA_FILE, PEFT_FILE):
        if (source / name).is_file():
            return [source / name, *rules]
    parts = [source / part / PEFT_FILE for part in ("unet", "transformer", *TEXT_ENCODERS)]
    if adapters := [path for path in parts if path.is_file()]:
        return [*adapters, *rules]
    plain = loaded_files(source) if source.is_dir() else []
    if len(plain) > 1 and not any(source.glob("*.safetensors.index*.json")):
        names = ", ".join(path.name for path in plain[:3])
        more = ", ..." if len(plain) > 3 else ""
        raise DataError(f"{source}: {len(plain)} files ({names}{more}); name one of them")
    if plain or rules:
        return [*plain, *rules]
    for path in sorted(source.iterdir()) if source.is_dir() else []:
        refuse_pickle(path)
    raise SourceNotFound(f"no patch at {source}: a patch is a safetensors file or a folder with one (OUT/patch)")


def patch_file(source: Path) -> Path:
    """The first file of a patch; see `patch_files`."""
    return patch_files(source)[0]


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a patch: ``kind``, ``pipeline``, ``base`` and notes; None for a file from elsewhere.

    Raises:
        DataError: The file is no safetensors file, or its header is none that this package writes.
    """
    text = _metadata(path).get(HEADER)
    if text is None:
        return None
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not _is_header(header):
        raise DataError(f"{path}: its header is damaged; write or fetch the patch again")
    return header


def sealed(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A header with the hash of itself and of the tensors."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True)
    return {**rest, "sha256": hashlib.sha256((text + hash_tensors(tensors)).encode()).hexdigest()}


def apply_patch(model: Any, source: Path, *, force: bool = False) -> str:
    """Put a patch on `model` in place, merged into its weights; returns its kind.

    Nothing has been changed where it is refused.

    Args:
        model: The adapter.
        source: A file or a folder.
        force: Take a patch of this package that was changed after it had been written.

    Raises:
        SourceNotFound: There is no patch at `source`.
        DataError: The file is not a patch, or was changed after it had been written.
        MismatchError: It was made for other weights or another kind of pipeline.
    """
    files = patch_files(source)
    names = Names(model.components(), model.family.network)
    rule, kind, changes = None, "guidance", Changes()
    for path in files:
        if path.suffix == ".json":
            rule, note = read_rule(path, force=force)
            if not force and not (_says_base(note) and model.identity.is_base_of(note)):
                raise MismatchError(f"{path}: {OTHER_BASE}; --force, or request.force = true, takes it all the same")
            continue
        header, tensors = read_header(path), read_tensors(path)
        if header is not None:
            _check(model, path, header, tensors, force=force)
        found = _read(model, path, names, tensors, source)
        kind = header["kind"] if header else "lora" if found.low_rank else "delta"
        changes.low_rank |= found.low_rank
        changes.tensors |= found.tensors
    changes.check(names, source)
    changes.apply(names)
    if parts := changes.parts():
        model.changed(parts)
    model.rule = rule or model.rule
    return kind


def _read(model: Any, path: Path, names: Names, tensors: dict[str, Tensor], source: Path) -> Changes:
    part = path.parent.name if path.name == PEFT_FILE and path.parent != source and source.is_dir() else ""
    if path.name == PEFT_FILE and (path.parent / PEFT_CONFIG).is_file():
        scales = {"": _json(path.parent / PEFT_CONFIG)}
    else:
        scales = _packed(path)
    return read_changes(tensors, path, names, model.pipeline, part=part, scales=scales)


def _packed(path: Path) -> dict[str, Any]:
    """PEFT's configurations by part, as diffusers keeps them: ``unet.lora_alpha`` and so on."""
    text = _metadata(path).get(ADAPTER_METADATA)
    if text is None:
        return {}
    try:
        found: dict[str, Any] = {}
        for key, value in json.loads(text).items():
            part, _, name = key.partition(".")
            found.setdefault(part, {})[name] = value
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: its header is damaged ({ADAPTER_METADATA}); fetch the file again") from error
    return found


def _check(model: Any, path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor], *, force: bool) -> None:
    """Refuse a patch of this package that was changed, or made for another model."""
    own = type(model.pipeline).__name__
    if header["pipeline"] and header["pipeline"] != own:
        raise MismatchError(f"{path}: made for a {header['pipeline']}, but this model is a {own}")
    if not model.identity.is_base_of(header):
        raise MismatchError(f"{path}: {OTHER_BASE}")
    is_of_before = not header.keys() & {"sha256", "base_sha256", "norms"}  # such a patch carries no hash of its own
    if not force and not is_of_before and sealed(header, tensors)["sha256"] != header.get("sha256"):
        raise DataError(f"{path}: {CHANGED}")


def _is_header(header: Mapping[str, Any]) -> bool:
    return (
        header.get("kind") in KINDS
        and isinstance(name := header.get("pipeline"), str)
        and (name.isidentifier() or not name)
        and _says_base(header)
    )


def _says_base(header: Mapping[str, Any]) -> bool:
    """Whether what it says of its base can be read."""
    base, norms = header.get("base"), header.get("norms", {})
    lists = [base if base is not None else [], *(norms.values() if isinstance(norms, dict) else [None])]
    return isinstance(header.get("base_sha256", ""), str) and all(
        isinstance(numbers, list) and all(_is_number(n) for n in numbers) for numbers in lists
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) < LARGEST


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        DataError: It is none, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dictionary
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip(" .")
    return DataError(f"{path}: not a safetensors file, or a damaged one ({reason}); {ACCEPTED}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a JSON object, or a damaged one; fetch it again")
    return found
