"""Parts that the reports of every family have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError
from genunlearn.records import COMPLETED, Result, RunRecord, hash_json, write_text
from genunlearn.reports.cells import Cell, as_cell, find_or_reason, targets_of
from genunlearn.reports.cost import read_cost
from genunlearn.reports.headline import Headline, Reading
from genunlearn.reports.markdown import Verbatim, render_markdown, table_of
from genunlearn.reports.numbers import MISSING, format_seconds
from genunlearn.reports.page import render_page
from genunlearn.reports.wording import Goal, Words, run_method, run_model

REPORT_NAME, HTML_NAME, MARKDOWN_NAME = "report.html", "compare.html", "compare.md"
AIMS = {Goal.DOWN: "↓ lower", Goal.UP: "↑ higher", Goal.NONE: "like the oracle"}

MOST_NAMED = 4
"""Runs of a comparison whose cautions call each of them by its name."""

# ---- one run ----------------------------------------------------------------------------------------------------


def write_report_page(template: str, record: RunRecord, folder: Path, **own: Any) -> Path:
    """Write ``report.html``: what every report says of a run, with the parts that a family has of its `own`."""
    common = {
        "record": record,
        "method": run_method(record),
        "model": run_model(record),
        "request": request_rows(record),
        "cost": read_cost(record),
        "details": details(record),
    }
    path = Path(folder) / REPORT_NAME
    write_text(path, render_page(template, **common | own))
    return path


def request_rows(record: RunRecord) -> dict[str, str]:
    """What was asked, by key; what attackers may do is told elsewhere."""
    asked = {key: value for key, value in record.request.items() if key != "attacks"}
    return {key: _plain(value) for key, value in asked.items() if value not in (None, "", [], ())}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def details(record: RunRecord) -> dict[str, Any]:
    """What it takes to check and repeat a run, by heading."""
    hashes: dict[str, Any] = {}
    for name, value in record.hashes.items():
        hashes |= {f"{name} {key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return {
        "Configuration": json.dumps(record.config, indent=2, ensure_ascii=False) if record.config else "",
        "Hashes (SHA-256)": hashes,
        "Versions": record.versions,
        "Seeds": record.seeds,
    }


@dataclass(frozen=True)
class MetricLine:
    """One group of a metric: a cell a model, and which way it should move ("" where that is not said)."""

    label: str
    cells: tuple[tuple[str, Cell], ...]
    aim: str


@dataclass(frozen=True)
class MetricTable:
    """Metrics below each other, models in columns."""

    blocks: tuple[tuple[Words, tuple[MetricLine, ...]], ...]
    targets: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def has_aims(self) -> bool:
        """Whether it is said which way numbers should move."""
        return any(line.aim for _, lines in self.blocks for line in lines)


def metric_table(
    record: RunRecord,
    metrics: Mapping[str, Iterable[str | None]],
    words: Callable[[str], Words],
    label: Callable[[str | None], str],
    goal: Callable[[Result], Goal] | None = None,
) -> MetricTable:
    """Some metrics of one run.

    Args:
        record: The run.
        metrics: The groups to show of each metric.
        words: What a metric is called.
        label: What a group is called.
        goal: Which way a result should move; no aims are shown if None.
    """
    targets, reasons, blocks = targets_of(record), dict[str, int](), []
    for name, groups in metrics.items():
        lines = []
        for group in groups:
            found = [(target, find_or_reason(record, name, target, group)) for target in targets]
            cells = tuple((target, as_cell(result, reasons)) for target, result in found)
            goals = [goal(result) for _, result in found if result] if goal else []
            lines.append(MetricLine(label(group), cells, AIMS[goals[0]] if goals else ""))
        blocks.append((words(name), tuple(lines)))
    return MetricTable(tuple(blocks), targets, tuple(reasons))


@dataclass(frozen=True)
class GroupLine:
    """One group in a table of models, and what became of it."""

    words: Words
    cells: Sequence[Cell]
    reading: Reading


# ---- several runs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRow:
    """One run beside the table: how it ended and what it cost."""

    label: str
    outcome: Reading
    cost: Mapping[str, str]


@dataclass(frozen=True)
class RunTable:
    """How runs ended and what they cost."""

    rows: tuple[RunRow, ...]

    @property
    def costs(self) -> tuple[str, ...]:
        """Everything that some run has a cost of."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.cost))

    @property
    def markdown(self) -> Verbatim:
        """The table in Markdown."""
        rows = [[r.label, r.outcome.text, *(r.cost.get(name, MISSING) for name in self.costs)] for r in self.rows]
        return table_of(["Run", "Outcome", *self.costs], rows)


