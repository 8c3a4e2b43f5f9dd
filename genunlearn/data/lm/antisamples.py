"""Anti-samples: what a model is taught instead of a fact, as rows that a person can read and review."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.data.lm.facts import QA
from genunlearn.errors import DataError, SourceNotFound


@dataclass(frozen=True, kw_only=True)
class AntiSample:
    """A question variant with the answer that is taught in place of the truth.

    Attributes:
        id: Unique within a run.
        fact: Identifier of the fact that the question asks for.
        question: The question variant.
        text: What is taught: a misleading rationale that arrives at the wrong answer, or a refusal.
        wrong_answer: The wrong answer; None for a refusal.
        rationale: Whether `text` argues for the wrong answer rather than only naming it.
        round: Round that it was written in.
        prompt_sha256: Hash of the prompt file that the rationale was asked for with; None where none was.
    """

    id: str
    fact: str
    question: str
    text: str
    wrong_answer: str | None = None
    rationale: bool = False
    round: int = 0
    prompt_sha256: str | None = None

    def to_qa(self) -> QA:
        """As an item to train on."""
        return QA(id=f"anti/{self.id}", question=self.question, answer=self.text, fact=self.fact)

    def to_json(self) -> dict[str, Any]:
        """As one row of a file."""
        return dataclasses.asdict(self)


def read_antisamples(path: Path | str, facts: Iterable[str]) -> tuple[AntiSample, ...]:
    """Read reviewed anti-samples.

    Args:
        path: JSON lines with the fields of `AntiSample`; ``id`` and ``round`` may be left out.
        facts: Identifiers of the facts of the request; rows about others are refused.

    Raises:
        SourceNotFound: No such file.
        DataError: A row that cannot be used, with its line.
    """
    path, known = Path(path), set(facts)
    if not path.is_file():
        raise SourceNotFound(f"no anti-samples at {path}: `genunlearn antisamples CONFIG` writes them")
    rows = [_read_row(line, f"{path}:{n}", known) for n, line in _lines(path)]
    if not rows:
        raise DataError(f"{path}: no anti-samples in it: keep at least one row")
    return tuple(dataclasses.replace(row, id=row.id or f"reviewed-{n}") for n, row in enumerate(rows))


def _lines(path: Path) -> Sequence[tuple[int, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(n, line) for n, line in enumerate(lines, 1) if line.strip()]


def _read_row(line: str, where: str, known: set[str]) -> AntiSample:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}): write one object a line") from None
    names = {field.name for field in dataclasses.fields(AntiSample)}
    if not isinstance(row, dict) or (unknown := sorted(set(row) - names)):
        raise DataError(
            f"{where}: unknown fields {unknown if isinstance(row, dict) else row!r}; known: {sorted(names)}"
        )
    for name in ("fact", "question", "text"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise DataError(f"{where}: {name!r} is missing or empty: fill it in or delete the row")
    if row["fact"] not in known:
        raise DataError(f"{where}: fact {row['fact']!r} is not in this request, which has {sorted(known)}")
    return AntiSample(**{"id": "", **row})
