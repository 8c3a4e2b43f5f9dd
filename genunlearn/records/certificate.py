"""What may stand in ``certificate.json``: what was asked, by which hashes, how it was tested, and what is not claimed.

A certificate comes from outside as a record does, and is held to its schema before anything reads it. It names no file:
whoever checks one says where run, audit, ledger and base lie, and they are known by their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from genunlearn.errors import DataError
from genunlearn.records.files import hash_json, read_json
from genunlearn.records.schema import Closed, Count, Name, Names, Number, first_of

CERTIFICATE_SCHEMA = "genunlearn.certificate/1"
CERTIFICATE_NAME, PAGE_NAME = "certificate.json", "certificate.html"

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Sealable = Annotated[str, Field(pattern="^(hmac-sha256:)?[0-9a-f]{64}$")]
"""A hash, or the keyed hash of one that could be found by trying likely texts."""
Status = Literal["passed", "failed", "undecided", "not measured"]


class FactPart(Closed):
    """A fact that was to be forgotten; subject and object are sealed where the certificate is."""

    subject: Name | None
    relation: Name | None
    object: Name | None
    phrasings: Count


class AskedPart(Closed):
    """What was asked."""

    model: Name | None
    facts: list[FactPart]
    concepts: list[Name]
    forget: Name | None
    amounts: dict[Name, Count]


class RunPart(Closed):
    """The run that did it."""

    record_sha256: Hash
    domain: Name
    method: Name | None
    outcome: Name | None
    created: str
    finished: str | None


class CriterionPart(Closed):
    """One number, and the bound that it is held to."""

    name: Name
    label: Name
    group: str | None
    value: Number | None
    low: Number | None
    high: Number | None
    n: Count
    bound: Number | None
    rule: Name
    status: Status


class AttackPart(Closed):
    """One attack of one strength, on the audited model and on its control; certificates of before name no budget."""

    attack: Name
    budget: str | None = None
    strength: str
    shown: Count
    n: Count
    control: Name | None
    control_shown: Count | None
    control_n: Count | None
    recovered: bool


class SubjectPart(Closed):
    """What became of one fact or concept."""

    label: Name
    verdict: Name
    reason: str
    attacks: list[AttackPart]


class AuditPart(Closed):
    """The audit behind the verdicts."""

    record_sha256: Hash
    finished: str | None
    suite: Name | None
    tolerance: Number | None
    oracle: Hash | None


class LedgerPart(Closed):
    """Where the request stands in the ledger.

    Attributes:
        entry: Number of its entry.
        sha256: The entry's own hash.
        entries: How many entries the ledger had then.
        last: Hash of the last of their lines.
    """

    entry: Annotated[int, Field(ge=1, le=2**53)]
    sha256: Hash | None
    entries: Annotated[int, Field(ge=1, le=2**53)]
    last: Hash


class CertificatePart(Closed):
    """The whole."""

    issued: str
    version: Name
    sealed_with: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None
    tone: Literal["good", "warn", "bad", "neutral"]
    verdict: Name
    asked: AskedPart
    run: RunPart
    hashes: dict[Name, Sealable]
    criteria: list[CriterionPart]
    subjects: list[SubjectPart]
    audit: AuditPart | None
    ledger: LedgerPart | None
    limits: Names
    sha256: Hash


def seal_certificate(parts: Mapping[str, Any]) -> dict[str, Any]:
    """A certificate with its schema and the hash of all its parts.

    Raises:
        DataError: A record holds what no certificate may say.
    """
    whole: dict[str, Any] = {"schema": CERTIFICATE_SCHEMA, **parts}
    whole["sha256"] = hash_of_certificate(whole)
    return _checked(whole, "the record")


def hash_of_certificate(certificate: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a certificate but its own hash."""
    return hash_json({key: value for key, value in certificate.items() if key != "sha256"})


def read_certificate(source: Path) -> dict[str, Any]:
    """A certificate from its folder or file, held to its schema; whether its hashes hold is for others to say.

    Raises:
        SourceNotFound: There is none.
        DataError: It is damaged, or of another schema; the message names the first field that is wrong.
    """
    source = Path(source)
    try:
        path = source / CERTIFICATE_NAME if source.is_dir() else source
    except OSError as error:  # a name that is too long
        raise DataError(
            f"{str(source)[:200]!r} cannot be read: {error.strerror}; give a certificate's folder"
        ) from None
    data = read_json(path, "certificate")
    if not isinstance(data, dict) or data.get("schema") != CERTIFICATE_SCHEMA:
        raise DataError(f"{path}: not a certificate of schema {CERTIFICATE_SCHEMA}; give what genunlearn certify wrote")
    return _checked(data, str(path))


def _checked(data: dict[str, Any], source: str) -> dict[str, Any]:
    try:
        CertificatePart.model_validate({key: value for key, value in data.items() if key != "schema"})
    except ValidationError as error:
        raise DataError(
            f"{source}: {first_of(error, 'the certificate')}; the certificate is damaged, or of a newer version"
        ) from None
    return data
