"""The work of an audit in units: each done once, by whichever process comes to it, and kept for the others.

A unit's result is JSON, and images beside it. Finished units are not done again, so that a killed audit goes on where
it was; several processes take units in turn, and read each other's results from the shared folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.processes import in_turns, this_process
from genunlearn.records import read_json, replacing, write_json
from genunlearn.records.schema import ResultPart

Value = dict[str, Any]
Unit = tuple[str, Callable[[], Value]]
"""A name, and what computes its value."""


class _Unit(BaseModel):
    """What units of audits hold: images that show the concept, of how many; results; or why there are none."""

    model_config = ConfigDict(strict=True, extra="allow")

    n: int | None = Field(None, ge=0)
    shown: int | list[int] | None = None
    psis: list[float] | None = None
    results: list[ResultPart] | None = None
    skipped: str | None = None
    seconds: float | None = None
    details: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> _Unit:
        shown = self.shown if isinstance(self.shown, list) else [self.shown] if self.shown is not None else []
        if self.n is None and self.results is None and self.skipped is None:
            raise ValueError("it holds no result")
        if shown and (not self.n or not all(0 <= count <= self.n for count in shown)):
            raise ValueError("shown must be 0 to n")
        if self.psis is not None and (not isinstance(self.shown, list) or len(shown) != len(self.psis)):
            raise ValueError("one count a psi is needed")
        return self


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
        open_ones = [unit for unit in units if not self._file(unit[0]).is_file()]
        this_process().wait_for_everyone()  # all have looked before any begins
        with self.watch.bar(title, len(open_ones)) as advance:
            counted = 0

            def do(_: int, unit: Unit) -> None:
                nonlocal counted
                name, compute = unit
                self.watch.announce(name)
                write_json(self._file(name), compute())
                done = sum(self._file(name).is_file() for name, _ in open_ones)  # by other processes too
                advance(done - counted)
                counted = done

            in_turns(open_ones, do)
            advance(len(open_ones) - counted)
        return {name: self.value(name) for name, _ in units}

    def value(self, name: str) -> Value:
        """The value of a finished unit, whoever has done it.

        Raises:
            DataError: Its file is damaged.
        """
        path = self._file(name)
        value = read_json(path, "finished unit")
        try:
            _Unit.model_validate(value)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join(map(str, found["loc"][:4])) or "the unit"
            raise DataError(f"{path}: {where}: {found['msg']}; remove the file, and the unit is done anew") from None
        return value

    def keep_images(self, name: str, images: Mapping[str, Tensor]) -> None:
        """Keep images ``(..., 3, height, width)`` in [0, 1] beside a unit, at 8 bits a colour."""
        from safetensors.torch import save_file

        path = self._file(name).with_suffix(".safetensors")
        with replacing(path) as temporary:
            pixels = {key: (value.cpu() * 255).round().byte().contiguous() for key, value in images.items()}
            save_file(pixels, temporary)

    def images(self, name: str) -> dict[str, Tensor]:
        """Images that were kept beside a unit, in [0, 1]; none for a unit without.

        Raises:
            DataError: Their file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._file(name).with_suffix(".safetensors")
        if not path.is_file():
            return {}
        try:
            return {key: value.float() / 255 for key, value in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"{path}: images that cannot be read ({error}); remove this file and {path.stem}.json beside it, and "
                "the unit is done anew"
            ) from None

    def _file(self, name: str) -> Path:
        folder = self.shared if name.rpartition("/")[2] in self.common else self.folder
        return folder / f"{'-'.join(map(file_name, name.split('/')))}.json"


PLAIN = re.compile(r"[a-z0-9=][a-z0-9._=]*(?: [a-z0-9=][a-z0-9._=]*)*")
"""Names that stand for themselves, with hyphens between their words."""
LONGEST = 100


def file_name(part: str) -> str:
    """The name of a file or folder for one part of a unit's name, another one for every part.

    A plain one is kept, with hyphens between its words; no two concepts of an audit differ in capitals alone, and no
    attack's name ends in another's. Whatever loses something else on the way has its hash behind it.
    """
    lower = part.lower() if part.isascii() else part
    if PLAIN.fullmatch(lower) and len(lower) <= LONGEST:
        return lower.replace(" ", "-")
    kept = re.sub(r"[^a-z0-9=]+", "-", lower.lower()).strip("-")[: LONGEST // 2]
    return f"{kept}~{hashlib.sha256(part.encode()).hexdigest()[:16]}"
