"""Where folders lie: ``configs`` and ``prompts``, which travel with the package, and the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from genunlearn.errors import SourceNotFound

PACKAGE = Path(__file__).resolve().parent
CACHE_VARIABLE = "GENUNLEARN_CACHE"


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


def shipped(folder: str) -> Path:
    """Find a shipped folder: the user's own, then the one in the wheel, then the one in a source checkout.

    Args:
        folder: ``"configs"`` or ``"prompts"``. The environment variable ``GENUNLEARN_<FOLDER>`` names a
            folder that takes its place.

    Returns:
        An existing folder.

    Raises:
        SourceNotFound: The variable names something that is no folder, or the installation is incomplete.
    """
    variable = f"GENUNLEARN_{folder.upper()}"
    if chosen := os.environ.get(variable):
        path = Path(chosen).expanduser()
        if not path.is_dir():
            raise SourceNotFound(f"{variable} = {chosen!r} is not a folder; name one that is, or unset it")
        return path
    for path in (PACKAGE / f"_{folder}", PACKAGE.parent / folder):
        if path.is_dir():
            return path
    raise SourceNotFound(f"{PACKAGE}: the {folder} folder is missing; reinstall genunlearn")
