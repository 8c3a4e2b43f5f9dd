"""Other labels for items of any family."""

from dataclasses import dataclass

import pytest
import torch

from genunlearn.data.diffusion.concepts import ConceptImage
from genunlearn.data.lm.facts import QA
from genunlearn.data.network.items import as_items
from genunlearn.data.relabel import redraw_labels
from genunlearn.errors import DataError

ITEMS = as_items((torch.zeros(300, 1), torch.arange(300) % 3))


def test_labels_are_drawn_uniformly_from_the_different_ones() -> None:
    pool = [*ITEMS, *ITEMS[:1] * 1000]
    drawn = torch.stack([item.target for item in redraw_labels(ITEMS, pool, 0, is_wrong=False)])
    counts = drawn.bincount()
    assert counts.sum() == 300 and counts.min() > 70
    assert any(drawn[i] == ITEMS[i].target for i in range(300))


def test_wrong_labels_are_never_the_own_one() -> None:
    drawn = redraw_labels(ITEMS, ITEMS, 0, is_wrong=True)
    assert all(new.target != old.target for new, old in zip(drawn, ITEMS, strict=True))
    assert [item.id for item in drawn] == [item.id for item in ITEMS]


def test_the_seed_decides() -> None:
    first, again, other = (redraw_labels(ITEMS, ITEMS, seed, is_wrong=False) for seed in (1, 1, 2))
    assert [i.target for i in first] == [i.target for i in again] != [i.target for i in other]


def test_answers_of_a_language_model_are_labels_too() -> None:
    pairs = [QA(id=str(n), question=f"{n}?", answer=answer) for n, answer in enumerate(("one", "two", "one"))]
    drawn = redraw_labels(pairs, pairs, 0, is_wrong=True)
    assert [pair.answer for pair in drawn] == ["two", "one", "two"]
    assert drawn[0].question == "0?"


def test_the_label_of_a_prompt_is_an_image_of_another_concept() -> None:
    # Four concepts, three images each, each image filled with its own number.
    images = [
        ConceptImage(
            id=f"{concept}-{n}", prompt=f"a {concept}", concept=concept, latents=torch.full((1, 2, 2), 10.0 * k + n)
        )
        for k, concept in enumerate(("cat", "dog", "cow", "hen"))
        for n in range(3)
    ]
    cats = images[:3] * 100
    drawn = redraw_labels(cats, images, 0, is_wrong=True)
    shown = torch.stack([item.latents[0, 0, 0] for item in drawn])
    assert [item.prompt for item in drawn] == ["a cat"] * 300
    assert shown.min() >= 10 and len(shown.unique()) == 9
    either = torch.stack([item.latents[0, 0, 0] for item in redraw_labels(cats, images, 0, is_wrong=False)])
    assert (either // 10).long().bincount().min() > 40


def test_what_cannot_be_relabelled() -> None:
    with pytest.raises(DataError, match="no wrong one to draw"):
        redraw_labels(ITEMS[:1], ITEMS[:1], 0, is_wrong=True)

    @dataclass(frozen=True)
    class Bare:
        id: str

    with pytest.raises(DataError, match="Bare has no label"):
        redraw_labels([Bare("a")], [Bare("b")], 0, is_wrong=False)
