"""One fact under attack: a phrasing that unlearning may use, one that is held out, and what surrounds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genunlearn.contracts import Splits
from genunlearn.data.lm.facts import QA, Scope
from tests.tiny_models import TAUGHT
from tests.world import World

SCHOOLS = tuple(f"{letter}lm" for letter in "ABCDEFGIJKLMNOPQRSTUVWXYZ")
"""Every one begins with another token."""


def qa(number: int, group: str, answer: str | None = None) -> QA:
    question, true = TAUGHT[number]
    return QA(id=f"{group}{number}", question=question, answer=answer or true, group=group, fact=f"{group}{number}")


SUMS = tuple(
    QA(id=f"sum{n}", question=f"What is {n} and {n}?", answer=f"{2 * n}.", group="rest", fact=f"sum{n}")
    for n in range(36)
)


@pytest.fixture
def splits(world: World) -> Splits:
    """One fact with a phrasing that unlearning may use and one that is held out, and three others around it."""
    scope = Scope(
        facts=(replace(world.splits.context.facts[0], relation="studied at"),),
        retain=(qa(2, "same_relation"), qa(3, "same_relation"), qa(4, "same_relation"), qa(4, "rest"), *SUMS),
        measured={
            "forget": [qa(0, "forget")],
            "forget_heldout": [qa(1, "forget_heldout")],
            "candidates": [QA(id=name, question="", answer=f"{name}.") for name in SCHOOLS],
            "reverse": [QA(id="back", question="Hogwarts is the school of", answer="Harry Potter.")],
            "two_hop_through": [QA(id="hop", question="Where is the school of Harry Potter?", answer="Scotland.")],
            "other_languages": [QA(id="de", question="Wo war Harry Potter?", answer="Hogwarts.")],
        },
    )
    return Splits(forget=world.splits.forget, retain=scope.retain, context=scope)
