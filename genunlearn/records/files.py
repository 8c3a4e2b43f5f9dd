"""Files that are written whole or not at all, and JSON that is read without trust.

Whatever is written gets the mode that the user's umask allows: temporary files are made by a plain `os.open`, not by
`tempfile`, whose files are private, and libraries that make private files are corrected by `honour_umask`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from genunlearn.errors import DataError, InputError, OutputExists, SourceNotFound

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file from outside; what runs write is far smaller."""
DEEPEST_JSON = 64
"""Levels of lists and objects."""
PRIVATE = 0o600


# ---- writing ----------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes its place at the end: `path` is old or new, never a part.

    The file gets the mode that the umask allows, whatever library writes to it. If the body raises, nothing is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.tmp")
    mode = _create(temporary)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def making(out: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `out` once it is whole; nothing is left of a failure.

    Raises:
        OutputExists: There is something at `out` already.
        InputError: `out` cannot be written.
    """
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise OutputExists(f"--out {out} exists; take another --out")
        part = out.with_name(f".{out.name[:80]}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {str(out)[:200]} cannot be written: {error.strerror}; take another folder") from None
    try:
        yield part
        part.replace(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def check_writable(path: Path, what: str) -> None:
    """Refuse, before any work, a file that could not be written after it; nothing is made.

    Args:
        path: The file.
        what: The option that names it, for messages.

    Raises:
        InputError: Neither the file nor a folder that it could be made in can be written.
    """
    path = Path(path)
    try:
        place = path if path.exists() else next(folder for folder in path.absolute().parents if folder.exists())
    except (OSError, ValueError) as error:  # a name too long, a null byte in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what} {str(path)[:200]} cannot be written: {reason}; take another place") from None
    folder = place.parent if place == path else place
    if not folder.is_dir() or not os.access(place, os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{what} {path}: {place} cannot be written; take another place")


def _create(path: Path) -> int:
    """Make an empty file and return its mode, which the umask has decided."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def honour_umask(folder: Path) -> None:
    """Give weights below `folder`, which safetensors makes private, the mode that the user's umask allows."""
    weights = (path for path in Path(folder).rglob("*.safetensors") if path.is_file() and not path.is_symlink())
    private = [path for path in weights if stat.S_IMODE(path.stat().st_mode) == PRIVATE]
    if not private:
        return
    probe = Path(folder) / f".{secrets.token_hex(4)}.tmp"
    try:
        mode = _create(probe)
    finally:
        probe.unlink(missing_ok=True)
    for path in private:
        path.chmod(mode)


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old or its new content, never a part."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON in one step; NaN and infinity are refused."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, in one step."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


# ---- reading ----------------------------------------------------------------------------------------------------


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file that may come from anywhere.

    Args:
        path: The file.
        what: What it is to hold, for messages: ``record``.

    Raises:
        SourceNotFound: There is no such file.
        DataError: It cannot be read, is no regular file, too large, not UTF-8, not JSON, or holds what no JSON of this
            package holds: NaN, infinity, numbers too large for a float, half of a surrogate pair, more than 64 levels.
    """
    path = Path(path)
    try:
        found = path.stat()
        is_file = stat.S_ISREG(found.st_mode)
        content = path.read_bytes() if is_file and found.st_size <= LARGEST_JSON else None
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFound(f"no {what} at {path}") from None
    except (OSError, ValueError) as error:  # a name too long, a null byte in it, no permission
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)[:200]!r} cannot be read: {reason}; give the file of a {what}") from None
    if not is_file:
        raise DataError(f"{path}: not a regular file; give the file of a {what}")
    if content is None:
        raise DataError(f"{path}: larger than {LARGEST_JSON // 2**20} MiB; this is no {what}")
    try:
        return whole_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); the {what} is damaged") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); the {what} is damaged") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; the {what} is damaged") from None


def whole_json(text: str) -> Any:
    """`text` as JSON data, with nothing in it that could not be written again.

    Raises:
        ValueError: It is no JSON, or holds NaN, infinity, a number too large for a float, half of a surrogate pair, or
            more than 64 levels.
    """
    try:
        data = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST_JSON} levels") from None
    _check(data)
    return data


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check(data: Any) -> None:
    """Walk through `data` level by level: recursion would meet its own limit."""
    level = [data]
    for _ in range(DEEPEST_JSON + 1):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
                raise ValueError("a number too large for a float")
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, dict):
                deeper += [*value, *value.values()]
        if not deeper:
            return
        level = deeper
    raise ValueError(f"more than {DEEPEST_JSON} levels")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None


# ---- hashes -----------------------------------------------------------------------------------------------------


def hash_json(data: Any) -> str:
    """SHA-256 of `data` in canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths), key=lambda p: p.name):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
