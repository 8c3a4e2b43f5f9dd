"""What a run cost, as its record says it: seconds by phase, and every other counter with its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.numbers import MISSING, format_bytes, format_seconds, format_share
from genunlearn.reports.wording import humanise

PHASES = "seconds"
"""Key of the cost that holds seconds by phase; a phase ``total`` is the wall time of the whole run."""

UNITS: dict[str, Callable[[float], str]] = {
    "_mb": lambda size: format_bytes(size * 2**20),
    "_bytes": format_bytes,
    "_seconds": format_seconds,
}


@dataclass(frozen=True)
class Phase:
    """One part of the run; `percent` is its share of the whole time."""

    name: str
    seconds: float
    percent: float


@dataclass(frozen=True)
class Cost:
    """A run's cost for readers.

    Attributes:
        total: Seconds altogether; None where the record has none.
        phases: Parts of the run in the order in which they ran.
        items: Everything else by label, formatted with units.
    """

    total: float | None
    phases: tuple[Phase, ...]
    items: dict[str, str]


def read_cost(record: RunRecord) -> Cost:
    """Read the cost of a record; what the record lacks is left out.

    ``cost["seconds"]`` is either a number or a mapping from phase to seconds. The end of every other key says its
    unit: ``_mb`` (of 2**20 bytes), ``_bytes``, ``_seconds``; other numbers are counts. Nested mappings are flattened.
    """
    seconds = record.cost.get(PHASES)
    by_phase = {name: float(s) for name, s in seconds.items()} if isinstance(seconds, dict) else {}
    total = float(seconds) if isinstance(seconds, int | float) else by_phase.pop("total", None)
    if total is None and by_phase:
        total = sum(by_phase.values())
    whole = total or 1.0
    phases = tuple(Phase(name, s, round(min(100 * s / whole, 100.0), 1)) for name, s in by_phase.items())
    items = {} if total is None else {"Time altogether": format_seconds(total)}
    items |= _counters({key: value for key, value in record.cost.items() if key != PHASES})
    return Cost(total, phases, items | _parameters(record))


def _counters(cost: dict[str, Any], prefix: str = "") -> dict[str, str]:
    items: dict[str, str] = {}
    for key, value in cost.items():
        if isinstance(value, dict):
            items |= _counters(value, f"{prefix}{key} ")
            continue
        name, text = f"{prefix}{key}", MISSING if value is None else str(value)
        if isinstance(value, int | float):
            unit = next((suffix for suffix in UNITS if key.endswith(suffix)), "")
            name, text = name.removesuffix(unit), UNITS[unit](value) if unit else f"{value:,}"
        items[humanise(name, capital=True)] = text
    return items


def _parameters(record: RunRecord) -> dict[str, str]:
    trainable, total = record.parameters.get("trainable"), record.parameters.get("total")
    if trainable is None or not total:
        return {}
    return {"Trained parameters": f"{trainable:,} of {total:,} ({format_share(trainable, total)})"}
