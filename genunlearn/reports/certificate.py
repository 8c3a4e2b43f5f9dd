"""The page of a deletion certificate: the same as its JSON, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genunlearn.reports.findings import FAILED, NOT_MEASURED, PASSED, UNDECIDED
from genunlearn.reports.headline import Tone
from genunlearn.reports.numbers import MISSING, format_number
from genunlearn.reports.page import render_page
from genunlearn.reports.wording import rules_sentence, spoken_attack, spoken_reason

TONES = {PASSED: Tone.GOOD, FAILED: Tone.BAD, UNDECIDED: Tone.WARN, NOT_MEASURED: Tone.NEUTRAL}
VERDICTS = {"gone": Tone.GOOD, "concealed": Tone.BAD, "present": Tone.BAD, "damaged": Tone.BAD, "undecided": Tone.WARN}
NO_BREAK = "\N{NO-BREAK SPACE}"
SEAL = re.compile("hmac-sha256:([0-9a-f]{8})[0-9a-f]{56}")


def render_certificate(certificate: Mapping[str, Any]) -> str:
    """The page; the same for the same certificate. Every value is escaped."""
    criteria = [
        (_short(row["label"]), _number(row), row["rule"], TONES[row["status"]], row["status"])
        for row in certificate["criteria"]
    ]
    subjects = [
        (
            _short(row["label"]),
            VERDICTS.get(row["verdict"], Tone.NEUTRAL),
            row["verdict"],
            _short(spoken_reason(row["reason"])),
            _attacks(row),
        )
        for row in certificate["subjects"]
    ]
    return render_page(
        "certificate.html",
        certificate=certificate,
        title=_title(certificate),
        asked=_asked(certificate),
        criteria=criteria,
        subjects=subjects,
        rules=rules_sentence((certificate["audit"] or {}).get("tolerance")),
    )


def _title(certificate: Mapping[str, Any]) -> str:
    """What was to be forgotten, in a few words."""
    asked = certificate["asked"]
    if certificate["sealed_with"]:
        return "A sealed request"
    if len(asked["facts"]) > 1:
        return f"{len(asked['facts'])} facts"
    return _asked(certificate).get("fact") or ", ".join(asked["concepts"]) or asked["forget"] or "A request"


def _number(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return MISSING
    ends = "" if row["low"] is None or row["high"] is None else _interval(row["low"], row["high"])
    return " ".join(filter(None, (format_number(row["value"]), ends, f"(n={row['n']:,})")))


def _interval(low: float, high: float) -> str:
    return f"[{format_number(low)}, {format_number(high)}]"


def _attacks(row: Mapping[str, Any]) -> list[tuple[str, str, str, str, Tone, str]]:
    """Attack, budget, share of the audited model, share of the control, and what follows from the two."""
    rows, seen = [], set[str]()
    for each in row["attacks"]:
        attack, control = each["attack"], each["control"]
        unlike = (Tone.NEUTRAL, "not recovered" if control else "not compared")
        rows.append(
            (
                spoken_attack(", ".join(filter(None, (attack, each["strength"]))), capital=True),
                "" if attack in seen else each.get("budget") or "",  # once for all strengths
                _share(each["shown"], each["n"]),
                _share(each["control_shown"], each["control_n"], f" ({control})") if control else "none",
                *((Tone.BAD, "recovered") if each["recovered"] else unlike),
            )
        )
        seen.add(attack)
    return rows


def _share(shown: int, n: int, whose: str = "") -> str:
    """A share that stays in one line."""
    return f"{shown:,} of {n:,}{whose}".replace(" ", NO_BREAK)


def _asked(certificate: Mapping[str, Any]) -> dict[str, str]:
    """What was asked, by key."""
    asked, rows = certificate["asked"], {}
    for number, fact in enumerate(asked["facts"], start=1):
        name = "fact" if len(asked["facts"]) == 1 else f"fact {number}"
        rows[name] = " | ".join(str(fact[key]) for key in ("subject", "relation", "object") if fact[key])
    rows |= {"model": asked["model"], "concepts": ", ".join(asked["concepts"]), "forget": asked["forget"]}
    rows |= {key: f"{value:,}" for key, value in asked["amounts"].items()}
    return {key: _short(str(value)) for key, value in rows.items() if value}


def _short(text: str) -> str:
    """`text` with the first digits of each seal in it; the certificate's JSON has them whole."""
    return SEAL.sub(r"sealed \1", text)
