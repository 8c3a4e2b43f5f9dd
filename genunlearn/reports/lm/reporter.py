"""The reports of runs on language models."""

from __future__ import annotations

from pathlib import Path

from genunlearn.records import RunRecord
from genunlearn.reports.cells import named_records
from genunlearn.reports.lm.board import write_board
from genunlearn.reports.lm.card import write_patch_card
from genunlearn.reports.lm.compare import write_comparison
from genunlearn.reports.lm.findings import find
from genunlearn.reports.lm.report import write_report
from genunlearn.reports.lm.terminal import print_scope
from genunlearn.reports.reporter import Reporter


def write(record: RunRecord, folder: Path) -> Path:
    """Write the report of a run, its row of the leaderboard, and the model card of the patch that it left."""
    if (folder / "patch").is_dir():
        write_patch_card(record, folder / "patch")
    write_board(named_records(record), folder)
    return write_report(record, folder)


FACTS = Reporter(write=write, compare=write_comparison, show=print_scope, find=find)
