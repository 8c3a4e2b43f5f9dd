"""The reports of valuations: what requests cost, how values lie, what is left of a forget set after unlearning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.errors import DataError
from genunlearn.records import Result, RunRecord, read_json
from genunlearn.reports import style
from genunlearn.reports.cells import Cell, as_cell, named_records
from genunlearn.reports.headline import Headline, Reading, Tone, unfinished
from genunlearn.reports.network.value_plots import after_plot, costs_plot, removal_plot, repair_plot, values_plot
from genunlearn.reports.numbers import MISSING, format_estimate, format_number
from genunlearn.reports.parts import (
    cautions_of,
    check_any,
    run_table,
    write_report_page,
    write_table,
)
from genunlearn.reports.pictures import Picture, picture
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, UNLEARNED, run_section

if TYPE_CHECKING:
    from rich.console import Console

VALUES_NAME = "values.json"
FEWEST = 10
"""Unseen items that a verdict needs."""
TOO_FEW = Reading(Tone.NEUTRAL, "too few items to tell")
ABOUT = (
    "Cost is measured: the fall of the score on unseen items when the learner is trained without the request. Values "
    "are sums over its items; those of data_oob and lava rank items and have no unit of the score."
)
LIMITS = (
    "Values hold for this learner, these validation items and this score: another learner may need other items.",
    "A cost is that of one retraining on these data. An interval is over unseen items, not over other training data.",
    "A subset that is enough was tried by training on it alone; repair of an unlearned model also has its weights.",
)


@dataclass(frozen=True)
class RequestLine:
    """What the report says of one request."""

    name: str
    items: int
    value: str
    cost: Cell
    reading: Reading
    enough: str


@dataclass(frozen=True)
class ItemCard:
    """One item of the lowest or highest values."""

    name: str
    target: str
    value: str
    picture: Picture


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a valuation, finished or not; values and curves are read from ``values.json``."""
    folder = Path(folder)
    kept = _kept(folder)
    return write_report_page(
        "network/value/report.html",
        record,
        folder,
        headline=read_values(record),
        lines=_lines(record, kept),
        is_utility=_round(record).get("is_utility", False),
        costs=costs_plot(record),
        values=values_plot(kept),
        removal=removal_plot(kept.get("removal") or {}, _score(record)),
        repairs=[(name, repair_plot(name, k, found, _score(record))) for k, (name, found) in enumerate(_repairs(kept))],
        after=after_plot(record),
        items={group: _cards(record, folder, group) for group in ("lowest", "highest")},
        score=_score(record),
        method=run_section(record, "method").get("name") or "unnamed method",
        limits=LIMITS,
    )


def read_values(record: RunRecord) -> Headline:
    """Which request costs most, and whether that is more than chance."""
    subject = str(record.request.get("data") or "a data set")
    if ended := unfinished(record, subject, "valuation"):
        return ended
    found = sorted(_costs(record), key=lambda result: -(result.value or 0.0))
    residue = _residue(record)
    if not found:
        return Headline(Tone.NEUTRAL, "Valued", subject, residue or ("No request was asked about.",))
    hurting = [result for result in found if _reading(result).tone is Tone.BAD]
    said = tuple(f"{result.group}: {_reading(result).text}, {format_estimate(result)}." for result in found[:4])
    if all(_reading(result) is TOO_FEW for result in found):
        return Headline(Tone.NEUTRAL, "Too few items to tell", subject, said + residue)
    title = _title(hurting, found) if hurting else "No request costs anything that can be seen"
    return Headline(Tone.WARN if hurting else Tone.NEUTRAL, title, subject, said + residue)


def _title(hurting: list[Result], found: list[Result]) -> str:
    """What costs; the most is what costs more than any other by both their intervals."""
    first = hurting[0]
    others = [result for result in found if result is not first]
    if others and all((first.low or 0.0) > (1.0 if other.high is None else other.high) for other in others):
        return f"{first.group} costs most"
    if len(hurting) > 2:
        return f"{len(hurting)} requests cost"
    return " and ".join(str(result.group) for result in hurting) + (" cost" if hurting[1:] else " costs")


def _residue(record: RunRecord) -> tuple[str, ...]:
    """One sentence on what the forget set is worth after unlearning."""
    left = [r for r in record.results if (r.name, r.target) == ("residual_value", UNLEARNED) and r.value is not None]
    if not left:
        return ()
    told = [r for r in left if r.n >= FEWEST and r.low is not None and r.high is not None]
    beyond = [r for r in told if not (r.low or 0.0) <= 0 <= (r.high or 0.0)]
    widest = max(beyond or told or left, key=lambda result: abs(result.value or 0.0))
    verdict = "not nothing" if beyond else "nothing that can be seen" if told else "what too few items tell"
    return (f"After unlearning the forget set is worth {verdict}: {format_estimate(widest)} ({widest.group}).",)


