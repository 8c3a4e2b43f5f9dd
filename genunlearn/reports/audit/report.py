"""The reports of audits: a verdict a subject, attacks with their controls, curves, images or answers side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.audit.answers import AnswerTable, answer_tables
from genunlearn.reports.audit.compare import write_comparison
from genunlearn.reports.audit.curves import Curve, curves
from genunlearn.reports.audit.wording import (
    FACTS,
    MODELS,
    TONES,
    control_of,
    metric_words,
    recovered_at,
    recovery_sentence,
    spoken_verdict,
    subject_of,
    words_of,
)
from genunlearn.reports.cells import Cell, as_cell, has_values, named_records
from genunlearn.reports.findings import Findings
from genunlearn.reports.headline import Headline, Reading, Tone, unfinished
from genunlearn.reports.numbers import MISSING, format_seconds
from genunlearn.reports.parts import cautions_of, request_rows, write_report_page
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import UNLEARNED, humanise, rules_sentence, spoken_attack, spoken_reason

if TYPE_CHECKING:
    from rich.console import Console

SCORES = ("crs_signed", "ccs_controlled", "normalised_leak", "domain_auc", "domain_accuracy", "crs", "ccs")
RANKS = {"exposure_bits": "exposure, ", "exposure_p": "exposure, ", "membership_auc": "", "privleak": ""}
"""Scores of one attack, which their group names; with what it begins, which readers are spared."""


@dataclass(frozen=True)
class AttackRow:
    """One attack of one strength: a cell a model, what the attacker may do, and what it cost on the audited model."""

    label: str
    cells: tuple[tuple[str, Cell], ...]
    budget: str
    cost: str
    recovered: bool


@dataclass(frozen=True)
class ConceptPart:
    """What the report says of one concept or fact."""

    label: str
    reading: Reading
    reason: str
    controls: str
    procedure: tuple[str, ...]
    attacks: tuple[AttackRow, ...]
    plots: tuple[Curve, ...]
    scores: tuple[tuple[str, str, tuple[tuple[str, Cell], ...]], ...]
    sheets: tuple[Sheet, ...]
    answers: tuple[AnswerTable, ...]


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for an audit, finished or not; its images lie in the folder."""
    folder = Path(folder)
    reasons: dict[str, int] = {}
    labels = [*(row["concept"] for row in record.verdicts), *record.request.get("retain", ())]
    return write_report_page(
        "audit/report.html",
        record,
        folder,
        headline=read_audit(record),
        models=[(name, MODELS[name]) for name in MODELS if has_values(record, name)],
        kept=_kept(record, reasons),
        parts=[_part(record, label, folder, reasons) for label in dict.fromkeys(labels)],
        reasons=reasons,
        words=words_of(record),
        limits=words_of(record).limits,
        request=_request(record),
        method="audit",
        model=record.request.get("unlearned") or "unnamed model",
    )


def read_audit(record: RunRecord) -> Headline:
    """The outcome of an audit: never a bare yes."""
    subject = subject_of(record)
    if ended := unfinished(record, subject, "audit"):
        return ended
    if not record.verdicts:
        return Headline(Tone.NEUTRAL, "Measured, without a verdict", subject, ("Nothing was said to be gone.",))
    worst = max(record.verdicts, key=lambda row: list(TONES).index(row["verdict"]) if row["verdict"] in TONES else 0)
    verdicts = list(dict.fromkeys(map(spoken_verdict, record.verdicts)))
    title = verdicts[0] if len(verdicts) == 1 else " and ".join(verdicts)
    sentences = tuple(f"{row['concept']}: {spoken_verdict(row)}. {_sentence(row)}" for row in record.verdicts)
    sentences += tuple(filter(None, [_over_all(record)]))
    return Headline(TONES.get(worst["verdict"], Tone.NEUTRAL), humanise(title, capital=True), subject, sentences)


def _request(record: RunRecord) -> dict[str, str]:
    """What was asked; facts stand under their names, and phrasings are counted by where they come from."""
    counted = {
        label: f"{sum(origins.values())} ({', '.join(f'{count} {origin}' for origin, count in origins.items())})"
        for label, origins in record.request.get("phrasings", {}).items()
    }
    rows = {key: value for key, value in request_rows(record).items() if key not in ("facts", "phrasings", "decoys")}
    if words_of(record) is FACTS:  # records name their facts as audits of pipelines name concepts
        rows = {"facts" if key == "concepts" else key: value for key, value in rows.items()}
    decoys = {f"decoys of {label}": "; ".join(names) for label, names in record.request.get("decoys", {}).items()}
    return rows | {f"phrasings of {label}": text for label, text in counted.items()} | decoys


