"""Whatever stands in a request file, it is read, or refused in one line that names the file."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genunlearn.data.answers.leak import leak
from genunlearn.data.answers.turns import first_turn, split_thought
from genunlearn.data.lm.requests import read_facts, read_qa, read_retain
from genunlearn.errors import DataError, SourceNotFound
from tests.fuzz.budget import tries

COLUMNS = [
    "subject", "object", "question", "answer", "id", "relation", "aliases", "paraphrases", "heldout", "group",
    "messages", "prompt", "completion", "instruction", "input", "output", "text", "labels", "conversations", "data", "",
]  # fmt: skip
WORDS = [
    "Marie Curie",
    "Warsaw",
    "Where was Marie Curie born?",
    "7 November 1867",
    "nicht",
    "Варшаве",
    "霍格沃茨",
    "rest",
]
MARKS = ["\n", "Question:", "Answer:", "<think>", "</think>", "<|im_end|>", "[INST]", "###", "'", "-", " ", ".", ","]
texts = st.text(max_size=30) | st.sampled_from(WORDS)
turns = st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), texts | st.none(), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner | turns, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
rows = st.dictionaries(st.sampled_from(COLUMNS) | texts, values | texts, max_size=6)
whole_pairs = st.fixed_dictionaries({"question": texts, "answer": texts | st.integers()}, optional={"aliases": values})
whole_facts = st.fixed_dictionaries(
    {"subject": texts, "object": texts, "question": texts},
    optional={"aliases": st.lists(texts, max_size=2), "heldout": st.lists(texts, max_size=2)},
)
speech = st.lists(texts | st.sampled_from(MARKS), max_size=8).map(" ".join)


def read_all(content: bytes, suffix: str) -> None:
    """Every reader takes the file or refuses it properly."""

    def read_both(path: Path) -> tuple:
        trained, heldout = read_retain(path)
        return trained + heldout

    readers: list[Callable[[Path], tuple]] = [read_facts, read_qa, read_both]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content)
        for read in readers:
            try:
                items = read(path)
            except (DataError, SourceNotFound) as error:
                message = str(error)
                assert message.startswith(str(path)) and message.isprintable(), message
                assert len(message) < 800, len(message)
            else:
                assert items
                for item in items:
                    assert item.question.strip() and item.question.encode()
                    assert getattr(item, "answer", None) != "nan"


@tries(150)
@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ""]))
def test_any_bytes(content: bytes, suffix: str) -> None:
    read_all(content, suffix)


@tries(150)
@given(st.lists(rows | whole_pairs | whole_facts, max_size=3), st.sampled_from(["lines", "array", "object", "pretty"]))
def test_any_json(items: list, form: str) -> None:
    content = {
        "lines": "\n".join(json.dumps(item) for item in items),
        "array": json.dumps(items),
        "object": json.dumps({"data": items}),
        "pretty": json.dumps(items, indent=1),
    }[form]
    read_all(content.encode(), ".jsonl" if form == "lines" else ".json")


@tries(150)
@given(st.text(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt"]))
def test_any_text(content: str, suffix: str) -> None:
    read_all(content.encode("utf-8", "surrogatepass"), suffix)


@tries(150)
@given(
    st.lists(st.sampled_from(COLUMNS) | texts, min_size=1, max_size=6),
    st.lists(st.lists(texts, max_size=6), max_size=3),
    st.sampled_from([(",", ".csv"), (";", ".csv"), ("\t", ".tsv")]),
)
def test_any_table(columns: list[str], cells: list[list[str]], kind: tuple[str, str]) -> None:
    delimiter, suffix = kind
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([columns, *cells])
    read_all(out.getvalue().encode("utf-8", "surrogatepass"), suffix)


@tries(150)
@given(speech, speech, speech)
def test_any_answer_is_judged(text: str, answer: str, question: str) -> None:
    found = leak(text, answer, question=question, aliases=(question,))
    assert found.tells is (found.rule not in {"denied", "echo", "none"})
    thought, said = split_thought(text)
    assert len(thought) + len(said) <= len(text) + 8
    turn = first_turn(text)
    assert turn in text and turn == turn.strip()


@pytest.mark.parametrize("letter", list("aA#<[Qй.'- \n"))
def test_a_long_answer_takes_no_long_time(letter: str) -> None:
    text = letter * 5_000
    first_turn(text), split_thought(text), leak(text, "Hogwarts", question="Where did he study?")
