"""A benchmark found by its name, or by the files of its folder, and read."""

from __future__ import annotations

import re
from dataclasses import replace

from genunlearn.data.lm.benchmarks.base import KINDS, Benchmark, Reader, Source
from genunlearn.data.rows import shown
from genunlearn.errors import ConfigError, SourceNotFound
from genunlearn.registry import BENCHMARKS

AUTO = "auto"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def read_benchmark(path: str, name: str = AUTO, split: str | None = None) -> Benchmark:
    """Read one split of a benchmark.

    Args:
        path: Its folder, or its data set of the hub (``OWNER/NAME``).
        name: A line of `BENCHMARKS`, or ``auto`` to go by the files.
        split: Which part is to be forgotten; None takes the benchmark's usual one.

    Raises:
        NameNotFound: There is no benchmark of this name.
        ConfigError: It has no such split, or nothing says which benchmark it is.
        SourceNotFound: There is no such folder, or it lacks a file.
        DataError: A row cannot be used; names file, line and remedy.
    """
    source = Source(path)
    if source.folder is None and not HUB_ID.fullmatch(path):
        place = f"request.path = {shown(path)}"
        raise SourceNotFound(f"{place}: there is no such folder; give one, or a data set of the hub as OWNER/NAME")
    reader = _recognised(source) if name == AUTO else _named(name)
    split = split or reader.split
    missing = [file for file in reader.files(split) if not source.has(file)]
    if missing:
        raise SourceNotFound(f"{path}: {reader.name} needs {_list(missing)}; {_found(source, reader)}")
    return replace(reader.read(source, split), label=f"{reader.name} {split}".strip())


def _named(name: str) -> Reader:
    reader: Reader = BENCHMARKS.get(name, "lm")()
    return reader


def _readers() -> list[Reader]:
    return [BENCHMARKS.load(line)() for line in BENCHMARKS.lines("lm")]


def _fitting(source: Source) -> list[Reader]:
    """The benchmarks whose marks a folder has, or whose data set it is."""
    if source.folder is None:
        return [reader for reader in _readers() if source.path in reader.hub]
    return [reader for reader in _readers() if all(map(source.has, reader.marks))]


def _recognised(source: Source) -> Reader:
    fitting = _fitting(source)
    if len(fitting) != 1:
        known = ", ".join(BENCHMARKS.names("lm"))
        what = " and ".join(reader.name for reader in fitting) or "no benchmark by its files"
        raise ConfigError(f"request.path = {source.path!r} is {what}; name it in request.benchmark: {known}")
    return fitting[0]


def _found(source: Source, reader: Reader) -> str:
    """What a folder has instead, in a few words."""
    others = [other.name for other in _fitting(source) if other.name != reader.name]
    if others:
        return f"the folder is that of {others[0]}: set request.benchmark={others[0]}"
    assert source.folder is not None  # nothing is missing on the hub before it is asked
    files = (path for path in source.folder.iterdir() if path.suffix in KINDS)
    return f"it has {_list(sorted(path.stem for path in files)) or 'no data files'}"


def _list(names: list[str]) -> str:
    return ", ".join(names)
