"""The ledger of requests: one JSON line a finished run, each line bound to the one before by its hash.

    {"entry": 3, "request": {...}, "outcome": "forgotten", "record_sha256": "...", "previous": "<hash of line 2>",
     "sha256": "<hash of this entry without this field>"}

Entries are only ever added, under a lock. A small file beside the ledger, its head, holds the number of entries and the
hash of the last line, so that an end that was cut off is noticed as well. What no file here can tell is that somebody
has written ledger and head anew from the start: for that, keep the last hash, which `verify_ledger` gives, elsewhere.

A process that is killed while it adds an entry leaves half a line behind the last whole one. That entry was never
confirmed; the next one to be added takes its place, and is told so. Every other damage is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, InputError, NameNotFound, SourceNotFound
from genunlearn.ledger.chain import Chain, Entry, Head, Problem, digest_of, line_of, read_chain, seal_entry
from genunlearn.ledger.sealing import Sealer, make_or_read_key, read_key, seal_fields, seal_text
from genunlearn.records import RECORD_NAME, RunRecord, check_writable, hash_files, now, read_json, write_json

PATIENCE = 120
"""Seconds to wait for other processes that add entries; each takes a fraction of a second."""


@dataclass(frozen=True)
class Addition:
    """What came of adding an entry.

    Attributes:
        entry: The entry.
        is_new: Whether it was added now; a run that is in the ledger already is not entered twice.
        remarks: What a killed process had left behind, and was mended.
    """

    entry: Entry
    is_new: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What a ledger looks like.

    Attributes:
        entries: Number of its entries.
        last: Hash of its last line; kept elsewhere, it shows later whether the ledger up to here is still the same.
        problems: Every altered, missing, reordered, truncated or unreadable entry.
        remarks: What a killed process has left behind, and the next entry mends.
    """

    entries: int
    last: str
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing has happened to it."""
        return not self.problems


def append_to_ledger(path: Path | str, record: RunRecord, folder: Path | str, *, is_sealed: bool = False) -> Addition:
    """Add a finished run to the ledger, unless it is there already.

    Args:
        path: The ledger; made if it is not there.
        record: The run's record.
        folder: The run's output folder; the hash of its ``record.json`` is kept.
        is_sealed: Keep keyed hashes of the request's texts in place of the texts, since a register of deletions must
            not keep what was deleted. The key is made beside the ledger, as ``LEDGER.key``.

    Raises:
        DataError: The ledger is damaged; nothing is added then.
        InputError: It cannot be written.
    """
    path, file = Path(path), Path(folder) / RECORD_NAME
    if not file.is_file():
        raise SourceNotFound(f"no record at {file}: a run is entered once it has written one")
    fields = {
        "added": now(),
        "request": record.request,
        "method": record.config.get("method", {}).get("name"),
        "outcome": record.outcome,
        "hashes": {name: value for name, value in record.hashes.items() if isinstance(value, str)},
        "record": str(folder),
        "record_sha256": hash_files([file]),
    }
    with _locked(path):
        chain = _whole(path)
        for entry in chain.entries:
            if entry.get("record_sha256") == fields["record_sha256"]:
                return Addition(entry, is_new=False)
        if is_sealed:
            fields = seal_fields(fields, make_or_read_key(_beside(path, "key")))
        return _add(path, chain, fields)


def undo_entry(path: Path | str, number: int, *, reason: str = "") -> Addition:
    """Mark an entry as undone, by an entry of its own: nothing is ever taken out.

    Args:
        path: The ledger.
        number: Number of the entry.
        reason: Why; kept in the ledger.

    Raises:
        NameNotFound: There is no such entry.
        DataError: The entry is undone already, undoes another one itself, or the ledger is damaged.
    """
    path = Path(path)
    _check_there(path)
    with _locked(path):
        chain = _whole(path)
        if not 1 <= number <= len(chain.entries):
            raise NameNotFound(f"{path}: no entry {number}; it has entries 1 to {len(chain.entries)}")
        if "undoes" in chain.entries[number - 1]:
            raise DataError(f"{path}: entry {number} undoes another one; enter the request anew instead")
        if done := _undone(chain.entries).get(number):
            raise DataError(f"{path}: entry {number} is undone already, by entry {done}")
        return _add(path, chain, {"added": now(), "undoes": number, "reason": reason})


def check_ledger(path: Path | str) -> tuple[str, ...]:
    """See before a run whether it can be entered after it; returns what a killed process has left behind.

    Raises:
        DataError: The ledger is damaged.
        InputError: It cannot be read or written.
    """
    path = Path(path)
    remarks = _whole(path).remarks
    check_writable(path, "--ledger")
    return remarks


def read_ledger(path: Path | str) -> list[Entry]:
    """All entries, oldest first, once the chain has been checked.

    Raises:
        SourceNotFound: There is no ledger.
        DataError: It is damaged; the message names the first line that is wrong.
    """
    path = Path(path)
    _check_there(path)
    with _locked(path, to_write=False):
        return list(_whole(path).entries)


def list_ledger(path: Path | str) -> list[Entry]:
    """All entries, each with ``undone_by``: the number of the entry that marks it as undone, or None.

    Raises:
        InputError: See `read_ledger`.
    """
    entries = read_ledger(path)
    undone = _undone(entries)
    return [{**entry, "undone_by": undone.get(entry["entry"])} for entry in entries]


def find_entries(path: Path | str, text: str) -> list[Entry]:
    """Entries whose request names `text`, in clear or sealed with the ledger's key.

    Raises:
        InputError: See `read_ledger`; or the key is damaged.
    """
    path = Path(path)
    wanted = {text.strip()}
    if (key := _beside(path, "key")).exists():
        wanted.add(seal_text(text, read_key(key)))

    def names(value: Any) -> bool:
        if isinstance(value, Mapping):
            return any(map(names, value.values()))
        return any(map(names, value)) if isinstance(value, list) else isinstance(value, str) and value.strip() in wanted

    return [entry for entry in list_ledger(path) if names(entry.get("request"))]


@dataclass(frozen=True)
class Place:
    """Where a run stands in a ledger.

    Attributes:
        entry: Number of its entry.
        sha256: The entry's own hash; None for one of an older version.
        entries: How many entries the ledger has.
        last: Hash of its last line.
    """

    entry: int
    sha256: str | None
    entries: int
    last: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON data."""
        return dict(vars(self))


