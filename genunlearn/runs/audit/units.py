"""The work of an audit in units: each done once, by whichever process comes to it, and kept for the others.

A unit's result is JSON, and images beside it. Finished units are not done again, so that a killed audit goes on where
it was; several processes take units in turn, and read each other's results from the shared folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from genunlearn.engine.progress import Watch
from genunlearn.processes import this_process
from genunlearn.records import write_json

Value = dict[str, Any]
Unit = tuple[str, Callable[[], Value]]
"""A name, and what computes its value."""


class Units:
    """Finished units in a folder.

    Attributes:
        folder: Where they lie.
        shared: Where units lie whose names end in one of `common`, which other audits use as well; `folder` if None.
        common: Names of models that such audits have in common.
    """

    def __init__(self, folder: Path, watch: Watch, *, shared: Path | None = None, common: Sequence[str] = ()) -> None:
        self.folder, self.watch, self.shared, self.common = folder, watch, shared or folder, common

    def do(self, title: str, units: Sequence[Unit]) -> dict[str, Value]:
        """Do those units that are not done, shared among processes; all values by name."""
        process, found = this_process(), {}
        open_ones = [unit for unit in units if not self._file(unit[0]).is_file()]
        process.wait_for_everyone()  # all have looked before any begins
        with self.watch.bar(title, len(open_ones)) as advance:
            for place, (name, compute) in enumerate(open_ones):
                if place % process.num_processes == process.process_index:
                    self.watch.announce(f"{title}: {name}")
                    write_json(self._file(name), compute())
                advance()
        process.wait_for_everyone()
        for name, _ in units:
            found[name] = json.loads(self._file(name).read_text(encoding="utf-8"))
        return found

    def keep_images(self, name: str, images: Mapping[str, Tensor]) -> None:
        """Keep images ``(..., 3, height, width)`` in [0, 1] beside a unit, at 8 bits a colour."""
        from safetensors.torch import save_file

        path = self._file(name).with_suffix(".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: (value.cpu() * 255).round().byte().contiguous() for key, value in images.items()}, path)

    def images(self, name: str) -> dict[str, Tensor]:
        """Images that were kept beside a unit, in [0, 1]; none for a unit without."""
        from safetensors.torch import load_file

        path = self._file(name).with_suffix(".safetensors")
        return {key: value.float() / 255 for key, value in load_file(path).items()} if path.is_file() else {}

    def _file(self, name: str) -> Path:
        folder = self.shared if name.rpartition("/")[2] in self.common else self.folder
        return folder / f"{'-'.join(file_name(part, place) for place, part in enumerate(name.split('/')))}.json"


WORD = r"[a-z0-9=][a-z0-9._=]*"
PLAIN = (re.compile(rf"{WORD}(?: {WORD})*"), re.compile(rf"{WORD}(?:[ _]{WORD})*"))
"""Names that stand for themselves: a concept's words, and words of an attack or a strength."""
LONGEST = 100


def file_name(part: str, place: int) -> str:
    """The name of a file or folder for one part of a unit's name, another one for every part.

    A plain one is kept, with hyphens between its words; no two concepts of an audit differ in capitals alone, and no
    attack's name ends in another's. Whatever loses something else on the way has its hash behind it.

    Args:
        part: A concept at `place` 0, an attack, strength or model at the others.
        place: Which part it is.
    """
    lower = part.lower() if part.isascii() else part
    if PLAIN[min(place, 1)].fullmatch(lower) and len(lower) <= LONGEST:
        return re.sub(r"[ _]", "-", lower)
    kept = re.sub(r"[^a-z0-9=]+", "-", lower.lower()).strip("-")[: LONGEST // 2]
    return f"{kept}~{hashlib.sha256(part.encode()).hexdigest()[:16]}"
