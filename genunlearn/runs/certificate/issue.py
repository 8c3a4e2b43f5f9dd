"""Issue a certificate for a run: put together from its record, its audit and the ledger, and written whole or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, InputError, MismatchError
from genunlearn.ledger import find_run, open_sealer
from genunlearn.records import COMPLETED, making, now, write_json, write_text
from genunlearn.records.certificate import CERTIFICATE_NAME, PAGE_NAME, seal_certificate
from genunlearn.registry import family_of
from genunlearn.reports.certificate import render_certificate
from genunlearn.reports.page import package_version
from genunlearn.runs.certificate.parts import KINDS, Recorded, names_hash, parts_of
from genunlearn.runs.certificate.weights import find_weights


def issue(
    run: Path, *, audit: Path | None = None, ledger: Path | None = None, is_sealed: bool = False
) -> dict[str, Any]:
    """The certificate of a run that has ended.

    Args:
        run: Its folder.
        audit: Folder of the audit of what it has left.
        ledger: The ledger that the run is entered in.
        is_sealed: Keep keyed hashes, by the ledger's key, in the place of what was to be forgotten.

    Raises:
        DataError: The run or the audit has not ended, or is of another kind; or the ledger is damaged.
        MismatchError: Run, weights, audit and ledger do not belong together.
        InputError: Something cannot be read.
    """
    if is_sealed and ledger is None:
        raise InputError("--sealed takes the key of a ledger: give --ledger FILE too")
    done = _ended(run, "unlearn")
    sha256 = done.record.hashes.get("patch") or done.record.hashes.get("model")
    if isinstance(sha256, str) and find_weights(run, sha256) is None:
        raise MismatchError(
            f"{run}: no weights with the hash {sha256[:12]} that its record names; they were changed or taken away, "
            "so there is nothing to certify"
        )
    audited = _ended(audit, "audit") if audit else None
    if audit and audited:
        check_audit(run, done, audit, audited)
    place = find_run(ledger, done.sha256) if ledger else None
    sealer = open_sealer(ledger) if ledger and is_sealed else None
    about = {
        "issued": now(),
        "version": package_version(),
        "sealed_with": sealer.name if sealer else None,
        "ledger": place.to_json() if place else None,
    }
    has_hash = names_hash(done.record, run)
    parts = parts_of(done, audited, sealer, is_registered=place is not None, has_hash=has_hash)
    return seal_certificate({**about, **parts})


def write_certificate(certificate: Mapping[str, Any], out: Path) -> Path:
    """Write JSON and page of a certificate into the new folder `out`, which is there whole or not at all.

    Raises:
        OutputExists: There is something at `out` already.
    """
    with making(Path(out)) as folder:
        write_json(folder / CERTIFICATE_NAME, certificate)
        write_text(folder / PAGE_NAME, render_certificate(certificate))
    return Path(out)


def check_audit(run: Path, done: Recorded, audit: Path, audited: Recorded) -> str:
    """Refuse the audit of something else; says in words what it is an audit of.

    Raises:
        MismatchError: It is.
    """
    mine, its = done.record, audited.record
    families = [family_of(str(record.config.get("domain", "lm"))) for record in (mine, its)]
    if families[0] != families[1]:
        raise MismatchError(f"{audit}: an audit of the family {families[1]}, the run is of {families[0]}; name its own")
    for name, own in (("patch", "patch"), ("original", "base")):
        known, found = mine.hashes.get(own), its.hashes.get(name)
        if known and found and known != found:
            raise MismatchError(
                f"{audit}: its {name} is {str(found)[:12]}, that of the run {str(known)[:12]}; name its own"
            )
    if not its.hashes.get("patch"):
        # The path in the record is compared as text and as a place, and never opened.
        named = Path(str(its.request.get("unlearned") or ""))
        if named.absolute() not in {place.absolute() for place in (run, run / "patch", run / "model")}:
            raise MismatchError(f"{audit}: an audit of {str(named)[:200]}, not of this run; name its own")
    return "of what this run has left"


def _ended(folder: Path, task: str) -> Recorded:
    found = Recorded.read(folder)
    own = found.record.config.get("task", "unlearn")
    if own != task:
        raise DataError(f"{folder}: the record of {KINDS.get(own, f'a run of task {own}')}; give that of {KINDS[task]}")
    if found.record.status != COMPLETED:
        raise DataError(f"{folder}: the run there is {found.record.status}; only one that has ended can be certified")
    return found
