"""The report of one run: ``report.html``, a single file that opens anywhere.

Of the free-form parts of a record it reads ``request["facts"]`` (fields of a fact), ``examples`` (``group``,
``question``, ``answer``, one text a model, ``tells``) and ``rounds`` (``round``, ``known``, ``variants``, ...).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.data.lm.facts import GONE_GROUPS, GROUPS, KEEP_GROUPS
from genunlearn.records import RunRecord
from genunlearn.reports.cells import in_order, targets_of
from genunlearn.reports.headline import Reading, Tone
from genunlearn.reports.lm.figures import rounds_plot, scope_plot
from genunlearn.reports.lm.limits import limits
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.lm.scope import Grid, legend_of, other_metrics, scope_grid
from genunlearn.reports.lm.wording import group_words, metric_words, run_facts
from genunlearn.reports.numbers import MISSING, format_counts, format_number, format_seconds
from genunlearn.reports.parts import GroupLine, write_report_page
from genunlearn.reports.wording import ORACLE, ORIGINAL, Goal, humanise

ANTISAMPLES_NAME = "antisamples.jsonl"
EXAMPLES_SHOWN = 3
"""Of each group; the rest is folded away."""
SAMPLES_SHOWN = 6

BAND_TITLES = {Goal.DOWN: "Should go", Goal.NONE: "Follows from it", Goal.UP: "Should stay"}


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not.

    Args:
        record: The run.
        folder: Where the report goes. If ``antisamples.jsonl`` lies there, some of its rows are shown.

    Returns:
        Path of the report.
    """
    return write_report_page(
        "lm/report.html",
        record,
        folder,
        headline=headline(record),
        facts=[_FACT | fact for fact in run_facts(record)],
        scope=_scope(record),
        examples=_examples(record),
        metrics=other_metrics(record, scope_grid(record).metric),
        rounds=_rounds(record),
        group_words=group_words,
        antisamples=_antisamples(Path(folder) / ANTISAMPLES_NAME),
        limits=limits(record),
    )


_FACT: dict[str, Any] = dict.fromkeys(("subject", "relation", "object", "question"), "") | dict.fromkeys(
    ("aliases", "paraphrases", "heldout"), ()
)


# ---- what went and what stayed ----------------------------------------------------------------------------------


def _scope(record: RunRecord) -> dict[str, Any]:
    grid = scope_grid(record)
    measured = any(cell.footnote is None for row in grid.rows for cell in row.cells)
    bands = []
    for goal, title in BAND_TITLES.items():
        places = [place for place, _ in enumerate(grid.groups) if grid.goal(place) is goal]
        if lines := [_line(grid, place) for place in places]:
            bands.append((title, lines))
    return {
        "grid": grid,
        "measured": measured,
        "bands": bands,
        "heads": [humanise(row.label, capital=True) for row in grid.rows],
        "plot": scope_plot(grid),
        "words": metric_words(grid.metric),
        "legend": legend_of(grid),
    }


def _line(grid: Grid, place: int) -> GroupLine:
    reading = next(filter(None, (grid.reading(row, place) for row in grid.rows)))
    return GroupLine(group_words(grid.groups[place]), [row.cells[place] for row in grid.rows], reading)


# ---- answers, rounds, what was taught ---------------------------------------------------------------------------


def _examples(record: RunRecord) -> dict[str, Any]:
    order = in_order((example.get("group") for example in record.examples), GROUPS)
    rows = sorted(record.examples, key=lambda example: order.index(example.get("group")))
    targets = [target for target in targets_of(record) if any(target in example for example in rows)]
    counts: Counter[str | None] = Counter()
    shown: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for example in rows:
        group = example.get("group")
        view = {
            "group": group,
            "question": example.get("question", ""),
            "truth": example.get("answer", "not recorded"),
            "answers": [(target, _answer(example, target)) for target in targets],
        }
        (shown if counts[group] < EXAMPLES_SHOWN else more).append(view)
        counts[group] += 1
    return {"targets": targets, "shown": shown, "more": more}


def _answer(example: Mapping[str, Any], target: str) -> dict[str, Any]:
    """A model's answer with a word on whether it tells the truth, and whether it should."""
    text, tells = example.get(target), example.get("tells", {}).get(target)
    if text is None:
        return {"text": "not asked", "reading": None}
    reading = None
    if tells is not None:
        group, tone = example.get("group"), Tone.NEUTRAL
        if target not in (ORIGINAL, ORACLE) and group in (*GONE_GROUPS, *KEEP_GROUPS):
            tone = Tone.GOOD if bool(tells) == (group in KEEP_GROUPS) else Tone.BAD
        reading = Reading(tone, "tells the truth" if tells else "does not tell it")
    return {"text": text or "(empty)", "reading": reading}


def _rounds(record: RunRecord) -> dict[str, Any]:
    keys = dict.fromkeys(key for entry in record.rounds for key in entry)
    if "known" in keys:
        keys.pop("variants", None)  # shown as the whole of which `known` is a part
    columns = {key: ROUND_LABELS.get(key) or humanise(key, capital=True) for key in keys}
    rows = [{key: _round_text(key, entry) for key in keys} for entry in record.rounds]
    return {"columns": columns, "rows": rows, "plot": rounds_plot(record.rounds)}


ROUND_LABELS = {"known": "Still known", "anti_samples": "Anti-samples", "seconds": "Time"}


def _round_text(name: str, entry: Mapping[str, Any]) -> str:
    value = entry.get(name)
    if value is None:  # a round that only probes teaches nothing
        return "none" if name in ("anti_samples", "rejected", "steps") else MISSING
    if name == "known" and "variants" in entry:
        return f"{value:,} of {entry['variants']:,}"
    if isinstance(value, Mapping):
        return format_counts(value) or "none"
    if name == "seconds":
        return format_seconds(value)
    return format_number(value) if isinstance(value, float) else str(value)


def _antisamples(path: Path) -> dict[str, Any]:
    """Some of the examples that the method trained on, spread over the rounds."""
    rows: list[dict[str, Any]] = []
    problem = ""
    if path.is_file():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                rows.append(_SAMPLE | json.loads(line))
            except (ValueError, TypeError):
                problem = f"Not shown: line {number} of {path.name} is not a JSON object."
    count = min(SAMPLES_SHOWN, len(rows))
    shown = [rows[place * len(rows) // count] for place in range(count)]
    return {"shown": shown, "total": len(rows), "problem": problem, "file": path.name}


_SAMPLE = {"question": "", "text": "", "wrong_answer": None, "round": None}