def find_run(path: Path | str, record_sha256: str) -> Place:
    """Where the run with this record stands.

    Raises:
        SourceNotFound: There is no ledger.
        DataError: It is damaged, does not hold the run, or holds it as undone.
    """
    path = Path(path)
    _check_there(path)
    with _locked(path, to_write=False):
        chain = _whole(path)
    for entry in chain.entries:
        if entry.get("record_sha256") == record_sha256:
            if done := _undone(chain.entries).get(entry["entry"]):
                raise DataError(f"{path}: entry {entry['entry']}, the run's, is undone by entry {done}")
            return Place(entry["entry"], entry.get("sha256"), len(chain.entries), chain.last)
    raise DataError(f"{path}: no entry of this run; genunlearn forget --ledger FILE --resume enters one that has ended")


def is_before(path: Path | str, place: Place) -> bool:
    """Whether a ledger still begins with the entries that it had when `place` was taken.

    Raises:
        SourceNotFound: There is no ledger.
        DataError: It is damaged.
    """
    entries = read_ledger(path)
    if not 1 <= place.entry <= place.entries <= len(entries):
        return False
    line = line_of(entries[place.entries - 1])
    return digest_of(line) == place.last and entries[place.entry - 1].get("sha256") == place.sha256


def open_sealer(path: Path | str) -> Sealer:
    """What seals texts with the key beside a ledger; the key is made on first use.

    Raises:
        DataError: The key cannot be read or written, or is no key.
    """
    return Sealer(make_or_read_key(_beside(Path(path), "key")))


def find_sealer(path: Path | str, name: str) -> Sealer | None:
    """What seals texts with the key beside a ledger, where it is the key of this `name`; None where it is not there.

    Raises:
        DataError: It cannot be read, or is no key.
    """
    key = _beside(Path(path), "key")
    sealer = Sealer(read_key(key)) if key.exists() else None
    return sealer if sealer and sealer.name == name else None