def _reading(cost: Result) -> Reading:
    """Whether the interval of a cost leaves out zero; resampling a few items says nothing of others."""
    if cost.n < FEWEST:
        return TOO_FEW
    if cost.low is None or cost.high is None or cost.low <= 0 <= cost.high:
        return Reading(Tone.NEUTRAL, "no cost that can be seen")
    return Reading(Tone.BAD, "costs") if cost.low > 0 else Reading(Tone.GOOD, "does good")


def _costs(record: RunRecord) -> list[Result]:
    return [r for r in record.results if (r.name, r.target) == ("cost", ORACLE)]


def _lines(record: RunRecord, kept: Mapping[str, Any]) -> list[RequestLine]:
    lines, repairs = [], dict(_repairs(kept))
    for cost in sorted(_costs(record), key=lambda result: -(result.value or 0.0)):
        name = str(cost.group)
        value = next((r for r in record.results if r.name == "value" and r.group == name), None)
        found = repairs.get(name, {})
        how = "by value" if found.get("chosen") == "valued" else "at random"
        count = len(found.get("rows", ()))
        enough = f"{count:,} item{'s' * (count != 1)} {how}" if count else "none that was tried"
        if cost.n < FEWEST:
            enough = TOO_FEW.text
        amount = MISSING if value is None or value.value is None else format_number(value.value)
        items = value.n if value else 0
        lines.append(RequestLine(name, items, amount, as_cell(cost, {}), _reading(cost), enough if found else MISSING))
    return lines


def _repairs(kept: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list((kept.get("repair") or {}).items())


def _cards(record: RunRecord, folder: Path, group: str) -> list[ItemCard]:
    rows = [row for row in record.examples if row.get("group") == group]
    return [
        ItemCard(
            str(row.get("item", "")),
            str(row.get("target", "")),
            f"{row['value']:.3g}" if isinstance(row.get("value"), float) else MISSING,
            picture(folder, row.get("picture"), f"{row.get('item', '')}, target {row.get('target', '')}"),
        )
        for row in rows
    ]


def _kept(folder: Path) -> Mapping[str, Any]:
    path = folder / VALUES_NAME
    found = read_json(path, "file of values") if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _round(record: RunRecord) -> Mapping[str, Any]:
    return record.rounds[0] if record.rounds else {}


def _score(record: RunRecord) -> str:
    return str(record.request.get("score") or "score")


# ---- several valuations -----------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: requests in rows, the measured cost, and what each run says.

    Raises:
        DataError: There is no run, or no request in any of them.
    """
    check_any(records)
    heads, rows = _table(records)
    if not rows:
        raise DataError("valuations without requests have nothing to compare: give some (--request class:3)")
    runs = run_table(records, read_values)
    return write_table(
        folder,
        heads,
        rows,
        runs=runs,
        title="What requests cost",
        about=ABOUT,
        cautions=cautions_of(records, lambda record: str(record.request.get("data"))),
        count=len(records),
    )


def _table(records: Mapping[str, RunRecord]) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(str(cost.group) for record in records.values() for cost in _costs(record)))
    rows = []
    for name in names:
        cost = next(c for record in records.values() for c in _costs(record) if c.group == name)
        values = [
            next((r.value for r in record.results if r.name == "value" and r.group == name), None)
            for record in records.values()
        ]
        rows.append([name, format_estimate(cost), *(MISSING if v is None else format_number(v) for v in values)])
    return ["Request", "Cost of retraining without it", *(f"Value by {label}" for label in records)], rows


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_values(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print what each request is worth and costs."""
    named: Mapping[str, RunRecord] = named_records(records)
    for label, record in named.items():
        costs = _costs(record)
        if costs:
            table = style.table("request", "items", "sum of values", "cost of retraining without it")
            for line in _lines(record, {}):
                table.add_row(line.name, f"{line.items:,}", line.value, line.cost.text)
            console.print(table)
        for name, count in (record.cost.get("trainings") or {}).items():
            style.say(console, f"{label}: {count:,} trainings for {name}", "dim")
    style.say_outcomes(console, named, read_values)


VALUES = Reporter(write=write_report, compare=write_comparison, show=print_values)