def run_table(
    records: Mapping[str, RunRecord],
    read: Callable[[RunRecord], Headline],
    cost: Callable[[RunRecord], Mapping[str, str]] | None = None,
) -> RunTable:
    """How each run ended, by `read`, and what it cost; by default the time to unlearn and all that it recorded."""
    rows = []
    for label, record in records.items():
        end = read(record)
        rows.append(RunRow(label, Reading(end.tone, end.verdict), (cost or _costs)(record)))
    return RunTable(tuple(rows))


def _costs(record: RunRecord) -> dict[str, str]:
    cost = read_cost(record)
    seconds = {phase.name: phase.seconds for phase in cost.phases}.get("unlearn")
    return ({} if seconds is None else {"Time to unlearn": format_seconds(seconds)}) | cost.items


def check_any(records: Collection[Any]) -> None:
    """Refuse a comparison of nothing.

    Raises:
        DataError: There is no run to compare.
    """
    if not records:
        raise DataError("nothing to compare: give at least one folder that a run has written")


def write_comparison_pages(
    family: str, folder: Path, html: Mapping[str, Any], markdown: Mapping[str, Any], **both: Any
) -> Path:
    """Write ``compare.html`` and ``compare.md`` from a family's templates; returns the path of the former.

    Both show a `title`, the `count` of the runs and `cautions`.
    """
    folder = Path(folder)
    write_text(folder / MARKDOWN_NAME, render_markdown(f"{family}/{MARKDOWN_NAME}", **{**both, **markdown}))
    write_text(folder / HTML_NAME, render_page(f"{family}/{HTML_NAME}", **{**both, **html}))
    return folder / HTML_NAME


def write_table(
    folder: Path,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    runs: RunTable,
    plot: Any = None,
    **both: Any,
) -> Path:
    """Write ``compare.html`` and ``compare.md`` of runs that one table shows; returns the path of the former.

    Args:
        folder: Where the pages go.
        heads: Of the columns.
        rows: Cells, the first of which says whose they are.
        runs: How each run ended and what it took.
        plot: For the page alone.
        both: ``title``, ``about``, ``count`` and ``cautions``.
    """
    return write_comparison_pages(
        "table",
        folder,
        html={"heads": heads, "rows": rows, "runs": runs, "plot": plot},
        markdown={"table": table_of(heads, rows), "runs": runs.markdown},
        **both,
    )


def title_of(labels: Iterable[str]) -> str:
    """The heading of a comparison: the request where all runs have the same, else how many requests there are."""
    different = list(dict.fromkeys(labels))
    return different[0] if len(different) == 1 else f"{len(different)} requests"


def cautions_of(records: Mapping[str, RunRecord], label: Callable[[RunRecord], str]) -> list[str]:
    """Why runs cannot be compared without further thought, if so.

    Args:
        records: Runs by label.
        label: What was asked of a run, in a few words.
    """
    found = []
    for key, what, spoken in (("base", "model", run_model), ("request", "request", label)):
        names = {run: spoken(record) for run, record in records.items()}
        hashes = {run: _digest(record, key) for run, record in records.items()}
        found += _difference(f"the {what}", names) or _difference(f"the {what}, by its hash (SHA-256)", hashes)
    found += _difference(
        "the prompts, by their hash", {run: _digest(record, "prompts") for run, record in records.items()}
    )
    if open_ones := [name for name, record in records.items() if record.status != COMPLETED]:
        found.append(f"Not finished: {', '.join(open_ones)}.")
    return found


def _difference(what: str, values: Mapping[str, str]) -> list[str]:
    """In what runs differ and which of them has what, as one sentence; nothing if all that say it say the same."""
    runs: dict[str, list[str]] = {}
    for run, value in values.items():
        if value:
            runs.setdefault(value, []).append(run)
    parts = (f"{value} ({_named(names, len(values))})" for value, names in runs.items())
    return [f"The runs differ in {what}: {'; '.join(parts)}."] if len(runs) > 1 else []


def _named(runs: Sequence[str], total: int) -> str:
    """Names of runs; only how many they are where several of many are alike."""
    return f"{len(runs)} runs" if total > MOST_NAMED and len(runs) > 1 else ", ".join(runs)


def _digest(record: RunRecord, key: str) -> str:
    """The first digits of a hash of the record, or of several taken together."""
    value = record.hashes.get(key)
    if isinstance(value, Mapping):
        value = hash_json(value)
    return str(value or "")[:12]
