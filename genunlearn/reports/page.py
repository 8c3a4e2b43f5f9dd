"""The frame of every HTML report: one file, styles and plots inside, no script, no outside request."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from genunlearn.reports.numbers import (
    format_bytes,
    format_counts,
    format_estimate,
    format_number,
    format_seconds,
    format_share,
    format_time,
)
from genunlearn.reports.wording import humanise, model_label, target_words

FILTERS = {
    "number": format_number,
    "estimate": format_estimate,
    "seconds": format_seconds,
    "time": format_time,
    "bytes": format_bytes,
    "share_of": format_share,
    "counts": format_counts,
    "humanise": humanise,
    "target": lambda target: target_words(target).label,
    "model": model_label,
}


def render_page(template: str, **context: Any) -> str:
    """Fill one of the package's HTML templates; every value is escaped.

    Args:
        template: Name of a file in ``templates/``.
        context: What the template asks for; a missing name is an error.
    """
    return _environment().get_template(template).render(package_version=package_version(), **context)


def package_version() -> str:
    """Version of the installed package."""
    try:
        return version("genunlearn")
    except PackageNotFoundError:  # a source tree that was never installed
        return "development"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("genunlearn.reports"),
        autoescape=select_autoescape(("html",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
