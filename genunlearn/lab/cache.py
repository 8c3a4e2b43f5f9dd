"""The user's cache of lab models: built once, complete or not there at all.

A build is stored under the hash of everything that decides its outcome. Whoever asks first builds it under a
file lock, in a temporary folder that is renamed at the end; everybody else waits and then reads. A build that
dies leaves only a temporary folder, which the next build of the same model removes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from genunlearn.errors import InputError
from genunlearn.records import hash_files, hash_json, write_json
from genunlearn.shipped import CACHE_VARIABLE as CACHE_VARIABLE
from genunlearn.shipped import cache_root as cache_root

CARD_NAME = "card.json"
KEY_LENGTH = 16


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
    return json.loads((path / CARD_NAME).read_text(encoding="utf-8"))


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
    if is_built(target) and not force:
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
        if not is_built(target) or force:
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
        write_json(fresh / CARD_NAME, dict(build(fresh)))
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
