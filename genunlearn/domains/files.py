"""Files of a model folder, read with the care that a stranger's files need.

Every refusal is one line. What is refused here would otherwise end in a traceback of another library, or never end:
a pipe that nobody writes to, a million layers, half a surrogate pair in a name.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from genunlearn.errors import SourceNotFound

LARGEST_JSON = 2**28
"""Bytes; the largest tokenizers have some 40 MB."""
LAYER_COUNT = re.compile(r"(layer|depth|block|expert|stage)s?$|layers_per_block$")
"""Keys of a configuration that count parts of a network, one after another."""
SIZE = re.compile(r"(^|[._])((num|n|max)_|(size|sizes|dim|dims|length|positions|channels|features|width|height)$)")
"""Keys of a configuration for which some library allocates memory or counts up."""
PARTS_OF_SMALL = 512
SIZE_OF_SMALL = 2**25
"""What a configuration may say whatever its weights are: the longest context in use has 10 million tokens."""
KERNEL = re.compile(r"(attn|experts)_implementation")
"""Keys that may name code: ``owner/name`` is a kernel of the hub."""
READ = re.compile(r"(.*_)?config\.json|.*\.index\.json|(tokenizer|vocab|added_tokens|special_tokens_map)\.json")
"""The JSON files that libraries read; a folder may hold others, of any shape."""
OF_NETWORKS = re.compile(r"((scheduler|preprocessor|text|vision)_)?config\.json")


def check_files(folder: Path) -> None:
    """Refuse a folder with files that cannot be read, or whose configurations cannot describe its weights.

    Raises:
        SourceNotFound: A pipe, socket or device lies in it; a configuration is damaged or no JSON object, asks for more
            parts than there are weights, or names code of the hub.
    """
    try:
        places = sorted(folder.iterdir())
    except OSError as error:
        raise SourceNotFound(f"{folder}: cannot be read ({error.strerror}): give another folder") from None
    for place in places:
        _refuse_special(place)
    shapes = [shape for place in places if place.suffix == ".safetensors" for shape in read_shapes(place).values()]
    for place in places:
        if READ.fullmatch(place.name) and place.is_file():
            content = read_json(place)
            if OF_NETWORKS.fullmatch(place.name):
                _check_config(place, content, len(shapes), sum(map(prod, shapes)))


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file; nothing else of it is read.

    Raises:
        SourceNotFound: The file cannot be read, is cut short, or its header is damaged.
    """
    from safetensors import safe_open

    _refuse_special(file)
    if not file.exists():
        raise SourceNotFound(f"{file}: no such file; pickle weights (.bin) are not read, convert them to safetensors")
    try:
        with safe_open(file, "np") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except Exception:  # the library has its own errors beside OSError and ValueError
        raise SourceNotFound(f"{file}: half-written or damaged weight file; write or fetch it again") from None


def read_json(path: Path) -> dict:
    """The object in a JSON file that belongs to a model folder.

    Raises:
        SourceNotFound: It cannot be read, is cut short, is no JSON, or holds something else than an object.
    """
    _refuse_special(path)
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise SourceNotFound(f"{path}: larger than {LARGEST_JSON >> 20} MB; fetch it again")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # half a pair reads well, and breaks the first time it is written
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        if isinstance(error, SourceNotFound):
            raise
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror}); write or fetch it again") from None
    except (ValueError, RecursionError):
        raise SourceNotFound(f"{path}: half-written or damaged file; write or fetch it again") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise SourceNotFound(f"{path}: holds a {kind} where a JSON object belongs; write or fetch it again")
    return content


def _refuse_special(place: Path) -> None:
    """Opening a pipe would wait for ever; a link to nowhere and what the name cannot be looked up with are no file."""
    try:
        mode = place.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SourceNotFound(f"{place}: a pipe, socket or device in a model folder; remove it")


def _check_config(path: Path, config: dict, tensors: int, numbers: int) -> None:
    """Refuse a configuration that no such weights can have; building it could take days.

    Each part of a network has at least one tensor of its own, and no side of a tensor is longer than all that is
    stored. Small models keep defaults of large ones, hence `PARTS_OF_SMALL` and `SIZE_OF_SMALL`.
    """
    parts, size = max(tensors, PARTS_OF_SMALL), max(numbers, SIZE_OF_SMALL)
    try:
        for key, value in _leaves(config):
            if isinstance(value, str) and KERNEL.search(key) and "/" in value:
                raise SourceNotFound(f"{path}: {key} = {value!r} is code from the hub, which is not run; remove it")
            limit = parts if LAYER_COUNT.search(key) else size if SIZE.search(key) else None
            if limit is not None and isinstance(value, int | float) and value > limit:
                raise SourceNotFound(
                    f"{path}: {key} = {value}, but the weight files beside it hold {tensors} tensors of {numbers} "
                    "numbers; fetch the folder again"
                )
    except RecursionError:
        raise SourceNotFound(f"{path}: nested too deeply; write or fetch it again") from None


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested objects and lists under their dotted keys."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value
