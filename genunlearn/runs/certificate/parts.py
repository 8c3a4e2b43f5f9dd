"""What a certificate says of a run and its audit, from their records alone.

The same is put together when a certificate is issued and when it is checked, so that one which says more than its
records do is found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.contracts import DECOYS, ORACLE, SURROGATES, UNLEARNED
from genunlearn.ledger import Sealer
from genunlearn.records import RECORD_NAME, RunRecord, hash_files, hash_json, read_record
from genunlearn.reports.reporter import reporter_of
from genunlearn.runs.certificate.weights import has_weights

NOT_AUDITED = "not audited"
UNTRIED = "no attack was tried on it"
KINDS = {"unlearn": "a run that unlearned", "audit": "an audit", "value": "a valuation"}
"""Tasks in words."""
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
HASHES = ("config", "base", "patch", "model", "request", "neutral")


@dataclass(frozen=True)
class Recorded:
    """A record and the hash of its file."""

    record: RunRecord
    sha256: str

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """The record of a run's folder.

        Raises:
            InputError: There is none, or it is damaged.
        """
        record = read_record(folder)
        return cls(record, hash_files([Path(folder) / RECORD_NAME]))


def parts_of(
    run: Recorded, audit: Recorded | None, sealer: Sealer | None, *, is_registered: bool, has_hash: bool
) -> dict[str, Any]:
    """What a certificate takes from records: all but when it was issued, its place in a ledger, and its own hash.

    Args:
        run: The run that unlearned.
        audit: The audit of what it left; None where there was none.
        sealer: Puts keyed hashes in the place of what was to be forgotten; None leaves it readable.
        is_registered: Whether the run stands in a ledger.
        has_hash: Whether the record names a hash of all that the run has left.
    """
    record = run.record
    findings = reporter_of(record).find(record)
    shown = reporter_of(audit.record).find(audit.record) if audit else findings
    parts: dict[str, Any] = {
        "tone": str(shown.headline.tone),
        "verdict": shown.headline.verdict,
        "asked": _asked(record),
        "run": {
            "record_sha256": run.sha256,
            "domain": str(record.config.get("domain", "lm")),
            "method": (record.config.get("method") or {}).get("name"),
            "outcome": record.outcome,
            "created": record.created,
            "finished": record.finished,
        },
        "hashes": _hashes(record),
        "criteria": [
            {
                **{key: getattr(one.result, key) for key in ("name", "group", "value", "low", "high", "n")},
                **{key: getattr(one, key) for key in ("label", "bound", "rule", "status")},
            }
            for one in findings.criteria
        ],
        "subjects": _subjects(record, audit),
        "audit": _audit(audit) if audit else None,
        "limits": list(shown.limits),  # an audit's, where there is one: those of the run say that nobody attacked it
    }
    parts = _sealed(parts, record, sealer) if sealer else parts
    own = [
        NOT_PROOF,
        *([STILL_THERE] if audit and "patch" in parts["hashes"] else []),
        *([] if audit or record.request.get("attacks") else [NOBODY_ATTACKED]),
        *([] if has_hash else [NO_HASH]),
        *([] if is_registered else [UNREGISTERED]),
        *([] if sealer else [NAMES_IT]),
        COPIES,
        KEEP_HASH,
    ]
    return {**parts, "limits": [*own, *parts["limits"]]}


def names_hash(record: RunRecord, folder: Path) -> bool:
    """Whether a record names the hash of the weights that its run has left, or the run has left none."""
    sha256 = record.hashes.get("patch") or record.hashes.get("model")
    return isinstance(sha256, str) or not has_weights(folder)


def _asked(record: RunRecord) -> dict[str, Any]:
    request = record.request
    forget = request.get("forget")
    return {
        "model": request.get("model") or None,
        "facts": [
            {
                **{key: fact.get(key) or None for key in ("subject", "relation", "object")},
                "phrasings": 1 + len(fact.get("paraphrases", ())) + len(fact.get("heldout", ())),
            }
            for fact in _facts(record)
        ],
        "concepts": list(request.get("concepts") or ()),
        "forget": str(forget) if forget else None,
        "amounts": {key: value for key, value in request.items() if type(value) is int},
    }


def _facts(record: RunRecord) -> list[Mapping[str, Any]]:
    return [fact for fact in record.request.get("facts") or () if isinstance(fact, Mapping)]


def _hashes(record: RunRecord) -> dict[str, str]:
    """Hashes by name; those of the prompts together."""
    found = {name: value for name in HASHES if isinstance(value := record.hashes.get(name), str)}
    prompts = record.hashes.get("prompts")
    return found | ({"prompts": hash_json(prompts)} if prompts else {})


def _labels(record: RunRecord) -> list[str]:
    """What a run was to make its model forget, as audits call it."""
    facts = [" | ".join(filter(None, (f.get("subject"), f.get("relation"), f.get("object")))) for f in _facts(record)]
    return facts or [_names(concept)[0] for concept in record.request.get("concepts") or ()]


def _names(concept: str) -> list[str]:
    """The names in ``name | synonym -> anchor``; an audit uses the first."""
    return [part.strip() for part in concept.partition("->")[0].split("|") if part.strip()] or [concept]


def _subjects(record: RunRecord, audit: Recorded | None) -> list[dict[str, Any]]:
    rows = {_key(row["concept"]): row for row in (audit.record.verdicts if audit else ())}
    labels = {_key(label): label for label in _labels(record)}
    labels |= {key: row["concept"] for key, row in rows.items() if key not in labels}
    return [
        _subject(rows[key], _budgets(audit, rows[key]["concept"]))
        if key in rows
        else {"label": label, "verdict": NOT_AUDITED, "reason": UNTRIED, "attacks": []}
        for key, label in labels.items()
    ]


def _key(label: str) -> str:
    return " ".join(label.casefold().split())


def _budgets(audit: Recorded | None, label: str) -> dict[str, str]:
    """What the attacker had and was allowed, by attack."""
    rounds = audit.record.rounds if audit else ()
    return {str(row["attack"]): str(row["budget"]) for row in rounds if row.get("concept") == label and "budget" in row}


def _subject(row: Mapping[str, Any], budgets: Mapping[str, str]) -> dict[str, Any]:
    recovered_at = row.get("recovered_at") or row["recovered_by"]  # earlier records name the weakest strengths alone
    return {
        "label": row["concept"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "attacks": [
            _attack(comparison, recovered_at) | {"budget": budgets.get(comparison["attack"])}
            for comparison in row["comparisons"]
        ],
    }


def _attack(comparison: Mapping[str, Any], recovered_at: Sequence[str]) -> dict[str, Any]:
    shares = comparison["shares"]
    controls = (ORACLE,) if comparison.get("carries_in") else (ORACLE, DECOYS, *SURROGATES)
    control = next((name for name in controls if name in shares), None)
    beside = shares[control] if control else {"shown": None, "n": None}
    label = ", ".join(filter(None, (comparison["attack"], comparison["strength"])))
    return {
        "attack": comparison["attack"],
        "strength": comparison["strength"],
        "shown": shares[UNLEARNED]["shown"],
        "n": shares[UNLEARNED]["n"],
        "control": control,
        "control_shown": beside["shown"],
        "control_n": beside["n"],
        "recovered": label in recovered_at,
    }


def _audit(audit: Recorded) -> dict[str, Any]:
    settings = audit.record.config.get("evaluate") or {}
    return {
        "record_sha256": audit.sha256,
        "finished": audit.record.finished,
        "suite": settings.get("suite"),
        "tolerance": settings.get("tolerance"),
        "oracle": audit.record.hashes.get("oracle"),
    }


def _sealed(parts: Mapping[str, Any], record: RunRecord, sealer: Sealer) -> dict[str, Any]:
    """The parts without what was to be forgotten, wherever it stands in them."""
    asked = sealer.seal(parts["asked"])
    sealer.seal(record.request)  # questions, aliases and other phrasings may stand in reasons
    sealer.seal([_names(concept) for concept in record.request.get("concepts") or ()])
    names = ("run", "subjects", "limits", "verdict")
    within = {name: sealer.seal_within(parts[name]) for name in names}
    criteria = [row | {"group": sealer.seal_within(row["group"]), "label": sealer.seal_within(row["label"])}
                for row in parts["criteria"]]  # fmt: skip
    hashes = sealer.seal_hashes(parts["hashes"])
    return {**parts, **within, "asked": asked, "criteria": criteria, "hashes": hashes}
