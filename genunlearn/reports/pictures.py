"""Images that a run has written, put into its report as data."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "images"
LARGEST = 256
"""Side in pixels above which an image is put in smaller."""


@dataclass(frozen=True)
class Picture:
    """One image: `source` is a ``data:`` address, empty where the file is missing; `is_small` asks for sharp pixels."""

    source: str
    alt: str
    is_small: bool = False


@dataclass(frozen=True)
class Strip:
    """Images of one model in a row."""

    label: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Sheet:
    """Strips of several models on the same prompts and seeds, a column each."""

    title: str
    captions: tuple[str, ...]
    strips: tuple[Strip, ...]


def sheet_of(title: str, rows: Sequence[Mapping[str, Any]], models: Mapping[str, tuple[str, Path]]) -> Sheet:
    """A sheet of what several models drew.

    Args:
        title: Its heading.
        rows: Examples of a record: ``prompt`` and, by target, the path of an image in the run's folder.
        models: By the label of its strip, the target in `rows` and the folder of the run.
    """
    strips = []
    for label, (target, folder) in models.items():
        pictures = tuple(picture(folder, row.get(target), f"{label}: {row.get('prompt', '')}") for row in rows)
        if any(shown.source for shown in pictures):
            strips.append(Strip(label, pictures))
    return Sheet(title, tuple(str(row.get("prompt", "")) for row in rows), tuple(strips))


def picture(folder: Path, name: object, alt: str) -> Picture:
    """An image of a run; nothing outside of its folder of images is ever opened."""
    if not isinstance(name, str):
        return Picture("", alt)
    path, root = (folder / name).resolve(), (folder / FOLDER).resolve()
    if not path.is_relative_to(root) or path.suffix != ".png" or not path.is_file():
        return Picture("", alt)
    from PIL import Image

    image = Image.open(path, formats=["PNG"]).convert("RGB")
    is_small = max(image.size) <= LARGEST
    buffer = io.BytesIO()
    if is_small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.thumbnail((LARGEST, LARGEST))
        image.save(buffer, "JPEG", quality=88)
    kind, data = "png" if is_small else "jpeg", base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/{kind};base64,{data}", alt, max(image.size) < 64)
