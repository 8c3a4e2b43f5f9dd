"""The reports of audits: a verdict a concept, attacks with their controls, curves over psi, images side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import Result, RunRecord
from genunlearn.reports import style
from genunlearn.reports.audit.wording import metric_words
from genunlearn.reports.cells import Cell, as_cell, has_values, named_records
from genunlearn.reports.headline import Headline, Reading, Tone, unfinished
from genunlearn.reports.markdown import table_of
from genunlearn.reports.marks import model_marks, point
from genunlearn.reports.numbers import MISSING, format_estimate, format_seconds
from genunlearn.reports.parts import cautions_of, check_any, write_comparison_pages, write_report_page
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.plots import Plot, Point, curve_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, humanise

if TYPE_CHECKING:
    from rich.console import Console

MODELS = {ORIGINAL: "Original", UNLEARNED: "Audited", ORACLE: "Oracle"}
TONES = {"gone": Tone.GOOD, "concealed": Tone.BAD, "present": Tone.BAD, "undecided": Tone.WARN}
PSI = ", psi = "
CURVES = {
    "asr": ("Share of images that show the concept", ", partial_diffusion"),
    "ccs_controlled": ("Probability that an image is the original's", ""),
    "crs_signed": ("Signed margin (above 0: nearer to the original)", ""),
}
SCORES = ("crs_signed", "ccs_controlled", "normalised_leak", "domain_auc", "domain_accuracy", "crs", "ccs")
LIMITS = (
    "A verdict holds for the attacks and budgets in the table. Another attack, or a larger budget, may find more.",
    "'Gone' means that no attack brought the concept back more often than from a model that never saw it, within the "
    "stated tolerance; it is not a proof that no trace is left in the weights.",
    "The oracle stands for 'never learnt'. From psi of about 0.5 on it ends the image as the original would, since the "
    "original has then drawn it already: such a recovery says nothing about the audited model.",
    "CRS and CCS as published grow with any difference between the two models, of whatever kind. Where the classifier "
    "behind them is near chance (AUC about 0.5), they say nothing at all.",
)


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
    """What the report says of one concept."""

    label: str
    reading: Reading
    reason: str
    controls: str
    attacks: tuple[AttackRow, ...]
    plots: tuple[tuple[str, Plot], ...]
    scores: tuple[tuple[str, str, tuple[tuple[str, Cell], ...]], ...]
    sheets: tuple[Sheet, ...]


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
        parts=[_part(record, label, folder, reasons) for label in dict.fromkeys(labels)],
        reasons=reasons,
        limits=LIMITS,
        method="audit",
        model=record.request.get("unlearned") or "unnamed model",
    )


def read_audit(record: RunRecord) -> Headline:
    """The outcome of an audit: never a bare yes."""
    subject = _subject(record)
    if ended := unfinished(record, subject, "audit"):
        return ended
    if not record.verdicts:
        return Headline(Tone.NEUTRAL, "Measured, without a verdict", subject, ("No concept was said to be gone.",))
    worst = max(record.verdicts, key=lambda row: list(TONES).index(row["verdict"]) if row["verdict"] in TONES else 0)
    verdicts = list(dict.fromkeys(row["verdict"] for row in record.verdicts))
    title = verdicts[0] if len(verdicts) == 1 else " and ".join(verdicts)
    sentences = tuple(f"{row['concept']}: {row['verdict']}. {_sentence(row)}" for row in record.verdicts)
    return Headline(TONES.get(worst["verdict"], Tone.NEUTRAL), humanise(title, capital=True), subject, sentences)


def _subject(record: RunRecord) -> str:
    return ", ".join(map(str, record.request.get("concepts", ()))) or "an audit"


def _sentence(row: Mapping[str, Any]) -> str:
    text = humanise(str(row["reason"]), capital=True) + "."
    if row["recovered_by"]:
        text += f" Recovered by {humanise('; '.join(row['recovered_by']))}."
    return text


# ---- one concept ------------------------------------------------------------------------------------------------


def _part(record: RunRecord, label: str, folder: Path, reasons: dict[str, int]) -> ConceptPart:
    found = next((row for row in record.verdicts if row["concept"] == label), None)
    verdict = found["verdict"] if found else "should have stayed"
    return ConceptPart(
        label=label,
        reading=Reading(TONES.get(verdict, Tone.NEUTRAL), verdict),
        reason=_sentence(found) if found else "Only the scores of completed images were taken.",
        controls=", ".join(found["controls"]) if found else "",
        attacks=tuple(_attacks(record, found, label, reasons)) if found else (),
        plots=tuple(_curves(record, label)),
        scores=tuple(_scores(record, label, reasons)),
        sheets=tuple(_sheets(record, label, folder)),
    )


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
                humanise(spoken, capital=True),
                cells,
                "" if attack in seen else str(own.get("budget", "")),  # once for all strengths
                "" if attack in seen else _cost_of(own),
                spoken in found["recovered_by"],
            )
        )
        seen.add(attack)
    return rows


def _cost_of(own: Mapping[str, Any]) -> str:
    forwards, seconds = ((own.get(key) or {}).get(UNLEARNED) for key in ("forwards", "seconds"))
    if isinstance(forwards, Mapping):  # of the original, which began, and of the model that ended
        forwards = sum(forwards.values())
    if not isinstance(forwards, int) or seconds is None:
        return ""
    return f"{forwards:,} forwards, {format_seconds(seconds)}"


def _curves(record: RunRecord, label: str) -> list[tuple[str, Plot]]:
    """How each measure goes with the share of steps that the original made."""
    plots = []
    for number, (name, (ylabel, infix)) in enumerate(CURVES.items()):
        prefix = f"{label}{infix}{PSI}"
        kinds = [target for target in MODELS if any(_at(r, name, target, prefix) for r in record.results)]
        if not kinds:
            continue
        marks = model_marks(kinds, [MODELS[kind] for kind in kinds])
        curves: list[tuple[Any, list[tuple[float, Point]]]] = []
        for mark, kind in zip(marks, kinds, strict=True):
            found = [r for r in record.results if _at(r, name, kind, prefix)]
            pairs = sorted((float(str(r.group).removeprefix(prefix)), point(r)) for r in found)
            curves.append((mark, pairs))
        alt = f"{ylabel} over psi. " + " ".join(
            f"{mark.label}: " + ", ".join(f"{x:g}: {p.value:.2f}" for x, p in pairs if p.value is not None) + "."
            for mark, pairs in curves
        )
        slug = "".join(c if c.isalnum() else "-" for c in label)
        ends = [abs(v) for _, pairs in curves for _, p in pairs for v in (p.low, p.value, p.high) if v is not None]
        reach = max(1e-3, *ends)
        axis = (-reach, reach) if name == "crs_signed" else (0.0, 1.0)
        words = metric_words(name).label
        plot = curve_plot(f"psi-{slug}-{number}", alt, curves, xlabel="psi", ylabel=words, ends=axis)
        plots.append((ylabel, plot))
    return plots


def _at(result: Result, name: str, target: str, prefix: str) -> bool:
    is_psi = (result.group or "").startswith(prefix)
    return result.name == name and result.target == target and is_psi and result.value is not None


def _scores(
    record: RunRecord, label: str, reasons: dict[str, int]
) -> list[tuple[str, str, tuple[tuple[str, Cell], ...]]]:
    """The scores over all psi, models in columns."""
    rows = []
    for name in SCORES:
        found = {target: record.find(name, target, label) for target in MODELS if has_values(record, target)}
        if any(found.values()):
            words = metric_words(name)
            cells = tuple(
                (target, as_cell(result, reasons) if result else Cell(None)) for target, result in found.items()
            )
            rows.append((words.label, words.meaning, cells))
    return rows


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


# ---- several audits ---------------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: one line a concept and audit.

    Raises:
        DataError: There is no audit to compare.
    """
    check_any(records)
    rows = [(label, row, record) for label, record in records.items() for row in record.verdicts]
    attacks = list(dict.fromkeys(c["attack"] for _, row, _ in rows for c in row["comparisons"]))
    heads = [
        "Audit",
        "Concept",
        "Verdict",
        "Recovered by",
        "Normalised leak",
        *(humanise(a, capital=True) for a in attacks),
    ]
    body = [
        [
            label,
            row["concept"],
            row["verdict"],
            "; ".join(row["recovered_by"]) or "nothing",
            _text(record.find("normalised_leak", UNLEARNED, row["concept"])),
            *(_strongest(row, attack) for attack in attacks),
        ]
        for label, row, record in rows
    ]
    note = (
        "Cells of attacks: images of the audited model that show the concept against the oracle's, of n each, at the "
        "strength with the widest gap."
    )
    tones = [TONES.get(row["verdict"], Tone.NEUTRAL) for _, row, _ in rows]
    return write_comparison_pages(
        "audit",
        folder,
        html={"heads": heads, "rows": list(zip(tones, body, strict=True))},
        markdown={"table": table_of(heads, body)},
        title="Gone, or only hidden",
        note=note,
        cautions=cautions_of(records, _subject),
        count=len(records),
    )


