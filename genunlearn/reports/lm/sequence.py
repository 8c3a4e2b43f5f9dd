"""The report of requests that follow each other: what is told of each, of the earlier ones, and of what must stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genunlearn.data.lm.facts import EARLIER, KEEP_GROUPS, TRAINED_GROUPS
from genunlearn.ops.intervals import share
from genunlearn.records import COMPLETED, Result, RunRecord
from genunlearn.reports import style
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.marks import point, spoken_value
from genunlearn.reports.numbers import format_estimate, format_seconds
from genunlearn.reports.parts import check_any, run_table, write_table
from genunlearn.reports.plots import Mark, Plot, curve_plot
from genunlearn.reports.wording import UNLEARNED

if TYPE_CHECKING:
    from rich.console import Console

NEW = "forget_heldout"
UTILITY = tuple(group for group in KEEP_GROUPS if group not in TRAINED_GROUPS)
HEADS = ("Request", "Fact", "Told of it, now", "Told of the earlier ones, now", "What must stay", "Time")
NOTE = (
    "Each request is carried out on the patch of the one before. Afterwards its own fact and those of all earlier "
    "requests are asked in phrasings that unlearning never saw, and what must stay around all of them. Whiskers and "
    "brackets are 95% intervals over questions; nothing here is audited."
)


def write_sequence(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` for runs in the order of their requests.

    Raises:
        DataError: There is no run.
    """
    check_any(records)
    open_ones = [name for name, record in records.items() if record.status != COMPLETED]
    return write_table(
        folder,
        HEADS,
        rows_of(records),
        runs=run_table(records, headline, cost=lambda record: {}),  # the rows say what each took
        plot=plot_of(list(records.values())),
        title=f"{len(records)} request{'s' if len(records) != 1 else ''}, one after the other",
        about=NOTE,
        cautions=[f"Not finished: {', '.join(open_ones)}."] if open_ones else [],
        count=len(records),
    )


def rows_of(records: Mapping[str, RunRecord]) -> list[list[str]]:
    """One line a request, as `HEADS` names its cells."""
    return [
        [
            name,
            "; ".join(map(_spoken, record.request.get("facts") or ())),
            _text(record.find("recall", UNLEARNED, NEW) or record.find("recall", UNLEARNED, "forget")),
            _text(record.find("recall", UNLEARNED, EARLIER)),
            _text(kept(record)),
            format_seconds(record.cost.get("unlearning_cpu_seconds", 0.0)),
        ]
        for name, record in records.items()
    ]


def plot_of(records: Sequence[RunRecord]) -> Plot:
    """Recall after each request: of its own fact, of the earlier ones, of what must stay."""
    series = (
        (Mark("what must stay", 0, "o"), kept),
        (Mark("its own fact", 1, "s"), lambda record: record.find("recall", UNLEARNED, NEW)),
        (Mark("earlier requests", 3, "^"), lambda record: record.find("recall", UNLEARNED, EARLIER)),
    )
    curves = []
    for mark, find in series:
        found = [(float(number), point(find(record))) for number, record in enumerate(records, start=1)]
        if pairs := [(number, place) for number, place in found if place.value is not None]:
            curves.append((mark, pairs))
    told = " ".join(f"{m.label}: {', '.join(f'{x:g} {spoken_value(p)}' for x, p in pairs)}." for m, pairs in curves)
    alt = f"Share of questions answered with the truth after each request. {told}"
    return curve_plot("sequence", alt, curves, xlabel="after request", ylabel="share told", height=300)


def kept(record: RunRecord) -> Result | None:
    """Recall of everything that must stay and that training has not seen, together."""
    found = [result for group in UTILITY if (result := record.find("recall", UNLEARNED, group)) and result.n]
    if not found:
        return None
    hits, n = sum(round((result.value or 0.0) * result.n) for result in found), sum(result.n for result in found)
    value, low, high = share(hits, n)
    return Result(name="recall", target=UNLEARNED, value=value, low=low, high=high, n=n)


def print_sequence(records: Mapping[str, RunRecord], console: Console) -> None:
    """The same table on the terminal."""
    table = style.table(*HEADS)
    for row in rows_of(records):
        table.add_row(*row)
    console.print(table)


def _spoken(fact: Mapping[str, str]) -> str:
    return " | ".join(filter(None, (fact["subject"], fact.get("relation"), fact["object"])))


def _text(result: Result | None) -> str:
    return "" if result is None or result.value is None else format_estimate(result)
