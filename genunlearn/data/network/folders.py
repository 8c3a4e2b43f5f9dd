"""Labelled items in a folder, one file or folder a split: ``train`` and ``test``, or ``forget``, ``retain``, ``test``.

SPLIT.npz                   arrays ``x`` and ``y``, and perhaps ``subclass``
SPLIT.csv .jsonl .parquet   columns as in `genunlearn.data.network.items`
SPLIT/CLASS/*.png           pictures, one folder a class
dataset_dict.json           what ``DatasetDict.save_to_disk`` has written
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genunlearn.data.archives import read_archive
from genunlearn.data.network.items import Encode, Item, as_items
from genunlearn.data.rows import delimiter_of
from genunlearn.errors import DataError, SourceNotFound

SPLITS = ("train", "forget", "retain", "test")
READERS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


def read_item_folder(folder: Path | str, *, encode: Encode | None = None) -> dict[str, list[Item]]:
    """The splits that a folder holds, by name; those that it has not are not there.

    Args:
        folder: See the module.
        encode: Turns a text or image into named tensors.

    Raises:
        SourceNotFound: There is no such folder, or no split in it.
        DataError: The splits are not one of the two sets, or a row cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        if folder.exists():
            give = "give the folder that holds train and test (train.csv, test.csv; .npz, .jsonl, .parquet)"
            raise SourceNotFound(f"request.data = {str(folder)!r} is no folder: {give}")
        raise SourceNotFound(f"request.data = {str(folder)!r}: no such folder")
    raw = _read(folder)
    if not raw:
        names = ", ".join(SPLITS)
        raise SourceNotFound(f"{folder}: no split in it: give files or folders named {names} (.npz, .csv, .jsonl, ...)")
    if ("train" in raw) == ("forget" in raw):
        raise DataError(f"{folder} holds {', '.join(raw)}: give train and test, or forget, retain and test")
    whole = encode if encode is None else _refusing_empty(encode)
    return {name: _items(folder, name, rows, whole) for name, rows in raw.items()}


def _items(folder: Path, name: str, rows: Any, encode: Encode | None) -> list[Item]:
    try:
        return as_items(rows, encode=encode, prefix=f"{name}-")
    except DataError as error:
        raise DataError(f"{folder}, split {name}: {error}") from error


def _read(folder: Path) -> Mapping[str, Any]:
    """The rows of each split as they stand."""
    if (folder / "dataset_dict.json").is_file():
        from datasets import load_from_disk

        kept: Any = load_from_disk(str(folder))
        return {name: kept[name] for name in SPLITS if name in kept}
    found = {name: rows for name in SPLITS if (rows := _read_file(folder, name)) is not None}
    return found or _read_pictures([folder / name for name in SPLITS if (folder / name).is_dir()])


def _read_file(folder: Path, name: str) -> Any:
    if (path := folder / f"{name}.npz").is_file():
        return tuple(read_archive(path, ("x", "y"), "arrays x and y", optional=("subclass",)).values())
    for suffix, reader in READERS.items():
        if (path := folder / f"{name}{suffix}").is_file():
            return _load(reader, name, path)
    return None


def _load(reader: str, name: str, path: Path) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    parted: dict[str, Any] = {}
    if reader == "csv":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            parted["sep"] = delimiter_of(file.readline())
    try:
        with _no_progress_bars():
            return load_dataset(reader, data_files={name: str(path)}, split=name, **parted)
    except (DatasetGenerationError, ValueError) as error:  # the latter of a file without rows
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0][:100]
        raise DataError(f"{path}: cannot be read ({reason}); give a file in UTF-8 with a row for each item") from None


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep datasets from drawing bars while it reads a file."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    is_shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if is_shown:
            enable_progress_bars()


def _read_pictures(folders: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Pictures with the number of their folder's name, counted over all splits: one may lack a class."""
    names = sorted({place.name for folder in folders for place in folder.iterdir() if place.is_dir()})
    return {
        folder.name: [
            {"image": _open_picture(path), "label": label}
            for label, name in enumerate(names)
            for path in sorted((folder / name).glob("*"))
        ]
        for folder in folders
    }


def _open_picture(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.copy() if picture.mode == "L" else picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: not a picture ({error}): take it out") from error


def _refusing_empty(encode: Encode) -> Encode:
    def checked(value: Any) -> Mapping[str, Any]:
        if value is None or value == "":
            raise DataError("a row without text or image: remove it or fill it in")
        return encode(value)

    return checked
