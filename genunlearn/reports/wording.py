"""What models, methods and metrics are called for readers, and which way each number should move."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from genunlearn.errors import MismatchError, NameNotFound
from genunlearn.records import Result, RunRecord
from genunlearn.registry import DOMAINS, GENERATORS, LEARNERS, METHODS, VALUATIONS, family_of

ORIGINAL, UNLEARNED, ORACLE, DECOYS = "original", "unlearned", "oracle", "decoys"


class Goal(StrEnum):
    """Which way a number should move."""

    DOWN = "should go"
    UP = "should stay"
    NONE = "no target of its own"


@dataclass(frozen=True)
class Words:
    """A name for readers and one sentence on what it is."""

    label: str
    meaning: str = ""


TARGET_WORDS = {
    ORIGINAL: Words("before", "the original model"),
    UNLEARNED: Words("after", "the unlearned model"),
    ORACLE: Words("oracle", "a model trained again without the forget data"),
}


def target_words(target: str) -> Words:
    """What a measured model is called; a method goes by its paper's name."""
    return TARGET_WORDS.get(target) or Words(method_label(target))


def model_label(target: str) -> str:
    """What a measured model is called at the head of a row or column."""
    return humanise(target_words(target).label, capital=True)


def words_in(table: Mapping[str, Words], name: str) -> Words:
    """What a metric is called, by its family's table; its name spaced out where the table lacks it."""
    return table.get(name) or Words(humanise(name, capital=True))


def goal_of(result: Result) -> Goal:
    """Which way this number should move, by the metric's own direction."""
    if result.higher_is_better is None:
        return Goal.NONE
    return Goal.UP if result.higher_is_better else Goal.DOWN


def method_label(name: str, family: str | None = None) -> str:
    """A method's name in its paper's casing, as its class is named; `name` itself for one that is not known for sure.

    Args:
        name: In any spelling.
        family: Family of models that it works on; a name may mean another method in each.
    """
    for table in (METHODS, LEARNERS, VALUATIONS, GENERATORS):
        with suppress(NameNotFound, MismatchError):
            return table.line(name, family).target.rpartition(":")[2]
    return name


def humanise(name: str, *, capital: bool = False) -> str:
    """``same_object`` as ``same object``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:] if capital else words


OWN_SPELLING = {"lora": "LoRA", "nf4": "NF4"}
"""Words in names of attacks that readers know otherwise."""


def spoken_attack(name: str, *, capital: bool = False) -> str:
    """Attack and strength, such as ``quantised_reload, nf4``, in words."""
    spoken = re.sub(r"\b(lora|nf4)\b", lambda found: OWN_SPELLING[found[0]], humanise(name))
    return spoken[:1].upper() + spoken[1:] if capital else spoken


def spoken_reason(reason: str) -> str:
    """The reason of a verdict as a sentence begins."""
    return spoken_attack(reason, capital=True)


def rules_sentence(tolerance: float | None) -> str:
    """What verdicts go by: test, correction, level and tolerance."""
    gone = "" if tolerance is None else f"; gone: the gap to the control is at most {tolerance:g} (upper 95% limit)"
    return (
        "Recovered: more often than from the control, by Fisher's exact test, one-sided, with Holm's correction over "
        f"all attacks, at 5%{gone}."
    )


# ---- what the record says of the run ----------------------------------------------------------------------------


def run_method(record: RunRecord) -> str:
    """Name of the record's method for readers."""
    name, domain = run_section(record, "method").get("name"), str(record.config.get("domain", ""))
    family = family_of(domain) if domain in DOMAINS else None
    return method_label(name, family) if name else "unnamed method"


def run_model(record: RunRecord) -> str:
    """Hub id, folder or lab name of the record's model."""
    return run_section(record, "model").get("source") or "unnamed model"


def request_label(record: RunRecord) -> str:
    """What was to be forgotten, in a few words."""
    for kind in ("concepts", "classes"):
        if names := record.request.get(kind):
            return ", ".join(map(str, names))
    return str(run_section(record, "request").get("forget") or "Unnamed request")


def run_section(record: RunRecord, name: str) -> dict[str, Any]:
    """A section of the record's configuration; empty where it has none."""
    section = record.config.get(name)
    return section if isinstance(section, dict) else {}
