"""The answers themselves: what each model says to the same question, simply asked and under every attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genunlearn.records import Result, RunRecord
from genunlearn.reports.audit.wording import MODELS
from genunlearn.reports.wording import UNLEARNED, spoken_attack


@dataclass(frozen=True)
class AnswerTable:
    """Answers under one attack of one strength.

    Attributes:
        title: The attack.
        models: Labels of the models, in columns.
        rows: The question, and for each model its answer and whether it tells the fact.
        asked: How many questions were asked in all.
    """

    title: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    asked: int = 0


def answer_tables(record: RunRecord, label: str) -> list[AnswerTable]:
    """The tables of one fact; none for what is no fact."""
    rows = [row for row in record.examples if row.get("concept") == label and row.get("group") == "answers"]
    sets = dict.fromkeys(str(row["set"]) for row in rows)
    asked = {name: record.find("asr", UNLEARNED, f"{label}, {name}") for name in sets}
    return [_table(name, [row for row in rows if row["set"] == name], asked[name]) for name in sets]


def _table(name: str, rows: list[Mapping[str, Any]], asked: Result | None) -> AnswerTable:
    models = [target for target in MODELS if target in rows[0]]
    told = tuple((row["question"], tuple((row[name], row["tells"][name]) for name in models)) for row in rows)
    return AnswerTable(
        spoken_attack(name, capital=True), tuple(MODELS[name] for name in models), told, asked.n if asked else 0
    )
