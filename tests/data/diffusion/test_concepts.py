"""Requests as people write them, and the training items made of them."""

import pytest

from genunlearn.data.diffusion.concepts import (
    Concept,
    ConceptImage,
    augmented,
    forget_prompts,
    images_of,
    parse_concepts,
    preserve_prompts,
    trajectory_points,
)
from genunlearn.errors import DataError


def test_names_synonyms_and_anchors() -> None:
    erasure = parse_concepts(["digit seven", "Van Gogh | Vincent van Gogh -> art", "doctor -> man & woman"], ["cat"])
    assert erasure.concepts == (
        Concept(name="digit seven"),
        Concept(name="Van Gogh", synonyms=("Vincent van Gogh",), anchors=("art",)),
        Concept(name="doctor", anchors=("man", "woman")),
    )
    assert erasure.preserve == (Concept(name="cat"),)


def test_prompts_of_every_name_in_every_template() -> None:
    erasure = parse_concepts(["Van Gogh | Vincent -> art"], ["Monet"], ["a {} picture", "{}"])
    prompts = forget_prompts(erasure)
    assert [p.prompt for p in prompts] == ["a Van Gogh picture", "Van Gogh", "a Vincent picture", "Vincent"]
    assert [p.concept for p in prompts] == ["Van Gogh", "Van Gogh", "Vincent", "Vincent"]
    assert {p.anchor for p in prompts} == {"a art picture", "art"}
    assert [p.prompt for p in preserve_prompts(erasure)] == ["a Monet picture", "Monet"]


@pytest.mark.parametrize("around", ["a {cat} {}", "{0} {}", "a { {}", "{} }", "{x!y} {}", "{{}}"])
def test_other_braces_of_a_template_are_text(around: str) -> None:
    before, after = around.split("{}")
    (prompt,) = forget_prompts(parse_concepts(["dog {tame} -> art"], templates=[around]))
    assert (prompt.prompt, prompt.anchor) == (f"{before}dog {{tame}}{after}", f"{before}art{after}")
    (_, further) = augmented([prompt], [f"also {around}"])
    assert further.prompt == f"also {before}dog {{tame}}{after}"


def test_no_anchor_is_the_empty_prompt() -> None:
    (prompt,) = forget_prompts(parse_concepts(["cat"], templates=["a photo of {}"]))
    assert (prompt.anchor, prompt.anchor_concept) == ("", "")


def test_several_anchors_are_several_items() -> None:
    prompts = forget_prompts(parse_concepts(["doctor -> man & woman"]))
    assert [(p.prompt, p.anchor) for p in prompts] == [("doctor", "man"), ("doctor", "woman")]
    assert len({p.id for p in prompts}) == 2


@pytest.mark.parametrize(
    ("concepts", "preserve", "templates", "message"),
    [
        ([], [], ["{}"], "no concept: name at least one"),
        (["  "], [], ["{}"], "an empty name"),
        (["cat | "], [], ["{}"], "an empty name"),
        (["-> art"], [], ["{}"], "an empty name"),
        (["cat", "Cat"], [], ["{}"], "concept 'Cat' is named twice: name it once"),
        (["cat | feline"], ["Feline"], ["{}"], "'Feline' is both to be forgotten and to be preserved"),
        (["cat"], ["dog | CAT"], ["{}"], "'CAT' is both to be forgotten and to be preserved"),
        (["cat"], [], ["a photo"], "template 'a photo': it has to have one {} in the place of a concept"),
        (["cat"], [], ["{} and {}"], "it has to have one {}"),
        (["cat"], [], [], "no template: give at least one"),
    ],
)
def test_bad_requests(concepts: list[str], preserve: list[str], templates: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message.replace("{}", r"\{\}")):
        parse_concepts(concepts, preserve, templates)


def test_images_go_round_the_prompts() -> None:
    prompts = forget_prompts(parse_concepts(["cat", "dog"]))
    images = images_of(prompts, 3, seed=10, steps=20, guidance=2.0)
    assert [(i.prompt, i.seed) for i in images] == [("cat", 10), ("dog", 11), ("cat", 12)]
    assert {(i.steps, i.guidance) for i in images} == {(20, 2.0)}
    assert len({i.id for i in images}) == 3
    assert images_of([], 3, seed=0) == []


def test_given_images_are_taken_as_they_are() -> None:
    given = [ConceptImage(id="1", prompt="cat"), ConceptImage(id="2", prompt="cat")]
    assert images_of(given, 7, seed=0) == given


def test_points_of_all_trajectories_come_step_by_step() -> None:
    prompts = forget_prompts(parse_concepts(["cat", "dog"]))
    points = trajectory_points(prompts, 2, seed=5, steps=3)
    assert [(p.prompt, p.seed, p.step) for p in points] == [
        ("cat", 5, 0), ("dog", 6, 0), ("cat", 5, 1), ("dog", 6, 1), ("cat", 5, 2), ("dog", 6, 2),
    ]  # fmt: skip
    assert len({p.id for p in points}) == 6
