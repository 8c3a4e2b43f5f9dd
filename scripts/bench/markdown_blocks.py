"""Tables in a Markdown document that a script can put in again: they stand between two comments that name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


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
