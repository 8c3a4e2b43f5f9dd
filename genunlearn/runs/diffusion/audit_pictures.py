"""Images of an audit that people are to look at: the same seeds for every model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from genunlearn.ops.images import write_png
from genunlearn.reports.pictures import FOLDER

SHOWN = 4
"""Images of each set that are written."""


class Pictures:
    """Images below the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, images: Tensor) -> None:
        """Write the first images of ``(n, 3, height, width)`` in [0, 1] as PNG files."""
        for number, image in enumerate(images[:SHOWN]):
            write_png(image, self.folder / self._path(name, number))

    def rows(
        self, label: str, kind: str, what: str, models: Sequence[str], *, folder: str, captions: Sequence[str]
    ) -> list[dict[str, Any]]:
        """What the record says of them: one row an image, its path under each model's name."""
        found = []
        for number, caption in enumerate(captions[:SHOWN]):
            paths = {name: self._path(f"{folder}/{name}", number) for name in models}
            there = {name: path for name, path in paths.items() if (self.folder / path).is_file()}
            if there:
                found.append(
                    {"group": kind, "concept": label, "set": what, "number": number, "prompt": caption, **there}
                )
        return found

    def _path(self, name: str, number: int) -> str:
        parts = [re.sub(r"[^a-z0-9._=-]+", "-", part.lower()) for part in name.split("/")]
        return "/".join((FOLDER, *parts, f"{number:02d}.png"))
