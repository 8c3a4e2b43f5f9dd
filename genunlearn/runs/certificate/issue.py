"""Issue a certificate for a run: put together from its record, its audit and the ledger, and written whole or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, InputError, MismatchError
from genunlearn.ledger import Place, Sealer, find_run, open_sealer
from genunlearn.records import COMPLETED, making, now, write_json, write_text
from genunlearn.records.certificate import CERTIFICATE_NAME, PAGE_NAME, seal_certificate
from genunlearn.registry import family_of
from genunlearn.reports.certificate import render_certificate
from genunlearn.reports.page import package_version
from genunlearn.runs.certificate.parts import KINDS, Recorded, parts_of
from genunlearn.runs.certificate.weights import find_weights, has_weights

NOT_PROOF = (
    "This certificate is evidence from the tests that it names, not a proof that no trace is left in the weights. "
    "Another test, or a larger budget, may find more."
)
NOBODY_ATTACKED = (
    "Nobody has tried to bring back what plain questions no longer show: it is not known whether it is gone or hidden."
)
NO_HASH = "The record holds no hash of what the run has left, so nobody can tell later whether that is still the same."
UNREGISTERED = "The request stands in no ledger."
KEEP_HASH = (
    "Whoever can write every file anew can write another certificate. Its own hash shows that only where it is kept "
    "elsewhere as well."
)
STILL_THERE = (
    "The patch is an addition to the original weights, which still hold everything: whoever takes it off has the "
    "original model back."
)
NAMES_IT = "It names what was to be forgotten. Hand it only to people who may know that, or issue it sealed."
COPIES = "It speaks of the weights with these hashes. Copies of the original and of the data are not touched by it."


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
    return _sealed(done, audited, place, sealer, has_hash=isinstance(sha256, str) or not has_weights(run))


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


def _sealed(
    done: Recorded, audited: Recorded | None, place: Place | None, sealer: Sealer | None, *, has_hash: bool
) -> dict[str, Any]:
    parts = parts_of(done, audited, sealer)
    own = [
        NOT_PROOF,
        *([STILL_THERE] if audited and "patch" in parts["hashes"] else []),
        *([] if audited or done.record.request.get("attacks") else [NOBODY_ATTACKED]),
        *([] if has_hash else [NO_HASH]),
        *([] if place else [UNREGISTERED]),
        *([] if sealer else [NAMES_IT]),
        COPIES,
        KEEP_HASH,
    ]
    about = {
        "issued": now(),
        "version": package_version(),
        "sealed_with": sealer.name if sealer else None,
        "ledger": place.to_json() if place else None,
    }
    return seal_certificate({**about, **parts, "limits": [*own, *parts["limits"]]})