def _over_all(record: RunRecord) -> str | None:
    """What the ranks of several facts say together."""
    found = record.find("exposure_p", UNLEARNED, "all facts")
    if found is None or found.value is None:
        return None
    return f"Over all {found.n} facts, a model that never knew ranks the truths so high with p = {found.value:.2g}."


def _procedure(row: Mapping[str, Any], record: RunRecord) -> tuple[str, ...]:
    """How many images were looked at and what that cost in certainty, what verdicts go by, and what would decide."""
    said, looks, counted = [], row.get("looks") or [], words_of(record).images
    if looks and looks[0]["n"] > 1:
        numbers = ", then ".join(f"{look['n']} ({look['alpha']:.2%})" for look in looks)
        said.append(
            f"Looked at {numbers} {counted} of each model, as long as something was undecided; in brackets the "
            "probability of error that each look may spend, of 5% for as many as there may be."
        )
    if panel := row.get("panel"):
        tried = {c["attack"] for c in row["comparisons"] if control_of(c)}
        kinds = [f"{kind} ({'tried' if tried & set(kind.split(' or ')) else 'not tried'})" for kind in panel]
        said.append(f"Nothing counts as gone without {humanise(', '.join(kinds))}.")
    settings = record.config.get("evaluate") or {}
    said.append(rules_sentence(settings.get("tolerance")))
    if (needed := row.get("needed")) and words_of(record) is FACTS:
        more = needed - max(c["shares"][UNLEARNED]["n"] for c in row["comparisons"])
        said.append(f"About {more} more phrasings would decide: evaluate.phrasings = {needed}.")
    return tuple(said)


def _sentence(row: Mapping[str, Any]) -> str:
    found = recovery_sentence(row)
    if row["verdict"] == "concealed" and found and not row.get("surrogates"):
        return found  # the reason names the first of these alone
    return " ".join(filter(None, (f"{spoken_reason(row['reason'])}.", found)))


def find(record: RunRecord) -> Findings:
    """Outcome and limits of an audit; each attack is held to its control, which is no single bound."""
    return Findings(read_audit(record), limits=words_of(record).limits)


# ---- one concept ------------------------------------------------------------------------------------------------


def _part(record: RunRecord, label: str, folder: Path, reasons: dict[str, int]) -> ConceptPart:
    found = next((row for row in record.verdicts if row["concept"] == label), None)
    verdict = found["verdict"] if found else "should have stayed"
    return ConceptPart(
        label=label,
        reading=Reading(TONES.get(verdict, Tone.NEUTRAL), spoken_verdict(found) if found else verdict),
        reason=_sentence(found) if found else "Only the scores of completed images were taken.",
        controls=", ".join(found["controls"]) if found else "",
        procedure=_procedure(found, record) if found else (),
        attacks=tuple(_attacks(record, found, label, reasons)) if found else (),
        plots=tuple(curves(record, label)),
        scores=tuple(_scores(record, label, reasons)),
        sheets=tuple(_sheets(record, label, folder)),
        answers=tuple(answer_tables(record, label)),
    )


def _kept(record: RunRecord, reasons: dict[str, int]) -> tuple[tuple[str, Cell], ...]:
    """How much of what must stay each model shows; nothing where nobody looked."""
    found = {name: record.find("kept", name, "what must stay") for name in MODELS}
    return tuple((name, as_cell(result, reasons)) for name, result in found.items() if result)


def _attacks(record: RunRecord, found: Mapping[str, Any], label: str, reasons: dict[str, int]) -> list[AttackRow]:
    """Plain prompts, then every attack of every strength, weaker ones first."""
    rounds = {row["attack"]: row for row in record.rounds if row.get("concept") == label}
    names = [(c["attack"], c["strength"]) for c in found["comparisons"]]
    names += [(name, "") for name in rounds if name not in {attack for attack, _ in names}]
    rows: list[AttackRow] = []
    seen: set[str] = set()
    for attack, strength in names:
        group = ", ".join(filter(None, (label, attack, strength)))
        cells = tuple(
            (name, as_cell(record.find("asr", name, group), reasons)) for name in MODELS if has_values(record, name)
        )
        spoken = f"{attack}, {strength}" if strength else attack
        own = rounds.get(attack, {})
        rows.append(
            AttackRow(
                spoken_attack(spoken, capital=True),
                cells,
                "" if attack in seen else str(own.get("budget", "")),  # once for all strengths
                "" if attack in seen else _cost_of(own),
                spoken in recovered_at(found),
            )
        )
        seen.add(attack)
    return rows