def verify_ledger(path: Path | str) -> Verification:
    """Look for everything that may have happened to a ledger.

    Raises:
        SourceNotFound: There is no ledger.
        InputError: It cannot be read.
    """
    path = Path(path)
    _check_there(path)
    with _locked(path, to_write=False):
        chain = _read(path)
    return Verification(len(chain.entries), chain.last, chain.problems, chain.remarks)


# ---- files ------------------------------------------------------------------------------------------------------


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _check_there(path: Path) -> None:
    try:
        is_there = path.exists()
    except OSError as error:  # a name that is too long
        raise SourceNotFound(f"no ledger at {str(path)[:200]}: {error.strerror}") from None
    if not is_there and _beside(path, "head").exists():
        raise SourceNotFound(f"{path}: the ledger is missing, its head is there; put a copy of the ledger back")
    if not is_there:
        raise SourceNotFound(f"no ledger at {path}: `genunlearn forget --ledger FILE` begins one")


@contextmanager
def _locked(path: Path, *, to_write: bool = True) -> Iterator[None]:
    """Keep other processes out; the system takes the lock off whoever is killed.

    A ledger that cannot be written, on a medium for archives for instance, is read without a lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(_beside(path, "lock"))
    try:
        if to_write:
            path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise InputError(f"{path}: other processes have held the ledger for {PATIENCE} s; try again later") from None
    except OSError as error:
        if to_write:
            raise InputError(f"{path}: the ledger cannot be written ({error.strerror}); take another place") from None
    try:
        yield
    finally:
        lock.release()


def _read(path: Path) -> Chain:
    head_file = _beside(path, "head")
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: not a file; give the file of a ledger")
        content = path.read_bytes() if path.exists() else b""
        head = _read_head(head_file) if head_file.exists() else None
    except OSError as error:
        raise InputError(f"{str(path)[:200]}: the ledger cannot be read ({error.strerror})") from None
    return read_chain(content, head)


def _read_head(path: Path) -> Head:
    data = read_json(path, "ledger's head")
    entries, last = (data.get("entries"), data.get("last")) if isinstance(data, dict) else (None, None)
    if type(entries) is not int or entries < 0 or not isinstance(last, str):
        raise DataError(f"{path}: not the head of a ledger; put the right file back")
    return Head(entries, last)


def _whole(path: Path) -> Chain:
    """The ledger, refused if anything has happened to it."""
    chain = _read(path)
    if chain.problems:
        first = chain.problems[0]
        line = f":{first.line}" if first.line else ""
        raise DataError(f"{path}{line}: {first.text}; put an older copy of the ledger back, or begin a new one")
    return chain


def _add(path: Path, chain: Chain, fields: Mapping[str, Any]) -> Addition:
    """Write one entry behind the last whole line; the caller holds the lock."""
    entry = seal_entry(fields, chain)
    line = line_of(entry)
    try:
        if not _beside(path, "head").exists():  # before the first line, so that no ledger is ever without
            _write_head(path, len(chain.entries), chain.last)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(handle, "r+b") as file:
            file.truncate(chain.end)
            file.seek(chain.end)
            try:
                file.write(b"\n" * chain.lacks_newline + line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # the disk is full
                file.truncate(chain.end)
                raise
        _write_head(path, entry["entry"], digest_of(line))
    except OSError as error:
        raise InputError(f"{path}: the ledger cannot be written ({error.strerror}); the run is not entered") from None
    return Addition(entry, is_new=True, remarks=chain.remarks)


def _write_head(path: Path, entries: int, last: str) -> None:
    write_json(_beside(path, "head"), {"entries": entries, "last": last})


def _undone(entries: list[Entry] | tuple[Entry, ...]) -> dict[int, int]:
    """Numbers of entries that were undone, with those of the entries that say so."""
    return {entry["undoes"]: entry["entry"] for entry in entries if isinstance(entry.get("undoes"), int)}