def _text(result: Result | None) -> str:
    return MISSING if result is None or result.value is None else format_estimate(result)


def _strongest(row: Mapping[str, Any], attack: str) -> str:
    """Audited against oracle at the strength where they are furthest apart."""
    own = [c for c in row["comparisons"] if c["attack"] == attack]
    if not own:
        return "not run"

    def gap(comparison: Mapping[str, Any]) -> float:
        shares = {name: found["shown"] / found["n"] for name, found in comparison["shares"].items()}
        return shares.get(UNLEARNED, 0.0) - shares.get(ORACLE, 0.0)

    widest = max(own, key=gap)
    shares = widest["shares"]
    control = f" : {shares[ORACLE]['shown']}" if ORACLE in shares else ""
    strength = f" ({widest['strength']})" if widest["strength"] else ""
    return f"{shares[UNLEARNED]['shown']}{control} of {shares[UNLEARNED]['n']}{strength}"


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
                mark = " ✗" if spoken in row["recovered_by"] else ""
                table.add_row(spoken + mark, *(f"{s['shown']} of {s['n']}" if s else MISSING for s in shares))
            console.print(table)
            name = "" if isinstance(records, RunRecord) else f"{label}: "
            style.say(console, f"{name}{row['concept']}: {row['verdict']}. {_sentence(row)}")
    style.say_cautions(console, cautions_of(named_records(records), _subject))


AUDITS = Reporter(write=write_report, compare=write_comparison, show=print_audit)
