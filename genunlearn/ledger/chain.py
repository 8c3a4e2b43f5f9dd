"""Lines bound to each other by hashes, and everything that may have happened to them.

An entry holds its number, the hash of the line before and a hash of itself. So an altered line is found by its own
hash, a missing or reordered one by its number, and one that was altered together with its hash by the line after it.
The head, kept in a file of its own, knows the number and the hash of the last line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from genunlearn.records import whole_json

GENESIS = "0" * 64
"""What the first entry has in place of the hash of the line before."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something that has happened to a ledger.

    Attributes:
        line: Number of the line, from 1; None where the ledger as a whole is meant.
        kind: ``altered``, ``missing``, ``reordered``, ``truncated`` or ``unreadable``.
        text: What is wrong.
    """

    line: int | None
    kind: str
    text: str


@dataclass(frozen=True)
class Head:
    """What is known of the end of a ledger: how many entries it has, and the hash of the last line."""

    entries: int
    last: str


@dataclass(frozen=True)
class Chain:
    """A ledger as it was read.

    Attributes:
        entries: Whole entries, in the order of their lines.
        problems: What has happened to it; empty for a ledger that can be trusted.
        remarks: What a killed process has left behind, and the next entry mends.
        end: Where the next line begins, in bytes.
        lacks_newline: Whether the last whole line has lost its newline.
        last: Hash of the last whole line.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    end: int
    lacks_newline: bool
    last: str


@dataclass(frozen=True)
class _Line:
    """One line: its place, its hash, its entry if it can be read, whether the entry's own hash fits."""

    place: int
    digest: str
    entry: Entry | None
    is_altered: bool

    @property
    def number(self) -> int:
        """The entry's number; of a line that cannot be trusted its place, which is the best guess."""
        return self.place if self.entry is None or self.is_altered else self.entry["entry"]

    @property
    def is_sound(self) -> bool:
        """Whether it can be read and says what it said when it was written."""
        return self.entry is not None and not self.is_altered


def line_of(entry: Mapping[str, Any]) -> bytes:
    """An entry as its line, newline included.

    Raises:
        ValueError: It holds NaN, or half of a surrogate pair.
    """
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, allow_nan=False).encode() + b"\n"


def seal_entry(fields: Mapping[str, Any], chain: Chain) -> Entry:
    """The entry that comes after `chain`: `fields` with number, hash of the line before, and hash of itself."""
    entry = {**fields, "entry": len(chain.entries) + 1, "previous": chain.last}
    return {**entry, "sha256": _own_hash(entry)}


def digest_of(line: bytes) -> str:
    """SHA-256 of a line, newline included."""
    return hashlib.sha256(line).hexdigest()


def _own_hash(entry: Mapping[str, Any]) -> str:
    return digest_of(line_of({key: value for key, value in entry.items() if key != "sha256"}))


def read_chain(content: bytes, head: Head | None) -> Chain:
    """Read a ledger and find everything that has happened to it.

    Args:
        content: Its bytes.
        head: What its head says; None if it has none.
    """
    *whole, tail = content.split(b"\n")
    lacks_newline = _entry_of(tail) is not None
    if lacks_newline:
        whole.append(tail)
    lines = _lines_of(whole)
    remarks = []
    if lacks_newline:
        remarks.append("the newline of the last line is lost")
    elif tail:
        remarks.append(f"half a line at the end ({len(tail)} bytes): a process was killed while it added an entry")
    problems = [*_unsound(lines), *_out_of_order(lines), *_unlinked(lines)]
    problems += _against_head(lines, head, is_ordered=not problems)
    if head is not None and head.entries < len(lines) and not problems:
        remarks.append("the head is behind the last entry: a process was killed after it had added it")
    return Chain(
        entries=tuple(line.entry for line in lines if line.entry is not None),
        problems=tuple(sorted(problems, key=lambda problem: problem.line or len(lines) + 1)),
        remarks=tuple(remarks),
        end=len(content) if lacks_newline else len(content) - len(tail),
        lacks_newline=lacks_newline,
        last=lines[-1].digest if lines else GENESIS,
    )


