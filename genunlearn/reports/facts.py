"""The reports of runs on language models."""

from __future__ import annotations

from pathlib import Path

from genunlearn.records import RunRecord
from genunlearn.reports.card import write_patch_card
from genunlearn.reports.compare import write_comparison
from genunlearn.reports.face import Face
from genunlearn.reports.html import write_report
from genunlearn.reports.terminal import print_scope


def write(record: RunRecord, folder: Path) -> Path:
    """Write the report of a run and, where it left a patch, the patch's model card."""
    if (folder / "patch").is_dir():
        write_patch_card(record, folder / "patch")
    return write_report(record, folder)


FACTS = Face(write=write, compare=write_comparison, show=print_scope)
