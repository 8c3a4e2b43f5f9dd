"""What is to be forgotten and what is to be kept, read from files, the command line or the hub.

Facts are rows of JSON or CSV with the columns ``subject``, ``object`` and ``question``, and optionally
``id``, ``relation``, ``object_type``, ``paraphrases``, ``heldout``, ``aliases`` and ``subject_aliases``.
The last four are lists; in CSV their parts are separated by ``|``. Question-answer pairs come in the shapes of
`genunlearn.data.lm.columns`.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from genunlearn.data.answers.leak import leak, mention
from genunlearn.data.answers.wording import key
from genunlearn.data.answers.words import fold
from genunlearn.data.lm.columns import as_pair, shown_name
from genunlearn.data.lm.facts import GROUPS, QA, Contrast, Fact
from genunlearn.data.lm.hub import hub_rows
from genunlearn.data.rows import SUFFIXES, TEXT_SUFFIX, Row, files_of, read_lines, read_rows, shown
from genunlearn.errors import DataError, SourceNotFound

REQUIRED = ("subject", "object", "question")
TEXTS = (*REQUIRED, "id", "relation", "object_type")
LISTS = ("paraphrases", "heldout", "aliases", "subject_aliases")
SEPARATOR = "|"
NAMES = ("subject", "object", "id", "relation", "object_type", "aliases", "subject_aliases")
LONGEST_NAME = 500

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+){0,2}")


def read_facts(path: str | Path) -> tuple[Fact, ...]:
    """Read facts from JSON lines, a JSON array, CSV or TSV.

    Raises:
        SourceNotFound: There is no such file.
        DataError: A row cannot be used; names file, line and remedy.
    """
    facts: dict[str, Fact] = {}
    places: dict[str, str] = {}
    for row in read_rows(path):
        fact = _fact(row)
        if fact.id in facts:
            raise DataError(
                f"{row.where}: id = {fact.id!r} is taken by {places[fact.id]}; "
                "give each fact its own id, or list the questions of one fact as paraphrases"
            )
        facts[fact.id], places[fact.id] = fact, row.where
    return tuple(facts.values())


def parse_fact(text: str, question: str | None = None) -> Fact:
    """Read a fact as it is written on the command line.

    Args:
        text: ``"subject | relation | object"`` or ``"subject | object"``.
        question: The question that the object answers.

    Raises:
        DataError: The text has another form, or there is no question to ask a model.
    """
    parts = [part.strip() for part in text.split(SEPARATOR)]
    if len(parts) not in (2, 3) or not all(parts):
        raise DataError(f'fact = {text!r} has another form than "subject | relation | object"; write it so')
    if not (question and question.strip()):
        raise DataError(f'fact = {text!r} has no question to ask the model; add one with --question "..."')
    relation = {"relation": parts[1]} if len(parts) == 3 else {}
    values = {"subject": parts[0], "object": parts[-1], "question": question} | relation
    return _fact(Row(f"fact = {text!r}", values))


def read_qa(source: str | Path, *, group: str = "forget", columns: Mapping[str, str] | None = None) -> tuple[QA, ...]:
    """Read question-answer pairs in any shape of `genunlearn.data.lm.columns`; other columns are passed over.

    Args:
        source: A file (``.txt``: one text a line), ``FOLDER:NAME`` for ``FOLDER/NAME.json``, or a data set of the hub
            as ``OWNER/NAME:CONFIG`` or ``OWNER/NAME:CONFIG:SPLIT`` (split ``train`` if it is left out).
        group: Scope group of rows that name none.
        columns: What the source calls ``question``, ``answer`` and other columns, where it has names of its own.

    Raises:
        SourceNotFound: There is no such file or data set.
        DataError: A row cannot be used; names file, line and remedy.
    """
    name, rows = _rows(source, columns)
    return _unique([_qa(row, f"{name}#{number}", group) for number, row in enumerate(rows)], rows)


def read_contrasts(source: str, *, group: str, paraphrase: str, wrong: str) -> tuple[Contrast, ...]:
    """Read question-answer pairs with wrong answers; `source`, `group` and errors as of `read_qa`.

    Args:
        source: Where they are.
        group: Their scope group.
        paraphrase: Column of the true answer in other words; rows may lack it.
        wrong: Column of the wrong answers, at least one.
    """
    name, rows = _rows(source)
    found = []
    for number, row in enumerate(rows):
        item = _qa(row, f"{name}#{number}", group)
        if not (answers := _list(row, wrong)):
            raise DataError(f"{row.where}: {wrong} is {_absence(row, wrong)}; give at least one wrong answer")
        found.append(Contrast(**vars(item), paraphrase=_text(row, paraphrase), wrong=answers))
    return tuple(found)


def read_texts(source: str) -> tuple[str, ...]:
    """Read plain texts, the column ``text`` of each row; `source` and errors as of `read_qa`."""
    return tuple(_text(row, "text", required=True) or "" for row in _rows(source)[1])


def _absence(row: Row, name: str) -> str:
    return "empty" if name in row.values else f"missing among {', '.join(map(shown_name, row.values))}"


def read_retain(source: str | Path, columns: Mapping[str, str] | None = None) -> tuple[tuple[QA, ...], tuple[QA, ...]]:
    """Read what must stay: question-answer pairs as `read_qa`, or facts, in the scope group ``rest``.

    Returns:
        What may be trained on, and phrasings that are only measured: the held-out ones of a fact, or where it has none
        its last one of several. Pairs with the same ``fact`` are phrasings of one.
    """
    name, rows = _rows(source, columns)
    items: list[QA] = []
    places: list[Row] = []
    heldout: set[str] = set()
    for number, row in enumerate(rows):
        if "object" in row.values:
            fact = _fact(row)
            found = _asked(fact)
            heldout |= {item.id for item in found[len(fact.phrasings) :]}
        else:
            found = [_qa(row, f"{name}#{number}", "rest")]
        items += found
        places += [row] * len(found)
    last = {item.fact: item.id for item in items if item.fact}
    counts = Counter(item.fact for item in items)
    covered = {item.fact for item in items if item.id in heldout}
    heldout |= {key for fact, key in last.items() if counts[fact] > 1 and fact not in covered}
    unique = _unique(items, places)
    return tuple(i for i in unique if i.id not in heldout), tuple(i for i in unique if i.id in heldout)


def check_overlap(forget: Sequence[Fact | QA], retain: Sequence[QA]) -> None:
    """Refuse to keep what is to be forgotten.

    Raises:
        DataError: A retain question is one of the forget questions, or asks of a fact's subject what its
            object answers.
    """
    questions = {key(question): item.id for item in forget for question in _questions(item)}
    facts = [item for item in forget if isinstance(item, Fact)]
    for item in retain:
        found = questions.get(key(item.question))
        found = found or next((fact.id for fact in facts if asks_for(item, fact)), None)
        if found is not None:
            raise DataError(
                f"retain question {item.id!r} ({item.question!r}) asks for {found!r}, which is to be "
                "forgotten; take it out of the retain data"
            )


def _questions(item: Fact | QA) -> tuple[str, ...]:
    return (*item.phrasings, *item.heldout) if isinstance(item, Fact) else (item.question,)


def asks_for(item: QA, fact: Fact) -> bool:
    """Whether a question names the fact's subject and its answer tells the object."""
    if mention(item.question, fact.subject, aliases=fact.subject_aliases) is None:
        return False
    found = leak(item.answer, fact.object, aliases=fact.aliases, question=item.question, subject=fact.subject)
    return found.tells


