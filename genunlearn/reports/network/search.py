"""The report of a search: the cell, how it was found, what its network knows, and whether retraining is the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.ops.intervals import Estimate, difference
from genunlearn.records import RunRecord, read_json
from genunlearn.reports import style
from genunlearn.reports.headline import Headline, Tone, unfinished
from genunlearn.reports.network.search_plots import cell_plot, cost_plot, curves_plot, known_plot
from genunlearn.reports.numbers import MISSING, estimate_of, format_estimate, format_seconds
from genunlearn.reports.parts import cautions_of, check_any, run_table, write_report_page, write_table
from genunlearn.reports.pictures import picture
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, run_section

if TYPE_CHECKING:
    from rich.console import Console

CELL_NAME = "cell.json"
TOLERANCE = 0.05
"""How far an accuracy may be from that of the retrained network and still count as the same."""
ABOUT = "Accuracies are shares of items with their 95% intervals; retraining is from scratch, without the forget set."
LIMITS = (
    "One search, one seed: another seed may find another cell, and a random cell may do as well (docs/results).",
    "A few unlearning steps are the search's yardstick, not a method to rely on: genunlearn run has methods.",
    "Seconds are of this machine; multiply-adds of a training count three forward passes for each picture.",
)
GROUPS = ("forget", "retain", "test")


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a search, finished or not; the cell is read from ``cell.json``."""
    folder = Path(folder)
    found = _cell(folder)
    return write_report_page(
        "network/search/report.html",
        record,
        folder,
        method=_method(record),
        headline=read_search(record),
        cells=[(kind, cell_plot(kind, found.get(kind, ()))) for kind in ("normal", "reduction")],
        curves=curves_plot(record),
        known=known_plot(record),
        ways=cost_plot(_ways(record)),
        facts=_facts(record),
        steps=record.request.get("unlearning_steps", MISSING),
        pictures=[
            (str(row.get("target", "")), picture(folder, row.get("picture"), f"class {row.get('target', '')}"))
            for row in record.examples
        ],
        limits=LIMITS,
    )


def read_search(record: RunRecord) -> Headline:
    """Whether retraining is the honest choice for the network that was found."""
    subject = f"{record.request.get('data', 'pictures')}, forget {record.request.get('forget', MISSING)}"
    if ended := unfinished(record, subject, "search"):
        return ended
    retraining, steps = (format_seconds(seconds) for seconds in _ways(record).values())
    said = (
        f"The network answers {_estimate(record, ORIGINAL, 'test')} of the test pictures right.",
        f"Retraining without the forget set takes {retraining}; the unlearning steps take {steps}.",
    )
    if _gap(record, ORIGINAL, "forget")[0] <= TOLERANCE:
        answers = (_estimate(record, target, "forget") for target in (ORIGINAL, ORACLE))
        alike = "The network answers {} of the forget set right, the retrained one {}.".format(*answers)
        return Headline(Tone.WARN, "Nothing seen to forget", subject, (*said, alike))
    gaps = {group: _gap(record, UNLEARNED, group) for group in GROUPS}
    if apart := {group: gap for group, (gap, low, high) in gaps.items() if abs(gap) > TOLERANCE and low * high > 0}:
        told = ", ".join(f"{gap:+.2f} on {group}" for group, gap in apart.items())
        return Headline(
            Tone.WARN, "Retrain", subject, (*said, f"The steps are no stand-in: their accuracy is off by {told}.")
        )
    reach, group = max((max(abs(low), abs(high)), group) for group, (_, low, high) in gaps.items())
    if reach > TOLERANCE:
        unsure = f"On so few items the gap to the retrained network may be as large as {reach:.2f} on {group}."
        return Headline(Tone.NEUTRAL, "Not told apart from retraining", subject, (*said, unsure))
    close = f"No accuracy is more than {TOLERANCE} from that of the retrained network, intervals included."
    return Headline(Tone.GOOD, "A few steps come close to retraining", subject, (*said, close))


def _gap(record: RunRecord, target: str, group: str) -> Estimate:
    """Accuracy beyond that of the retrained network, with its interval; one that says nothing without both."""
    found = [record.find("accuracy", each, group) for each in (target, ORACLE)]
    mine, its = map(estimate_of, found)
    if mine is None or its is None:
        first, second = ((one.value or 0.0) if one else 0.0 for one in found)
        return first - second, -1.0, 1.0
    return difference(mine, its)


def _ways(record: RunRecord) -> dict[str, float]:
    """Seconds of the two ways to meet the request; empty where they were not taken."""
    costs = {
        name: record.cost[target].get("seconds", 0.0)
        for name, target in {"Retraining from scratch": ORACLE, "Unlearning steps": UNLEARNED}.items()
        if isinstance(record.cost.get(target), dict)
    }
    return costs if len(costs) == 2 else {}


def _facts(record: RunRecord) -> dict[str, str]:
    """Sizes and work, by what they are of."""
    network = record.cost.get("network") or {}
    facts = {
        "Weights": f"{network.get('weights', 0):,}",
        "Multiply-adds a picture": f"{network.get('multiply_adds', 0):,}",
    }
    for name, target in {"Retraining": ORACLE, "Unlearning steps": UNLEARNED}.items():
        work = (record.cost.get(target) or {}).get("multiply_adds")
        if work:
            facts[f"Multiply-adds, {name.lower()}"] = f"{work:,}"
    return facts if network else {}


def _estimate(record: RunRecord, target: str, group: str) -> str:
    found = record.find("accuracy", target, group)
    return format_estimate(found) if found else MISSING


def _method(record: RunRecord) -> str:
    order = str(run_section(record, "search").get("order") or "first")
    return "random cell" if order == "random" else f"{order} order search"


def _cell(folder: Path) -> Mapping[str, Any]:
    from genunlearn.backbones.cells import Genotype

    path = folder / CELL_NAME
    return Genotype.read(read_json(path, "cell")).plain() if path.is_file() else {}


# ---- several searches, terminal ---------------------------------------------------------------------------------

HEADS = ["Search", "Test accuracy", "Forget, after steps", "Forget, retrained", "Weights", "Retraining"]


def _row(label: str, record: RunRecord) -> list[str]:
    cost = record.cost.get(ORACLE) or {}
    return [
        label,
        _estimate(record, ORIGINAL, "test"),
        _estimate(record, UNLEARNED, "forget"),
        _estimate(record, ORACLE, "forget"),
        f"{(record.cost.get('network') or {}).get('weights', 0):,}",
        format_seconds(cost["seconds"]) if "seconds" in cost else MISSING,
    ]


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: searches in rows.

    Raises:
        DataError: There is no run.
    """
    check_any(records)
    rows, runs = [_row(*each) for each in records.items()], run_table(records, read_search)
    return write_table(
        folder,
        HEADS,
        rows,
        runs=runs,
        title="Searches side by side",
        about=ABOUT,
        cautions=cautions_of(records, lambda record: str(record.request.get("data"))),
        count=len(records),
    )


def print_search(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print what was found and what it costs."""
    named: Mapping[str, RunRecord] = {_method(records): records} if isinstance(records, RunRecord) else dict(records)
    table = style.table(*HEADS)
    for label, record in named.items():
        table.add_row(*_row(label, record))
    console.print(table)
    style.say_outcomes(console, named, read_search)


SEARCHES = Reporter(write=write_report, compare=write_comparison, show=print_search)
