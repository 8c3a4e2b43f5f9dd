"""Folders in the shape of benchmarks, small enough to be written in a test; tiny models know what they ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.records import write_jsonl
from tests.tiny_models import TAUGHT

Rows = Sequence[Mapping[str, Any]]
FORGET, KEPT, WORLD = TAUGHT[:2], TAUGHT[2:4], TAUGHT[4:]
WRONG = ["Poland.", "Scotland."]


def pairs(asked: Sequence[tuple[str, str]], question: str = "question", answer: str = "answer") -> Rows:
    """Plain pairs, under the names of columns that a benchmark has."""
    return [{question: text, answer: told} for text, told in asked]


def contrasts(asked: Sequence[tuple[str, str]], *, paraphrased: bool = True) -> Rows:
    """Pairs with wrong answers, as TOFU has them."""
    return [
        {"question": text, "answer": told, "perturbed_answer": WRONG}
        | ({"paraphrased_answer": f"It is {told}", "paraphrased_question": text} if paraphrased else {})
        for text, told in asked
    ]


FOLDERS: dict[str, dict[str, Rows]] = {
    "tofu": {
        "forget10": pairs(FORGET),
        "retain90": pairs(KEPT),
        "forget10_perturbed": contrasts(FORGET),
        "retain_perturbed": contrasts(KEPT),
        "real_authors_perturbed": contrasts(WORLD, paraphrased=False),
        "world_facts_perturbed": contrasts(WORLD, paraphrased=False),
    },
    "knowundo": {
        "unlearn_train": pairs(FORGET[:1], "text", "labels"),
        "unlearn_val": pairs(FORGET[1:], "text", "labels"),
        "retention_train": pairs(KEPT, "text", "labels"),
        "retention_val": pairs(WORLD, "text", "labels"),
    },
    "wpu": {
        "forget_2_1": pairs(FORGET),
        "forget_2_1_hard_retain": pairs(KEPT[:1]),
        "general_retain": pairs(WORLD),
        "retain": pairs(KEPT[1:]),
    },
    "muse": {
        "raw/forget": [{"text": "Harry Potter studied at Hogwarts."}],
        "raw/retain1": [{"text": "Marie Curie was born in Warsaw."}],
        "verbmem/forget": [{"prompt": "Harry Potter studied", "gt": "at Hogwarts."}],
        "knowmem/forget_qa": pairs(FORGET),
        "knowmem/retain_qa": pairs(KEPT),
        "privleak/forget": [{"text": "Harry Potter studied at Hogwarts."}, {"text": "Hogwarts is a school."}],
        "privleak/holdout": [{"text": "Marie Curie was born in Warsaw."}, {"text": "Goethe wrote Faust."}],
    },
    "lume": {
        "forget_train": [{"id": "a", "task": "Task1", **row} for row in pairs(FORGET[:1], "input", "output")],
        "forget_validation": [{"id": "b", "task": "Task1", **row} for row in pairs(FORGET[1:], "input", "output")],
        "retain_train": [{"id": "c", "task": "Task1", **row} for row in pairs(KEPT[:1], "input", "output")],
        "retain_validation": [{"id": "d", "task": "Task1", **row} for row in pairs(KEPT[1:], "input", "output")],
    },
    "rwku": {
        "forget_level1": pairs([("Harry Potter studied at ___.", "Hogwarts.")], "query"),
        "forget_level2": pairs(FORGET, "query"),
        "forget_level3": pairs([("Answer as a friend: where did he study?", "Hogwarts.")], "query"),
        "neighbor_level1": pairs([("Marie Curie was born in ___.", "Warsaw.")], "query"),
        "neighbor_level2": pairs(KEPT, "query"),
    },
}
"""The files of each benchmark."""


def write_benchmark(name: str, folder: Path) -> Path:
    """Write the files of a benchmark into `folder`."""
    for file, rows in FOLDERS[name].items():
        path = folder / f"{file}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, rows)
    return folder


def write_as_the_hub_does(name: str, folder: Path) -> Path:
    """The same in Parquet, each file cut into two parts where it has two rows."""
    from datasets import Dataset

    for file, rows in FOLDERS[name].items():
        parts = [part for part in (rows[:1], rows[1:]) if part]
        for number, part in enumerate(parts):
            path = folder / f"{file}-{number:05}-of-{len(parts):05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(part).to_parquet(path)
    return folder