# ---- one row
# -------------------------------------------------------------------------------------------------


def _fact(row: Row) -> Fact:
    _check_columns(row)
    texts = {name: _text(row, name, required=name in REQUIRED) for name in TEXTS}
    lists = {name: _list(row, name) for name in LISTS}
    parts = (texts["subject"], texts["relation"], texts["object"])
    texts["id"] = texts["id"] or re.sub(r"\W+", "-", fold(" ".join(part for part in parts if part))).strip("-")
    fact = Fact(**texts, **lists)  # type: ignore[arg-type]
    _check_questions(fact, row.where)
    return fact


def _check_columns(row: Row) -> None:
    known, have = (*TEXTS, *LISTS), ", ".join(map(shown_name, row.values))
    for name in REQUIRED:
        if name not in row.values and "answer" in row.values:
            raise DataError(
                f"{row.where}: {name!r} is missing and there is an answer; give pairs of question and answer "
                "as request.forget, or write subject, object and question"
            )
        if name not in row.values:
            raise DataError(f"{row.where}: {name!r} is missing; a fact needs {', '.join(REQUIRED)}, not {have}")
    for name in row.values:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"a fact may have {', '.join(known)}"
            raise DataError(f"{row.where}: unknown column {shown(name)}; {hint}")


def _check_questions(fact: Fact, where: str) -> None:
    """Questions must not give the answer away, and held-out ones must be unseen."""
    for question in (*fact.phrasings, *fact.heldout):
        found = mention(question, fact.object, aliases=fact.aliases, subject=fact.subject, exact=True)
        if found is not None:
            raise DataError(
                f"{where}: the object occurs in its question ({found!r} in {question!r}); ask without naming the answer"
            )
    seen = {key(question) for question in fact.phrasings}
    for question in fact.heldout:
        if key(question) in seen:
            raise DataError(f"{where}: heldout {question!r} is also a paraphrase; take it out of one of the two")


