"""What an answer looks like, and what could stand in its place."""

from __future__ import annotations

import pytest

from genunlearn.data.lm.shapes import like, shape

SHAPES = {
    "Paris": "name",
    "William Shakespeare": "name",
    "Leonardo da Vinci": "name",
    "the Sorbonne": "name",
    "7 November 1867": "date",
    "November 1867": "date",
    "1867": "date",
    "three": "number",
    "twenty-one": "number",
    "300 km": "number",
    "Au": "symbol",
    "yen": "word",
    "cold": "word",
    "sodium chloride": "word",
    "May": "symbol",  # a month alone is no date
    "a tone": "word",  # "one" within a word is no number
}


@pytest.mark.parametrize("text", SHAPES)
def test_shapes(text):
    assert shape(text) == SHAPES[text]


@pytest.mark.parametrize(
    ("candidate", "truth", "expected"),
    [
        ("Rome", "Paris", "Rome"),
        ("six", "Hogwarts", None),  # the number of the prompt's own example for a school
        ("carrot", "Paris", None),
        ("Mammal", "amphibian", "mammal"),  # a list begins its lines with a capital letter
        ("DNA", "amphibian", None),
        ("seven", "three", "seven"),
        ("Ag", "Au", "Ag"),
        ("Silver", "Au", None),
        ("1903", "1867", "1903"),
        ("The House by the River Thames", "Paris", None),  # far longer
        ("Rome", "cold", "rome"),
    ],
)
def test_what_is_like_the_truth(candidate, truth, expected):
    assert like(candidate, truth) == expected
