"""What a benchmark of unlearning brings: what is to go, what is to stay, and the sets that are measured."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.requests import read_qa
from genunlearn.data.rows import SUFFIXES, TEXT_SUFFIX, files_of
from genunlearn.errors import ConfigError

PIECE = 200
"""Words of a piece of plain text: its first half asks for its second."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The data of one split.

    Attributes:
        forget: What is trained to go.
        retain: What is trained to stay; None where the benchmark has nothing for that.
        measured: Questions by set: ``forget`` and perhaps ``forget_heldout`` are to go, all others to stay.
        texts: Plain texts that membership is told by: of ``members`` and of ``others``.
        label: Name of the benchmark and split.
    """

    forget: tuple[QA, ...]
    retain: tuple[QA, ...] | None
    measured: Mapping[str, Sequence[QA]]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class Source:
    """A benchmark's folder, or its data set of the hub (``OWNER/NAME``)."""

    path: str

    @property
    def folder(self) -> Path | None:
        """The folder; None for a data set of the hub, and for what no folder can be called."""
        try:
            path = Path(self.path).expanduser()
            return path if path.is_dir() else None
        except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a zero byte
            return None

    def has(self, name: str) -> bool:
        """Whether there is a file ``NAME.json`` or the like; nobody asks the hub."""
        return self.folder is None or bool(files_of(self.folder, name))

    def place(self, name: str) -> str:
        """The source that `read_qa` takes; ``FOLDER/NAME`` is ``FOLDER:NAME`` of the hub."""
        if self.folder is None:
            return f"{self.path}:{name.replace('/', ':')}"
        file = self.folder / name
        return f"{file.parent}:{file.name}"

    def questions(self, name: str, group: str, columns: Mapping[str, str] | None = None) -> tuple[QA, ...]:
        """The rows of a file as question-answer pairs; errors as of `read_qa`."""
        return read_qa(self.place(name), group=group, columns=columns)


KINDS = (*SUFFIXES, TEXT_SUFFIX)
FORGET, REST = "forget", "rest"
"""Scope groups of what is to go and of what is to stay."""


class Reader(abc.ABC):
    """Reads one benchmark, as it is published or in a folder of the same shape; a line of `BENCHMARKS`."""

    name: ClassVar[str]
    hub: ClassVar[tuple[str, ...]] = ()
    """Data sets of the hub that have its shape."""
    marks: ClassVar[tuple[str, ...]]
    """Files by which a folder is recognised."""
    split: ClassVar[str] = ""
    """What is read where nobody names a split; empty where there is one alone."""

    def files(self, split: str) -> tuple[str, ...]:
        """Names of the files without which a split cannot be read.

        Raises:
            ConfigError: There is no such split.
        """
        if split != self.split:
            raise ConfigError(f"request.split = {split!r}: {self.name} has one split; leave it out")
        return self.marks

    @abc.abstractmethod
    def read(self, source: Source, split: str) -> Benchmark:
        """Read a split.

        Raises:
            SourceNotFound: A file is missing.
            DataError: A row cannot be used; names file, line and remedy.
        """


def pieces(texts: Iterable[str], name: str, group: str) -> tuple[QA, ...]:
    """Plain texts cut into pieces of `PIECE` words, each a first half that asks for the second."""
    found: list[QA] = []
    for text in texts:
        words = text.split()
        for start in range(0, len(words), PIECE):
            part = words[start : start + PIECE]
            if (half := len(part) // 2) > 0:
                asked, answer = " ".join(part[:half]), " ".join(part[half:])
                found.append(QA(id=f"{name}#{len(found)}", question=asked, answer=answer, group=group))
    return tuple(found)
