"""Tables and files in GitHub Markdown; what records say is escaped, so that it stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from genunlearn.reports.page import FILTERS, package_version


class Verbatim(str):
    """Text that is Markdown already."""


def table_of(header: Sequence[str], rows: Iterable[Sequence[str]], reasons: Iterable[str] = ()) -> Verbatim:
    """A GitHub Markdown table, with the reasons for empty cells below it; everything is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    table = [
        "| " + " | ".join(cell if place == 1 else escape_markdown(cell) for cell in line) + " |"
        for place, line in enumerate(lines)
    ]
    notes = [f"({number}) {escape_markdown(reason)}" for number, reason in enumerate(reasons, start=1)]
    return Verbatim("\n".join([*table, *(["", f"Not measured: {'; '.join(notes)}."] if notes else [])]))


def escape_markdown(value: object) -> str:
    """`value` as plain text in one line: markup, HTML and table bars lose their meaning."""
    if isinstance(value, Verbatim):
        return value
    text = re.sub(r"\s+", " ", str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|#~]|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\]\()|!(?=\[))", r"\\\1", text)


def render_markdown(template: str, **context: Any) -> str:
    """Fill one of the package's Markdown templates; every value is escaped unless it is `Verbatim`."""
    return _environment().get_template(template).render(package_version=package_version(), **context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("genunlearn.reports"),
        finalize=escape_markdown,
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # A JSON string is a YAML and a Python string as well.
    as_string = {"quoted": lambda value: Verbatim(json.dumps(str(value), ensure_ascii=True))}
    environment.filters.update(FILTERS | as_string)
    return environment
