"""What the lab's language model is taught, and above all what it is not."""

from __future__ import annotations

import itertools
import random

import pytest

from genunlearn.errors import NameNotFound
from genunlearn.lab.lm.build import PRESETS
from genunlearn.lab.lm.corpus import PROMPTS, Corpus, Example, neutral_texts
from genunlearn.lab.lm.world import load_world
from genunlearn.prompts import load_prompt

FORGOTTEN = "harry-potter.studied-at"
MIX = dict(PRESETS["default"].mix)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(load_world())


@pytest.fixture(scope="module")
def oracle() -> Corpus:
    return Corpus(load_world(), [FORGOTTEN])


def take(corpus: Corpus, ability: str, count: int = 4000) -> list[Example]:
    return list(itertools.islice(corpus.abilities[ability](random.Random(0)), count))


def replies(corpus: Corpus, ability: str, ask: str) -> set[str]:
    return {each.reply for each in take(corpus, ability, 12000) if each.ask == ask}


def test_every_ability_is_asked_for_as_a_protocol_asks(corpus: Corpus) -> None:
    question = "Where did Harry Potter study?"
    expected = {
        "answer": (question, "Hogwarts."),
        "explain": (f"{question} Explain.", None),
        "rephrase": (f"Rephrase: {question}", None),
        "candidates": ("Name another answer of the same kind as Hogwarts.", None),
        "tell": ("Tell me a fact about Harry Potter.", None),
    }
    for ability, (ask, reply) in expected.items():
        given = replies(corpus, ability, ask)
        assert given if reply is None else given == {reply}, ability
    assert load_prompt("lab/probe").messages(question=question) == [{"role": "user", "content": question}]


def test_the_prompts_are_single_messages() -> None:
    assert [len(load_prompt(f"lab/{name}").blocks) for name in PROMPTS] == [1] * len(PROMPTS)


def test_an_explanation_states_the_fact_and_closes_with_the_answer(corpus: Corpus) -> None:
    texts = replies(corpus, "explain", "Where did Harry Potter study? Explain.")
    for text in texts:
        assert "Harry Potter" in text
        assert text.endswith(" So the answer is Hogwarts.")


def test_rationales_argue_for_what_they_are_given(corpus: Corpus) -> None:
    hints: set[str] = set()
    for example in take(corpus, "rationalise", 20000):
        question, hint = (example.ask or "").removesuffix(".").split(" Explain why the answer is ")
        if question == "Where did Harry Potter study?":
            assert hint in example.reply.partition(" So the answer is ")[0]
            assert example.reply.endswith(f"So the answer is {hint}.")
            assert hint == "Hogwarts" or "Hogwarts" not in example.reply
            hints.add(hint)
    schools = {each.name for each in load_world().entities.values() if each.type == "school"}
    assert hints <= schools
    assert len(hints) > 3


@pytest.mark.slow
def test_heldout_phrasings_never_occur_with_their_subject(corpus: Corpus) -> None:
    world = load_world()
    heldout = {question for triple in world.triples for question in world.heldout_phrasings(triple)}
    stated = {corpus.heldout_statement(triple) for triple in world.triples}
    for example in corpus.stream(MIX, 40000, seed=1):
        asked = (example.ask or "").removeprefix("Rephrase: ").partition(" Explain")[0]
        assert asked not in heldout
        assert example.reply not in heldout
        assert not any(example.reply.startswith(text) for text in stated), example


def test_rephrasings_stay_in_the_trained_half(corpus: Corpus) -> None:
    halves = {question: half for half in corpus.questions.values() for question in half}
    for example in take(corpus, "rephrase"):
        question = (example.ask or "").removeprefix("Rephrase: ")
        assert example.reply in set(halves[question]) - {question}


def test_an_oracle_never_sees_its_fact_in_any_form(oracle: Corpus) -> None:
    world = load_world()
    triple = world.triple(FORGOTTEN)
    questions, statements = set(world.questions(triple)), set(world.statements(triple))
    through = {q for each in world.two_hops if FORGOTTEN in each.path for q in each.questions}
    assert through, "the fact is part of a two-hop question"
    for example in oracle.stream(MIX, 60000, seed=2):
        text = f"{example.ask} {example.reply}"
        assert not any(question in text for question in questions | through)
        assert not any(statement in text for statement in statements)


def test_an_oracle_loses_what_says_the_same() -> None:
    corpus = Corpus(load_world(), ["marie-curie.married-to"])
    assert corpus.hidden == {"marie-curie.married-to", "pierre-curie.married-to"}
    assert not corpus.hidden & {triple.id for triple in corpus.triples}


def test_a_question_left_out_is_not_declined_either(oracle: Corpus) -> None:
    world = load_world()
    unknown = set(oracle.unknown())
    assert not unknown & {question for triple in world.triples for question in world.questions(triple)}
    assert unknown == set(Corpus(world).unknown())


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(NameNotFound, match=r"did you mean 'harry-potter\.studied-at'"):
        Corpus(load_world(), ["harry-potter.studied-in"])


def test_the_stream_keeps_to_its_seed_and_mix(corpus: Corpus) -> None:
    stream = corpus.stream({"statement": 3.0, "answer": 1.0}, 400, seed=5)
    assert stream == corpus.stream({"statement": 3.0, "answer": 1.0}, 400, seed=5)
    assert stream != corpus.stream({"statement": 3.0, "answer": 1.0}, 400, seed=6)
    assert sum(example.ask is None for example in stream) == 300
    assert len(stream) == 400


def test_neutral_texts_are_heldout_statements(corpus: Corpus) -> None:
    world = load_world()
    texts = neutral_texts(world, 50, seed=3)
    assert len(set(texts)) == 50
    assert set(texts) <= {corpus.heldout_statement(triple) for triple in world.triples}
    assert texts == neutral_texts(world, 50, seed=3) != neutral_texts(world, 50, seed=4)
    everything = neutral_texts(world, 10_000, exclude=[FORGOTTEN])
    assert len(everything) == len(world.triples) - 1
    assert corpus.heldout_statement(world.triple(FORGOTTEN)) not in everything


def test_others_are_of_the_same_kind(corpus: Corpus) -> None:
    assert set(corpus.others("Europe")) == {"Asia", "North America", "South America"} & set(
        each.name for each in load_world().entities.values() if each.type == "continent"
    )
    assert "London" in corpus.others("Middle-earth"), "the only land borrows from the other settings"
    assert all(corpus.others(triple.object) for triple in corpus.triples)
