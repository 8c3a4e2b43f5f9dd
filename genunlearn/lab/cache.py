"""The user's cache of lab models: built once, complete or not there at all, and built again where it is damaged.

A build is stored under the hash of everything that decides its outcome. Whoever asks first builds it under a
file lock, in a temporary folder that is renamed at the end; everybody else waits and then reads. A build that
dies leaves only a temporary folder, which the next build of the same model removes.

Beside the card lies a list of the files with size, time and hash. A file that has another size or time than the list
says is read and hashed; one that has another hash is damaged, and the model is built anew.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from genunlearn.errors import InputError
from genunlearn.records import hash_files, hash_json, honour_umask, read_json, write_json

CACHE_VARIABLE = "GENUNLEARN_CACHE"
CARD_NAME = "card.json"
LIST_NAME = "files.json"
KEY_LENGTH = 16

_log = logging.getLogger(__name__)


def cache_root() -> Path:
    """The cache folder: ``$GENUNLEARN_CACHE``, or ``genunlearn`` in the platform's own."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "genunlearn"


def recipe_key(recipe: Mapping[str, Any], *, files: Iterable[Path] = (), version: int = 1) -> str:
    """The key of a build: a hash over its parameters, its data files and the version of its code.

    Args:
        recipe: Every parameter that decides the outcome, as plain JSON data.
        files: Data and prompt files that the build reads; their names and contents count, not their folders.
        version: Version of the building code; raise it when the same recipe gives another model.
    """
    digest = hash_json({"recipe": dict(recipe), "files": hash_files(files), "version": version})
    return digest[:KEY_LENGTH]


def lab_path(kind: str, key: str) -> Path:
    """Where the build `key` of the lab model `kind` is, or would be, stored."""
    return cache_root() / "lab" / f"{kind}-{key}"


def is_built(path: Path) -> bool:
    """Is there a finished build at `path`? The card is its last file."""
    return (path / CARD_NAME).is_file()


def read_card(path: Path) -> dict[str, Any]:
    """The card of a finished build: its recipe and what was measured on it."""
    card: dict[str, Any] = read_json(path / CARD_NAME, "card")
    return card


def find_damage(path: Path) -> str | None:
    """What is wrong with the files of a finished build, in a few words; None where they are as they were built.

    What an older version has built has no list of its files yet: it gets one, and is taken as it is.
    """
    try:
        if not isinstance(read_json(path / CARD_NAME, "card"), dict):
            return f"{CARD_NAME} is no card"
        if not (path / LIST_NAME).exists():
            _keep_list(path, _list_files(path))
            return None
        known = read_json(path / LIST_NAME, "list of files")
        found = {name: _file_now(path / name, entry) for name, entry in known.items()}
        changed = sorted(name for name, entry in found.items() if entry["sha256"] != known[name]["sha256"])
    except FileNotFoundError as error:
        return f"{Path(error.filename).name if error.filename else error} is missing"
    except (InputError, OSError, AttributeError, KeyError, TypeError) as error:
        return f"{LIST_NAME} or what it names cannot be read ({error})"
    if changed:
        return f"{', '.join(changed)} has changed"
    if found != known:
        _keep_list(path, found)
    return None


def _file_now(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Size, time and hash of a file; the hash is taken as `known` where size and time are."""
    seen = path.stat()
    now = {"size": seen.st_size, "modified_ns": seen.st_mtime_ns}
    same = all(known[key] == value for key, value in now.items())
    return {**now, "sha256": known["sha256"] if same else hash_files([path])}


def _list_files(path: Path) -> dict[str, dict[str, Any]]:
    nothing = {"size": -1, "modified_ns": -1, "sha256": ""}
    files = sorted(found for found in path.rglob("*") if found.is_file() and found.name != LIST_NAME)
    return {found.relative_to(path).as_posix(): _file_now(found, nothing) for found in files}


def _keep_list(path: Path, files: Mapping[str, Any]) -> None:
    with suppress(OSError):  # a cache that can only be read is checked anew each time
        write_json(path / LIST_NAME, dict(files))


def build_once(
    kind: str,
    key: str,
    build: Callable[[Path], Mapping[str, Any]],
    *,
    force: bool = False,
    on_wait: Callable[[Path], None] | None = None,
) -> Path:
    """Return the folder of a build, building it first where it is missing.

    Args:
        kind: Name of the lab model, for instance ``lm``.
        key: From `recipe_key`.
        build: Fills the empty folder it is given and returns the card; whatever it raises is passed on, and
            nothing is stored.
        force: Build anew even if the build is there; the old one stays until the new one is complete.
        on_wait: Called once with the folder when another process is already building it.

    Raises:
        InputError: The cache folder cannot be written.
    """
    from filelock import FileLock, Timeout

    target = lab_path(kind, key)
    if is_built(target) and not force and find_damage(target) is None:
        return target
    _make_folder(target.parent)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait:
            on_wait(target)
        lock.acquire()
    try:
        damage = find_damage(target) if is_built(target) and not force else None
        if damage:
            _log.warning("the cached lab model %s is damaged (%s): it is built anew", target, damage)
        if damage or force or not is_built(target):
            _build_and_store(target, build)
    finally:
        lock.release()
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise InputError(f"cache folder {folder} cannot be written; set {CACHE_VARIABLE} to one that can")


def _build_and_store(target: Path, build: Callable[[Path], Mapping[str, Any]]) -> None:
    """Build beside `target` and rename; the caller holds the lock, so leftovers belong to nobody."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        card = dict(build(fresh))
        honour_umask(fresh)
        write_json(fresh / LIST_NAME, _list_files(fresh))
        write_json(fresh / CARD_NAME, card)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
