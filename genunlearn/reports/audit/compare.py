"""Several audits side by side: their verdicts, then for each fact or concept what every attack brought out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.records import Result, RunRecord
from genunlearn.reports.audit.wording import (
    CONTROLS,
    MODELS,
    TONES,
    control_of,
    recovered_at,
    spoken_verdict,
    subject_of,
    words_of,
)
from genunlearn.reports.headline import SYMBOLS, Tone
from genunlearn.reports.markdown import table_of
from genunlearn.reports.numbers import MISSING, format_estimate
from genunlearn.reports.parts import cautions_of, check_any, write_comparison_pages
from genunlearn.reports.wording import UNLEARNED, spoken_attack

Rows = Sequence[tuple[str, Mapping[str, Any], RunRecord]]


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: a verdict a subject and audit, then what each attack brought out.

    Raises:
        DataError: There is no audit to compare.
    """
    check_any(records)
    words = words_of(*records.values())
    rows = [(label, row, record) for label, record in records.items() for row in record.verdicts]
    heads, outcomes = _outcomes(rows, words.subject)
    subjects = list(dict.fromkeys(row["concept"] for _, row, _ in rows))
    tables = [(name, *_attacks([each for each in rows if each[1]["concept"] == name])) for name in subjects]
    tones = [TONES.get(row["verdict"], Tone.NEUTRAL) for _, row, _ in rows]
    note = (
        f"Cells of attacks: {words.counted}, of the audited model against its control's, of n, at the strength with "
        f"the widest gap; {SYMBOLS[Tone.BAD]}: the attack recovers it. Without an oracle the control is decoys, or the "
        "stronger surrogate."
    )
    return write_comparison_pages(
        "audit",
        folder,
        html={"heads": heads, "rows": list(zip(tones, outcomes, strict=True)), "tables": tables},
        markdown={"table": table_of(heads, outcomes), "tables": [(n, table_of(h, body)) for n, h, body in tables]},
        title="Gone, or only hidden",
        note=note,
        cautions=cautions_of(records, subject_of),
        count=len(records),
    )


def _outcomes(rows: Rows, subject: str) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Heads and cells of the verdicts."""
    has_leak = any(record.find("normalised_leak", UNLEARNED, row["concept"]) for _, row, record in rows)
    heads = ["Audit", subject, "Verdict", "Recovered by", "Control", *(["Normalised leak"] if has_leak else [])]
    cells = [
        [
            label,
            row["concept"],
            spoken_verdict(row),
            "; ".join(map(spoken_attack, row["recovered_by"])) or "nothing",
            _controls(row),
            *([_text(record.find("normalised_leak", UNLEARNED, row["concept"]))] if has_leak else []),
        ]
        for label, row, record in rows
    ]
    return heads, cells


def _attacks(rows: Rows) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Heads and cells of one subject's attacks, in the order in which the audits tried them."""
    names = list(dict.fromkeys(c["attack"] for _, row, _ in rows for c in row["comparisons"]))
    heads = ["Attack", *(label for label, _, _ in rows)]
    return heads, [
        [spoken_attack(name, capital=True), *(_strongest(row, name) for _, row, _ in rows)] for name in names
    ]


def _controls(row: Mapping[str, Any]) -> str:
    """What the audited model was set against, in words."""
    found = {name for comparison in row["comparisons"] for name in comparison["shares"]}
    names = next((names for names in CONTROLS if found & set(names)), ())
    return ", ".join(MODELS[name].lower() for name in names if name in found) or "none"


def _text(result: Result | None) -> str:
    return MISSING if result is None or result.value is None else format_estimate(result)


def _strongest(row: Mapping[str, Any], attack: str) -> str:
    """Audited against its control at the strength where they are furthest apart, of those that have a control."""
    own = [c for c in row["comparisons"] if c["attack"] == attack]
    own = [c for c in own if control_of(c)] or own
    if not own:
        return "not run"

    def gap(comparison: Mapping[str, Any]) -> float:
        shares = {name: found["shown"] / found["n"] for name, found in comparison["shares"].items()}
        return shares.get(UNLEARNED, 0.0) - shares.get(control_of(comparison), 0.0)

    widest = max(own, key=gap)
    mine, control = widest["shares"][UNLEARNED], widest["shares"].get(control_of(widest))
    strength = f" ({widest['strength']})" if widest["strength"] else ""
    mark = f"{SYMBOLS[Tone.BAD]} " if any(at.partition(", ")[0] == attack for at in recovered_at(row)) else ""
    if control is None:
        return f"{mark}{mine['shown']} of {mine['n']}, no control{strength}"
    if control["n"] == mine["n"]:
        return f"{mark}{mine['shown']} : {control['shown']} of {mine['n']}{strength}"
    return f"{mark}{mine['shown']} of {mine['n']} : {control['shown']} of {control['n']}{strength}"
