"""The reports of runs on language models."""

from __future__ import annotations

from pathlib import Path

from genunlearn.records import RunRecord
from genunlearn.reports.lm.card import write_patch_card
from genunlearn.reports.lm.compare import write_comparison
from genunlearn.reports.lm.report import write_report
from genunlearn.reports.lm.terminal import print_scope
from genunlearn.reports.reporter import Reporter


def write(record: RunRecord, folder: Path) -> Path:
    """Write the report of a run and, where it left a patch, the patch's model card."""
    if (folder / "patch").is_dir():
        write_patch_card(record, folder / "patch")
    return write_report(record, folder)


FACTS = Reporter(write=write, compare=write_comparison, show=print_scope)
