"""Concepts and prompts of the lab's images."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from genunlearn.errors import NameNotFound
from genunlearn.lab.diffusion.digit_prompts import (
    OBJECTS,
    STYLES,
    Concept,
    Prompt,
    asked_of,
    concept_of,
    concepts,
    neighbours,
    prompt_grid,
    prompt_of,
    prompts_for,
    remaining,
    training_prompt,
)

SEVEN, RED = Concept("object", "seven"), Concept("style", "red")


@pytest.fixture(scope="module")
def trained() -> set[str]:
    rng = random.Random(0)
    return {training_prompt(name, style, rng) for name in OBJECTS for style in STYLES for _ in range(1000)}


@pytest.mark.parametrize("name", ["digit seven", "seven", "7", "Digit 7", "the number seven"])
def test_names_of_a_digit(name: str) -> None:
    assert concept_of(name) == SEVEN


@pytest.mark.parametrize("name", ["style red", "red", "red style", "Scarlet"])
def test_names_of_a_style(name: str) -> None:
    assert concept_of(name) == RED


@pytest.mark.parametrize("name", ["digit", "digit seven red", "eleven", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(NameNotFound, match="unknown concept of lab:diffusion"):
        concept_of(name)


def test_a_misspelt_name_finds_its_neighbour() -> None:
    with pytest.raises(NameNotFound, match="did you mean 'digit seven'"):
        concept_of("digit sevn")


def test_every_concept_is_found_by_its_label_and_has_its_class() -> None:
    assert [concept_of(concept.label) for concept in concepts()] == list(concepts())
    assert [concept.index for concept in concepts("style")] == list(range(len(STYLES)))
    assert (SEVEN.text, RED.text) == ("digit seven", "red")


def test_neighbours_are_the_others_of_a_kind() -> None:
    assert {concept.name for concept in neighbours(RED)} == set(STYLES) - {"red"}
    assert {concept.kind for concept in neighbours(SEVEN)} == {"object"}
    assert len(neighbours(SEVEN)) == 9


@pytest.mark.parametrize(
    ("object", "style", "text"),
    [
        ("seven", "red", "a red digit seven"),
        ("two", "outlined", "an outlined digit two"),
        ("two", None, "a digit two"),
        (None, "inverted", "an inverted digit"),
        (None, None, "a digit"),
    ],
)
def test_the_plainest_prompt(object: str | None, style: str | None, text: str) -> None:
    assert prompt_of(object, style) == Prompt(text, object, style)


def test_the_plainest_prompt_holds_the_concepts_words() -> None:
    for concept in concepts():
        assert concept.text in prompt_of(**{concept.kind: concept.name}).text


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("concept", [SEVEN, RED])
def test_prompts_for_a_concept_cross_it_with_the_other_kind_evenly(concept: Concept, held_out: bool) -> None:
    prompts = prompts_for(concept, held_out=held_out)
    assert all(prompt.names(concept) for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    counts = Counter(prompt.style if concept.kind == "object" else prompt.object for prompt in prompts)
    assert counts.keys() == set(STYLES if concept.kind == "object" else OBJECTS)
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("held_out", [False, True])
def test_the_grid_names_every_pair_once(held_out: bool) -> None:
    pairs = [(prompt.object, prompt.style) for prompt in prompt_grid(held_out=held_out)]
    assert sorted(pairs) == sorted((name, style) for name in OBJECTS for style in STYLES)


def test_usual_prompts_occur_in_training_and_held_out_ones_never(trained: set[str]) -> None:
    for concept in concepts():
        assert {prompt.text for prompt in prompts_for(concept)} <= trained
        assert not {prompt.text for prompt in prompts_for(concept, held_out=True)} & trained
    assert not {prompt.text for prompt in prompt_grid(held_out=True)} & trained


def test_held_out_prompts_use_words_of_training_alone(trained: set[str]) -> None:
    known = {word for prompt in trained for word in re.findall(r"\w+", prompt)}
    asked = {prompt.text for concept in concepts() for prompt in prompts_for(concept, held_out=True)}
    assert {word for prompt in asked for word in re.findall(r"\w+", prompt)} <= known


def test_held_out_prompts_use_synonyms(trained: set[str]) -> None:
    texts = [prompt.text for prompt in prompts_for(SEVEN, held_out=True)]
    assert any("7" in text for text in texts) and any("scarlet" in text for text in texts)


def test_some_training_prompts_are_dropped_and_some_leave_a_kind_open() -> None:
    rng = random.Random(0)
    prompts = [training_prompt("seven", "red", rng) for _ in range(4000)]
    names_digit = [bool(re.search(r"\b(seven|7)\b", prompt)) for prompt in prompts]
    names_style = [bool(re.search(r"\b(red|scarlet)\b", prompt)) for prompt in prompts]
    assert prompts.count("") / len(prompts) == pytest.approx(0.12, abs=0.02)
    for digit, style, share in ((True, False, 0.08), (False, True, 0.08), (True, True, 0.68)):
        counted = sum((d, s) == (digit, style) for d, s in zip(names_digit, names_style, strict=True))
        assert counted / len(prompts) == pytest.approx(share, abs=0.03)


def test_what_remains_without_concepts() -> None:
    assert len(remaining([])) == 60
    left = remaining([SEVEN, RED])
    assert len(left) == 9 * 5
    assert all(name != "seven" and style != "red" for name, style in left)
    assert remaining(concepts("style")) == ()


def test_what_prompts_ask_for_by_kind() -> None:
    asked = asked_of([prompt_of("seven", "red"), prompt_of(style="blue")])
    assert asked == {"object": ["seven", None], "style": ["red", "blue"]}
