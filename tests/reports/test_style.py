"""Reports in a terminal: marks that any encoding can write, and lines that can be copied."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from genunlearn.cli.streams import write_plainly
from genunlearn.records import RunRecord
from genunlearn.reports.reporter import reporter_of
from genunlearn.reports.style import say

Make = Callable[..., RunRecord]


def plainly(text: str, encoding: str) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    write_plainly(stream)
    stream.write(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("✓ 0.98 · ✗ ↓ ↑", "+ 0.98 - x v ^"), ("Müller", "Muller"), ("東京", "??"), ("[b] %s", "[b] %s")],
)
def test_marks_are_plain_where_the_encoding_has_none(text: str, plain: str) -> None:
    assert plainly(text, "ascii") == plain
    assert plainly(text, "utf-8") == text


def test_a_table_is_printed_on_a_terminal_without_unicode(make_record: Make) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    write_plainly(stream)
    record = make_record()
    reporter_of(record).show(record, Console(file=stream, width=200))
    stream.flush()
    text = raw.getvalue().decode("ascii")
    assert "~ 1.00 [0.86, 1.00]" in text and "~ 0.98" in text and "+ 1.00" in text


def test_a_sentence_is_one_line_at_any_width() -> None:
    console = Console(file=io.StringIO(), width=20)
    say(console, "genunlearn run lm/lab/unstar --out runs/[first]")
    assert console.file.getvalue() == "genunlearn run lm/lab/unstar --out runs/[first]\n"  # type: ignore[attr-defined]