def _cost_of(own: Mapping[str, Any]) -> str:
    forwards, seconds = ((own.get(key) or {}).get(UNLEARNED) for key in ("forwards", "seconds"))
    if forwards is None and seconds is not None:
        return format_seconds(seconds)
    if isinstance(forwards, Mapping):  # of the original, which began, and of the model that ended
        forwards = sum(forwards.values())
    if not isinstance(forwards, int) or seconds is None:
        return ""
    return f"{forwards:,} forwards, {format_seconds(seconds)}"


def _scores(
    record: RunRecord, label: str, reasons: dict[str, int]
) -> list[tuple[str, str, tuple[tuple[str, Cell], ...]]]:
    """The scores over all psi, or the ranks of the truth; models in columns."""
    rows = []
    for name in (*SCORES, *RANKS):
        groups = [label] if name in SCORES else _groups(record, label, name)
        for group in groups:
            found = {target: record.find(name, target, group) for target in MODELS if has_values(record, target)}
            if any(found.values()):
                words, own = metric_words(name), group.removeprefix(f"{label}, ").removeprefix(RANKS.get(name, ""))
                kind = f" ({humanise(own)})" if len(groups) > 1 else ""
                cells = tuple(
                    (target, as_cell(result, reasons) if result else Cell(None)) for target, result in found.items()
                )
                rows.append((words.label + kind, words.meaning, cells))
    return rows


def _groups(record: RunRecord, label: str, name: str) -> list[str]:
    """The groups of one score of one subject, in the order of the record."""
    longer = [f"{other}, " for row in record.verdicts if (other := row["concept"]).startswith(f"{label}, ")]
    groups = [r.group for r in record.results if r.name == name and r.group and r.group.startswith(f"{label}, ")]
    return [group for group in dict.fromkeys(groups) if not any(map(group.startswith, longer))]


def _sheets(record: RunRecord, label: str, folder: Path) -> list[Sheet]:
    """Strips along psi for one seed, then what each attack drew."""
    rows = [row for row in record.examples if row.get("concept") == label]
    models = {MODELS[name]: (name, folder) for name in MODELS}
    sheets = []
    for number in sorted({row["number"] for row in rows if row.get("group") == "psi"})[:2]:
        strip = [row for row in rows if row.get("group") == "psi" and row["number"] == number]
        title = f"Begun by the original, ended by each model: image {number + 1}"
        sheets.append(sheet_of(title, strip, models))
    for name in dict.fromkeys(row["set"] for row in rows if row.get("group") == "attack"):
        own = [row for row in rows if row.get("group") == "attack" and row["set"] == name]
        sheets.append(sheet_of(humanise(str(name), capital=True), own, models))
    return [sheet for sheet in sheets if sheet.strips]


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_audit(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print verdicts, and how often each attack showed each concept."""
    for label, record in named_records(records).items():
        for row in record.verdicts:
            names = [name for name in MODELS if any(name in c["shares"] for c in row["comparisons"])]
            table = style.table("attack", *(MODELS[name] for name in names))
            for comparison in row["comparisons"]:
                shares = [comparison["shares"].get(name) for name in names]
                spoken = ", ".join(filter(None, (comparison["attack"], comparison["strength"])))
                mark = " ✗" if spoken in recovered_at(row) else ""
                table.add_row(spoken + mark, *(f"{s['shown']} of {s['n']}" if s else MISSING for s in shares))
            console.print(table)
            name = "" if isinstance(records, RunRecord) else f"{label}: "
            style.say(console, f"{name}{row['concept']}: {spoken_verdict(row)}. {_sentence(row)}")
        if together := _over_all(record):
            style.say(console, together)
    style.say_cautions(console, cautions_of(named_records(records), subject_of))


AUDITS = Reporter(write=write_report, compare=write_comparison, show=print_audit, find=find)
