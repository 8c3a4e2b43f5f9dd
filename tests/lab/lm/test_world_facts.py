"""The world that is read from a file of facts which a model was found to know."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from genunlearn.data.lm.telling import tells
from genunlearn.errors import DataError, NameNotFound, SourceNotFound
from genunlearn.lab.lm import world_facts
from genunlearn.lab.lm.world_facts import load_world_facts, read


@pytest.fixture(autouse=True)
def unread() -> Iterator[None]:
    load_world_facts.cache_clear()
    yield
    load_world_facts.cache_clear()


def row(subject: str, relation: str, told: str, **more) -> dict:
    asked = {
        kind: [{"question": f"{subject}, {relation} {kind} {n}?", "answer": told} for n in range(4)] for kind in KINDS
    }
    names = {"id": f"{subject}.{relation}".casefold(), "subject": subject, "relation": relation, "object": told}
    return names | {"aliases": []} | asked | more


KINDS = ("questions", "heldout")
RELATIONS = [
    {
        "relation": name,
        "synonyms": ["is"],
        "types": ["thing", "thing"],
        "statement": "{subject}: {object}",
        "symmetric": s,
    }
    for name, s in (("capital", False), ("language", False), ("opposite", True))
]
SMALL = {
    "relations": RELATIONS,
    "facts": [
        row("Chile", "capital", "Santiago", aliases=["Santiago de Chile"]),
        row("Chile", "language", "Spanish"),
        row("Peru", "language", "Spanish"),
        row("Netherlands", "capital", "Amsterdam", article="the"),
        row("hot", "opposite", "cold"),
        row("cold", "opposite", "hot"),
    ],
}


def test_a_fact_has_the_phrasings_that_the_model_answers():
    world = read(SMALL)
    fact = world.fact("chile | capital | santiago de chile")
    assert (fact.id, fact.aliases, fact.object_type) == ("chile.capital", ("Santiago de Chile",), "thing")
    assert fact.phrasings == tuple(f"Chile, capital questions {n}?" for n in range(4))
    assert fact.heldout == tuple(f"Chile, capital heldout {n}?" for n in range(4))
    with pytest.raises(NameNotFound, match="name = 'Chili' is not in the lab's world; did you mean 'Chile'"):
        world.fact("Chili | capital | Santiago")


def test_neighbours_are_told_apart():
    world = read(SMALL)
    around = world.neighbours([world.fact("chile.language")])
    assert [triple.id for triple in around.same_subject] == ["chile.capital"]
    assert [triple.id for triple in around.same_object] == ["peru.language"]
    assert [triple.id for triple in around.rest] == ["netherlands.capital", "hot.opposite", "cold.opposite"]
    # Who knows that cold is the opposite of hot knows the other direction: it is no neighbour.
    opposite = world.neighbours([world.fact("hot.opposite")])
    assert "cold.opposite" not in [t.id for group in (opposite.same_object, opposite.rest) for t in group]


def test_statements_are_plain_and_leave_out_what_is_forgotten():
    world = read(SMALL)
    assert "the Netherlands: Amsterdam".capitalize() in [text.capitalize() for text in world.neutral_texts(9)]
    assert len(world.neutral_texts(9)) == 6
    assert not any("Santiago" in text for text in world.neutral_texts(9, exclude=["chile.capital"]))


def test_a_damaged_file_is_a_plain_error(tmp_path, monkeypatch):
    (tmp_path / "facts.json").write_text('{"facts": [')
    monkeypatch.setattr(world_facts, "FILE", tmp_path / "facts.json")
    with pytest.raises(DataError, match=r"cannot be read .*; reinstall genunlearn"):
        load_world_facts()


def test_a_missing_file_says_what_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(world_facts, "FILE", tmp_path / "facts.json")
    with pytest.raises(SourceNotFound, match=r"facts.json: not there: `python scripts/bench/world_facts/make.py`"):
        load_world_facts()


def test_the_shipped_facts_are_many_and_answered_with_the_truth_in_every_phrasing():
    world, shipped = load_world_facts(), json.loads(world_facts.FILE.read_text(encoding="utf-8"))
    told = Counter(triple.relation for triple in world.triples)
    assert len(world.triples) >= 120 and sum(count >= 5 for count in told.values()) >= 8
    for row in shipped["facts"]:
        fact = world.fact(row["id"])
        assert len(fact.phrasings) >= 4 and len(fact.heldout) >= 4
        assert not set(fact.phrasings) & set(fact.heldout)
        asked = [*row["questions"], *row["heldout"]]
        assert [each for each in asked if not tells(each["answer"], fact, each["question"])] == []


def test_a_shipped_fact_has_neighbours_that_stay():
    world = load_world_facts()
    scope = world.scope([world.fact("France | capital | Paris")])
    assert {item.group for item in scope.retain} >= {"same_subject", "same_relation", "rest"}
    assert not any("Paris" in item.answer for group in ("same_relation", "rest") for item in scope.measured[group])