def _entry_of(line: bytes) -> Entry | None:
    try:
        entry = whole_json(line.decode("utf-8"))
    except ValueError:
        return None
    if not isinstance(entry, dict) or type(entry.get("entry")) is not int or not isinstance(entry.get("previous"), str):
        return None
    return entry


def _lines_of(whole: Sequence[bytes]) -> list[_Line]:
    lines: list[_Line] = []
    has_hashes = False
    for place, raw in enumerate(whole, start=1):
        entry, line = _entry_of(raw), raw + b"\n"
        is_altered = False
        if entry is not None:
            # Entries of older versions have no hash of their own; what was added after them has one.
            has_hashes = has_hashes or "sha256" in entry
            is_altered = line != line_of(entry) or (has_hashes and entry.get("sha256") != _own_hash(entry))
        lines.append(_Line(place, digest_of(line), entry, is_altered))
    return lines


def _unsound(lines: Sequence[_Line]) -> Iterator[Problem]:
    for line in lines:
        if line.entry is None:
            yield Problem(line.place, "unreadable", "not an entry in JSON; the line was cut or changed")
        elif line.is_altered:
            yield Problem(line.place, "altered", "the entry does not fit its own hash; it was changed")


def _out_of_order(lines: Sequence[_Line]) -> Iterator[Problem]:
    """Numbers that are not there, twice there, or behind a higher one."""
    numbers = sorted({0, *(line.number for line in lines if line.number > 0)})
    for before, after in pairwise(numbers):
        if after - before > 1:
            gone = f"entry {before + 1} is" if after - before == 2 else f"entries {before + 1} to {after - 1} are"
            place = next(line.place for line in lines if line.number == after)
            yield Problem(place, "missing", f"{gone} missing before entry {after}")
    highest, seen = 0, set[int]()
    for line in lines:
        if line.number in seen:
            yield Problem(line.place, "reordered", f"entry {line.number} is there twice")
        elif line.number < highest:
            yield Problem(line.place, "reordered", f"entry {line.number} stands behind entry {highest}")
        elif line.number < 1:
            yield Problem(line.place, "altered", f"no entry has the number {line.number}")
        seen.add(line.number)
        highest = max(highest, line.number)


def _unlinked(lines: Sequence[_Line]) -> Iterator[Problem]:
    """Sound neighbours whose numbers follow each other, and whose hashes do not."""
    if lines and lines[0].is_sound and lines[0].number == 1 and lines[0].entry["previous"] != GENESIS:  # type: ignore[index]
        yield Problem(1, "altered", "the first entry says that one came before it")
    for before, after in pairwise(lines):
        if not (before.is_sound and after.is_sound) or after.number != before.number + 1:
            continue  # told already
        if after.entry["previous"] != before.digest:  # type: ignore[index]
            text = "does not follow the line before; one of the two was changed, and its hash with it"
            if "sha256" not in after.entry:  # type: ignore[operator]
                text = "does not follow the line before; one of the two was changed"
            yield Problem(after.place, "altered", text)


def _against_head(lines: Sequence[_Line], head: Head | None, *, is_ordered: bool) -> Iterator[Problem]:
    """An end that was cut off or changed, or a head that is gone."""
    if head is None:
        if any(line.entry and "sha256" in line.entry for line in lines):
            yield Problem(None, "missing", "its head is gone, so an end that was cut off would go unseen")
        return
    last = max((line.number for line in lines), default=0)
    if head.entries > last:
        lost = head.entries - last
        yield Problem(
            None,
            "truncated",
            f"the last {'entry is' if lost == 1 else f'{lost} entries are'} missing: the head counts {head.entries}",
        )
    elif is_ordered and head.last != (lines[head.entries - 1].digest if head.entries else GENESIS):
        yield Problem(head.entries, "altered", "does not fit the head; it was changed, and its hash with it")
