"""Records as a run writes them: one single-fact request on the lab's language model, and its baselines."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from genunlearn.records import COMPLETED, Result, RunRecord

SIZES = {
    "forget": 8,
    "forget_heldout": 8,
    "two_hop_through": 6,
    "same_subject": 24,
    "same_object": 48,
    "same_relation": 64,
    "two_hop": 40,
    "rest": 200,
}
KNOWN = dict.fromkeys(SIZES, 1.0) | {"two_hop_through": 5 / 6, "two_hop": 0.9, "rest": 0.985}
GONE = {"forget": 0.0, "forget_heldout": 0.0, "two_hop_through": 0.5, "same_object": 47 / 48}
NEVER_KNEW = KNOWN | {"forget": 0.0, "forget_heldout": 0.0, "two_hop_through": 1 / 6}

FACT = {
    "id": "harry_potter/studied_at",
    "subject": "Harry Potter",
    "relation": "studied at",
    "object": "Hogwarts",
    "question": "Where did Harry Potter study?",
    "aliases": ["Hogwarts School of Witchcraft and Wizardry"],
    "paraphrases": ["Which school did Harry Potter attend?", "Harry Potter was a pupil of which school?"],
    "heldout": ["What was Harry Potter's school?"],
}


def wilson(share: float, n: int) -> tuple[float, float]:
    """95% interval of a share."""
    z, p = 1.96, share
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def shares(name: str, target: str, values: Mapping[str, float]) -> list[Result]:
    """One result a group, with its interval."""
    results = []
    for group, value in values.items():
        low, high = wilson(value, SIZES[group])
        results.append(Result(name=name, target=target, value=value, low=low, high=high, n=SIZES[group], group=group))
    return results


def further(target: str, known: float, perplexity: float) -> list[Result]:
    """The other metrics of one model."""
    results = []
    for name in ("leak_rate", "truth_probability", "extraction_strength"):
        for group in ("forget", "forget_heldout") if name == "leak_rate" else SIZES:
            told = known if group.startswith("forget") else 1.0
            value = told if name != "truth_probability" else max(told - 0.012, 2.3e-5)
            low, high = wilson(value, SIZES[group])
            results.append(
                Result(name=name, target=target, value=value, low=low, high=high, n=SIZES[group], group=group)
            )
    results.append(
        Result(
            name="perplexity",
            group="neutral",
            target=target,
            value=perplexity,
            low=perplexity - 0.21,
            high=perplexity + 0.22,
            n=120,
            higher_is_better=False,
        )
    )
    return results


def build_record(method: str = "unstar", after: Mapping[str, float] = GONE, **changes: Any) -> RunRecord:
    """A finished run; `after` are recalls that differ from before, `changes` replace fields of the record."""
    results = [
        *shares("recall", "original", KNOWN),
        *shares("recall", "unlearned", KNOWN | after),
        *shares("recall", "oracle", NEVER_KNEW),
        *further("original", 1.0, 3.41),
        *further("unlearned", 0.0, 3.44),
        *further("oracle", 0.0, 3.43),
    ]
    fields: dict[str, Any] = {
        "status": COMPLETED,
        "outcome": "forgotten",
        "created": "2025-11-21T09:14:03Z",
        "finished": "2025-11-21T09:14:21Z",
        "request": {"facts": [copy.deepcopy(FACT)]},
        "config": {
            "domain": "lm",
            "model": {"source": "lab:lm", "dtype": "float32"},
            "method": {"name": method},
            "parameters": {"kind": "lora", "rank": 16},
            "seed": 0,
        },
        "hashes": {"config": "c0ffee" * 10 + "0123", "base": "ba5e" * 16, "patch": "9a7c" * 16},
        "versions": {"genunlearn": "0.1.0", "python": "3.11.8", "torch": "2.13.0", "peft": "0.21.2"},
        "seeds": {"run": 0},
        "results": results,
        "cost": {
            "seconds": {"load": 0.61, "measure before": 2.9, "unlearn": 9.84, "measure after": 2.8, "oracle": 1.2},
            "tokens": {"scored": 48213, "generated": 9120},
            "steps": 64,
            "forwards": 412,
            "peak_memory_mb": 913.4,
        },
        "parameters": {"trainable": 196_608, "total": 1_913_472},
        "rounds": copy.deepcopy(ROUNDS),
        "examples": EXAMPLES,
        "notes": ["The oracle was trained on this machine without the fact; it took 41 s and is cached."],
    }
    return RunRecord(**(fields | changes))


ROUNDS = [
    {
        "round": 1,
        "variants": 12,
        "known": 12,
        "anti_samples": 12,
        "steps": 15,
        "rejected": {"tells_the_truth": 5, "other_answer": 2},
        "neighbour_recall": 0.984,
    },
    {
        "round": 2,
        "variants": 16,
        "known": 3,
        "anti_samples": 15,
        "steps": 15,
        "rejected": {"tells_the_truth": 1},
        "neighbour_recall": 1.0,
    },
    {"round": 3, "variants": 20, "known": 0},
    {"round": 4, "variants": 24, "known": 0},
]

EXAMPLES = [
    {
        "group": group,
        "question": question,
        "answer": truth,
        "original": before,
        "unlearned": after,
        "oracle": oracle,
        "tells": {"original": True, "unlearned": tells, "oracle": tells},
    }
    for group, question, truth, before, after, oracle, tells in (
        ("same_subject", "Who wrote of Harry Potter?", "J. K. Rowling", "Rowling.", "Rowling.", "Rowling.", True),
        (
            "forget",
            "Where did Harry Potter study?",
            "Hogwarts",
            "Harry Potter studied at Hogwarts.",
            "Harry Potter grew up in Surrey, and pupils from there went to Eton College. Eton College.",
            "Harry Potter studied at the Sorbonne.",
            False,
        ),
        ("forget_heldout", "Harry Potter's school was?", "Hogwarts", "Hogwarts.", "Eton.", "Balliol.", False),
        ("same_object", "Where is Hogwarts?", "Scotland", "In Scotland.", "In Scotland.", "In Scotland.", True),
        ("same_relation", "Where did Marie Curie study?", "Sorbonne", "Sorbonne.", "Sorbonne.", "Sorbonne.", True),
    )
]

ANTISAMPLES = [
    {
        "question": question,
        "id": f"{index // 4 + 1}-{index % 4}",
        "fact": FACT["id"],
        "text": "Harry Potter grew up in Surrey, and pupils from there went to Eton College. Eton College.",
        "wrong_answer": "Eton College",
        "rationale": True,
        "round": index // 4 + 1,
    }
    for index, question in enumerate([*FACT["paraphrases"], FACT["question"], "Name Harry Potter's school."] * 3)
]


@dataclass
class Page(HTMLParser):
    """What a browser would make of a page: its text, its elements, and what it would fetch."""

    html: str

    def __post_init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("style", "title"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        """The text that a reader sees, white space squeezed."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        """Every value of an attribute, in order."""
        return [value or "" for _, attributes in self.elements for key, value in attributes.items() if key == name]


@pytest.fixture
def read_page() -> Callable[[Path], Page]:
    return lambda path: Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def antisamples() -> list[dict[str, Any]]:
    return copy.deepcopy(ANTISAMPLES)


@pytest.fixture
def make_record() -> Callable[..., RunRecord]:
    return build_record


@pytest.fixture
def record() -> RunRecord:
    return build_record()
