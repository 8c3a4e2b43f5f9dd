"""Tables in a Markdown document that a script can put in again: they stand between two comments that name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from genunlearn.ops.intervals import over_seeds
from genunlearn.reports.numbers import format_number


def replace_block(document: Path, name: str, text: str) -> None:
    """Put `text` between ``<!-- NAME -->`` and ``<!-- end NAME -->`` of a document.

    Raises:
        SystemExit: The document has no such place.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    before = document.read_text(encoding="utf-8")
    after, found = pattern.subn(lambda match: f"{match[1]}\n{text.strip()}\n\n{match[2]}", before)
    if not found:
        raise SystemExit(f"{document} has no <!-- {name} --> ... <!-- end {name} --> to put the table in")
    document.write_text(after, encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def seeds_cell(values: Sequence[float | None], *, ends: tuple[float, float] | None = None) -> str:
    """The mean of a number over seeds with its t-interval, cut at `ends` if given; empty where a run has none."""
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return ""
    value, low, high = over_seeds(found)
    if low is None or high is None:
        return format_number(value)
    if ends is not None:
        low, high = max(ends[0], low), min(ends[1], high)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"
