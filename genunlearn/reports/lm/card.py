"""The model card of a patch: ``README.md`` in the folder of a PEFT adapter."""

from __future__ import annotations

import json
from pathlib import Path

from genunlearn.records import RunRecord, write_text
from genunlearn.registry import LAB
from genunlearn.reports.lm.limits import limits
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.lm.scope import Grid, other_metrics, scope_grid, scope_table
from genunlearn.reports.lm.wording import fact_label, metric_words, run_facts
from genunlearn.reports.markdown import render_markdown, table_of
from genunlearn.reports.numbers import format_share
from genunlearn.reports.wording import model_label, run_method, run_model, run_section

CARD_NAME = "README.md"
NOTE_NAME = "genunlearn.json"
FACTS_NAMED = 20


def write_patch_card(record: RunRecord, folder: Path) -> Path:
    """Write the model card of a patch.

    Args:
        record: The run that made the patch.
        folder: Folder of the PEFT adapter.

    Returns:
        Path of the card, ``README.md``.
    """
    facts = [fact_label(fact) for fact in run_facts(record)]
    trainable, total = record.parameters.get("trainable"), record.parameters.get("total")
    grid = scope_grid(record)
    card = render_markdown(
        "lm/card.md",
        record=record,
        headline=headline(record),
        method=run_method(record),
        method_name=run_section(record, "method").get("name"),
        base=run_model(record),
        base_is_lab=run_model(record).startswith(LAB),
        lab=run_model(record).removeprefix(LAB),
        revision=run_section(record, "model").get("revision"),
        base_hash=record.hashes.get("base"),
        made_with=_made_with(folder),
        facts=facts[:FACTS_NAMED],
        more_facts=max(len(facts) - FACTS_NAMED, 0),
        words=metric_words(grid.metric),
        scope=scope_table(record),
        others=_other_metrics(record, grid),
        size=f"{trainable:,} of {total:,} ({format_share(trainable, total)})" if trainable and total else None,
        limits=limits(record),
    )
    path = Path(folder) / CARD_NAME
    write_text(path, card)
    return path


def _made_with(folder: Path) -> str | None:
    """How the base was loaded, from the note that lies beside the patch; None where there is none."""
    path = Path(folder) / NOTE_NAME
    note = json.loads(path.read_text(encoding="utf-8")).get("base") if path.is_file() else None
    if not note:
        return None
    precision = note["dtype"] if note["quantize"] == "none" else f"4-bit ({note['quantize']}) and {note['dtype']}"
    commit = f", commit {note['commit']}" if note["commit"] else ""
    return f"The base was loaded in {precision}{commit}; the patch was made on {note['device']}."


def _other_metrics(record: RunRecord, grid: Grid) -> str | None:
    """Every other metric as a table, one line a metric and group; None where there is none."""
    table = other_metrics(record, grid.metric)
    rows = [
        [f"{words.label}, {line.label.lower()}", *(cell.text for _, cell in line.cells)]
        for words, lines in table.blocks
        for line in lines
    ]
    return table_of(["Measure", *map(model_label, table.targets)], rows, table.reasons) if rows else None
