"""Check a certificate: its own hash, and everything that it names, where the user says that it lies.

A certificate comes from anybody. No place in it is opened: it names none, and those in records are never followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.errors import GenunlearnError, InputError
from genunlearn.ledger import Place, Sealer, find_run, find_sealer, is_before
from genunlearn.records import RECORD_NAME
from genunlearn.records.certificate import PAGE_NAME, hash_of_certificate, read_certificate
from genunlearn.reports.certificate import render_certificate
from genunlearn.reports.page import package_version
from genunlearn.runs.certificate.issue import check_audit
from genunlearn.runs.certificate.parts import Recorded, names_hash, parts_of
from genunlearn.runs.certificate.remeasure import audit_again, audit_config, base_hash, measure_again, run_config
from genunlearn.runs.certificate.weights import find_weights

SAID = ("tone", "verdict", "asked", "run", "hashes", "criteria", "subjects", "audit", "limits")
"""Parts of a certificate that follow from records."""
AUDIT_FOLDER = "audit"
"""Where ``forget --audit`` leaves one, in the run's folder."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        holds: None where nobody could look.
        text: What holds, does not, or was not checked and why.
    """

    holds: bool | None
    text: str


@dataclass(frozen=True)
class Sources:
    """Where the user says that things lie; None for what is not there.

    Attributes:
        run: Folder of the run.
        audit: Folder of the audit.
        ledger: The ledger.
        model: The base: a lab model, a folder, a hub id.
        overrides: Files that measuring again may open, as ``section.key=value``.
    """

    run: Path | None = None
    audit: Path | None = None
    ledger: Path | None = None
    model: str | None = None
    overrides: tuple[str, ...] = ()


def check(source: Path, sources: Sources, *, is_rerun: bool = False, watch: Any = None) -> Iterator[Finding]:
    """Everything that can be checked of a certificate, one finding each.

    Args:
        source: Its folder, or its JSON file.
        sources: Where what it names lies. A run is looked for around the certificate, and an audit in the run's folder,
            where they are not given.
        is_rerun: Measure the model again as well.
        watch: Tells the person who waits what is being done.

    Raises:
        InputError: It is no certificate of this schema.
    """
    certificate = read_certificate(source)
    yield _own_hash(certificate)
    yield _page(certificate, source)
    run = sources.run or _around(source)
    audit = sources.audit or (run / AUDIT_FOLDER if run and (run / AUDIT_FOLDER / RECORD_NAME).is_file() else None)
    done, finding = _record("record", run, certificate["run"]["record_sha256"], "--run RUN")
    yield finding
    named, audited = certificate["audit"], None
    if named:
        audited, finding = _record("audit", audit, named["record_sha256"], "--audit FOLDER")
        yield finding
        if run and audit and done and audited:
            yield _attempt("audit", lambda: check_audit(run, done, audit, audited))
    if run and done and (audited or not named):
        yield _said(certificate, run, done, audited, sources.ledger)
        yield _issued(certificate, done, audited)
    yield _weights(certificate, run)
    yield _ledger(certificate, sources.ledger)
    if not is_rerun:
        yield _base(certificate, done, sources.model)
    elif done is None or run is None:
        yield Finding(None, "measured again: not without the record that the certificate names (--run RUN)")
    elif sources.model is None:
        yield Finding(None, "measured again: not without the base (--model SOURCE)")
    else:
        config = run_config(done.record, sources.model, sources.overrides)
        later = audit_config(audited.record, run, sources.model, sources.overrides) if audited else None
        again = measure_again(certificate, done.record, config, run, watch)
        yield from (Finding(*found) for found in again)
        if audited and later:
            yield from (Finding(*found) for found in audit_again(certificate, audited.record, later, watch))


def _own_hash(certificate: Mapping[str, Any]) -> Finding:
    if certificate["sha256"] == hash_of_certificate(certificate):
        return Finding(True, f"certificate: as it was issued ({certificate['issued']}); hash {certificate['sha256']}")
    return Finding(False, "certificate: altered; it does not fit its own hash")


def _page(certificate: Mapping[str, Any], source: Path) -> Finding:
    """The page is what people read; it must say what the certificate says."""
    page = (source if source.is_dir() else source.parent) / PAGE_NAME
    if not page.is_file():
        return Finding(None, f"page: no {PAGE_NAME} beside it")
    if certificate["version"] != package_version():
        return Finding(None, f"page: written by genunlearn {certificate['version'][:40]}, and not by this version")
    try:
        is_same = page.read_bytes() == render_certificate(certificate).encode()
    except OSError as error:
        return Finding(None, f"page: cannot be read ({error.strerror})")
    return Finding(is_same, f"page: says {'what' if is_same else 'something else than'} the certificate says")


def _around(source: Path) -> Path | None:
    """The folder of a run that the certificate lies in, or beside whose record it lies."""
    folder = source.absolute() if source.is_dir() else source.absolute().parent
    return next((place for place in (folder, folder.parent) if (place / RECORD_NAME).is_file()), None)


def _record(what: str, folder: Path | None, sha256: str, option: str) -> tuple[Recorded | None, Finding]:
    if folder is None:
        return None, Finding(None, f"{what}: not checked; say where it lies ({option})")
    try:
        found = Recorded.read(folder)
    except GenunlearnError as error:
        return None, Finding(False, f"{what}: {error}")
    if found.sha256 != sha256:
        text = f"{what}: {folder / RECORD_NAME} is {found.sha256[:12]}, the certificate names {sha256[:12]}"
        return None, Finding(False, text)
    return found, Finding(True, f"{what}: {folder / RECORD_NAME} is the one that it names")


def _issued(certificate: Mapping[str, Any], done: Recorded, audited: Recorded | None) -> Finding:
    """Nobody can have certified what had not ended."""
    ends = [each.record.finished for each in (done, audited) if each and each.record.finished]
    is_later = all(certificate["issued"] >= end for end in ends)
    text = f"issued {certificate['issued'][:40]}, {'after' if is_later else 'before'} what it certifies had ended"
    return Finding(is_later, f"date: {text}")


def _said(
    certificate: Mapping[str, Any], run: Path, done: Recorded, audited: Recorded | None, ledger: Path | None
) -> Finding:
    """Whether the certificate says what the records say."""
    sealer: Sealer | None = None
    if name := certificate["sealed_with"]:
        try:
            sealer = find_sealer(ledger, name) if ledger else None
        except InputError as error:
            return Finding(False, f"contents: {error}")
        if sealer is None:
            return Finding(None, "contents: sealed; the ledger's key (--ledger FILE) is needed to compare them")
    try:
        expected = parts_of(
            done,
            audited,
            sealer,
            is_registered=certificate["ledger"] is not None,
            has_hash=names_hash(done.record, run),
        )
    except GenunlearnError as error:
        return Finding(False, f"contents: {error}")
    if wrong := [name for name in SAID if certificate[name] != expected[name]]:
        own = certificate["version"]
        since = "" if own == package_version() else f" (issued by version {own[:40]}, whose rules may differ)"
        return Finding(False, f"contents: {', '.join(wrong)} not as the records have it{since}")
    return Finding(True, "contents: request, tests, verdicts and limits are those of the records")


def _weights(certificate: Mapping[str, Any], run: Path | None) -> Finding:
    hashes = certificate["hashes"]
    name = next((name for name in ("patch", "model") if name in hashes), None)
    if name is None:
        return Finding(None, "weights: the certificate names no hash of them")
    if run is None:
        return Finding(None, f"{name}: not checked; say where the run lies (--run RUN)")
    try:
        place = find_weights(run, hashes[name])
    except OSError as error:
        return Finding(False, f"{name}: cannot be read ({error.strerror})")
    if place is None:
        return Finding(False, f"{name}: nothing in {run} has its hash {hashes[name][:12]}")
    return Finding(True, f"{name}: {place} has its hash {hashes[name][:12]}")


def _ledger(certificate: Mapping[str, Any], ledger: Path | None) -> Finding:
    if certificate["ledger"] is None:
        return Finding(None, "ledger: the certificate names none")
    if ledger is None:
        return Finding(None, "ledger: not checked; say where it lies (--ledger FILE)")
    place = Place(**certificate["ledger"])

    def look() -> str:
        found = find_run(ledger, certificate["run"]["record_sha256"])
        if found.entry != place.entry:
            raise InputError(f"the run is entry {found.entry}, the certificate says {place.entry}")
        if not is_before(ledger, place):
            raise InputError(f"{ledger} does not begin with the {place.entries} entries that it had then")
        return f"whole, and the run is entry {place.entry} of {found.entries} in it"

    return _attempt("ledger", look)


def _base(certificate: Mapping[str, Any], done: Recorded | None, model: str | None) -> Finding:
    known = certificate["hashes"].get("base")
    if known is None:
        return Finding(None, "base: the certificate names no hash of it")
    if model is None or done is None:
        return Finding(None, "base: not checked; say where run and base lie (--run RUN --model SOURCE)")
    try:
        found = base_hash(done.record, model)
    except GenunlearnError as error:
        return Finding(False, f"base: {error}")
    if found is None:
        return Finding(None, f"base: that of {model} is known once its data are read; --rerun looks")
    return Finding(found == known, f"base: {model} is {found[:12]}, the certificate names {known[:12]}")


def _attempt(what: str, look: Callable[[], str]) -> Finding:
    """What `look` says, or why it does not hold."""
    try:
        return Finding(True, f"{what}: {look()}")
    except GenunlearnError as error:
        return Finding(False, f"{what}: {error}")