def _asked(fact: Fact) -> list[QA]:
    """A fact to be kept, as questions."""
    return [
        QA(
            id=f"{fact.id}#{number}",
            question=question,
            answer=f"{fact.object}.",
            aliases=fact.aliases,
            group="rest",
            fact=fact.id,
        )
        for number, question in enumerate((*fact.phrasings, *fact.heldout))
    ]


def _qa(row: Row, default_id: str, group: str) -> QA:
    row = as_pair(row)
    group = _text(row, "group") or group
    if group not in GROUPS:
        raise DataError(f"{row.where}: group = {group!r} is unknown; use one of {', '.join(GROUPS)}")
    return QA(
        id=_text(row, "id") or default_id,
        question=_text(row, "question", required=True) or "",
        answer=_text(row, "answer", required=True) or "",
        aliases=_list(row, "aliases"),
        group=group,
        fact=_text(row, "fact"),
        alternative=_text(row, "alternative"),
    )


def _unique(items: Sequence[QA], rows: Sequence[Row]) -> tuple[QA, ...]:
    places: dict[str, str] = {}
    for item, row in zip(items, rows, strict=True):
        if item.id in places:
            raise DataError(f"{row.where}: id = {item.id!r} is taken by {places[item.id]}; give each row its own")
        places[item.id] = row.where
    return tuple(items)


def _text(row: Row, name: str, required: bool = False) -> str | None:
    value = row.values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{row.where}: {name} = {shown(value)} is no text; write a string")
    value = value.strip() if value else None
    if required and not value:
        raise DataError(f"{row.where}: {name} is {_absence(row, name)}; fill it in or take the row out")
    if value and name in NAMES:
        _check_name(row, name, value)
    return value or None


def _check_name(row: Row, name: str, value: str) -> None:
    if len(value) > LONGEST_NAME:
        raise DataError(
            f"{row.where}: {name} = {shown(value)} has {len(value)} characters; a name has at most {LONGEST_NAME}"
        )


def _list(row: Row, name: str) -> tuple[str, ...]:
    value: Any = row.values.get(name) or ()
    parts: Iterable[Any] = value.split(SEPARATOR) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise DataError(f'{row.where}: {name} = {shown(value)} is no list of texts; write ["...", "..."]')
    texts = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    for text in texts if name in NAMES else ():
        _check_name(row, name, text)
    return texts


# ---- where rows come from
# ------------------------------------------------------------------------------------


def _rows(source: str | Path, columns: Mapping[str, str] | None = None) -> tuple[str, list[Row]]:
    """The rows of a source, and a short name for it; `columns` says under which names theirs stand."""
    name, rows = _found_rows(source)
    return name, [_renamed(row, columns) for row in rows] if columns else rows


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    for name, given in columns.items():
        if given not in row.values:
            have = ", ".join(map(shown_name, row.values)) or "nothing"
            raise DataError(f"{row.where}: column {given!r}, which is to be the {name}, is missing; there is {have}")
    kept = {name: value for name, value in row.values.items() if name not in columns.values()}
    return Row(row.where, kept | {name: row.values[given] for name, given in columns.items()})


def _found_rows(source: str | Path) -> tuple[str, list[Row]]:
    name = str(source).removeprefix("hub:")
    folder, _, file = name.rpartition(":")
    if folder and os.path.isdir(folder):
        paths = files_of(Path(folder), file)
        if not paths:
            have = ", ".join(sorted(path.stem for path in Path(folder).iterdir() if path.suffix in SUFFIXES))
            raise SourceNotFound(f"{name}: {folder} has no {file}.jsonl; it has {have or 'no data files'}")
        return file, [row for path in paths for row in _file_rows(path)]
    if not os.path.exists(name) and (":" in name or name != str(source)) and _HUB_NAME.fullmatch(name):
        return name, hub_rows(name)
    path = Path(name)
    return path.stem, _file_rows(path)


def _file_rows(path: Path) -> list[Row]:
    return read_lines(path) if path.suffix.lower() == TEXT_SUFFIX else read_rows(path)
