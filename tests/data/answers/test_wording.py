"""Words, numbers and dates in comparable form."""

import pytest

from genunlearn.data.answers.wording import key, wording
from genunlearn.data.answers.words import Date, Quantity


def count(value):
    return Quantity("cardinal", value)


def rank(value):
    return Quantity("ordinal", value)


FORMS = [
    ("The Wizards' Hats", ["the", "wizard", "hat"]),
    ("Kraków\u2019s café", ["krakow", "cafe"]),
    ("Łódź, Malmö", ["lodz", "malmo"]),
    ("boxes, cities, glass, is", ["box", "city", "glass", "is"]),
    ("in the U.S.A. now", ["in", "the", "usa", "now"]),
    ("H-o-g w-a-r-t-s", ["hogwart"]),
    ("well-known_name", ["well", "known", "name"]),
    ("北京 is", ["北", "京", "is"]),
]

VALUES = [
    ("twenty-one", [count(21)]),
    ("one hundred and twenty-one thousand", [count(121_000)]),
    ("a million and one", [count(1_000_001)]),
    ("3.5 million", [count(3_500_000)]),
    ("two dozen", [count(24)]),
    ("nineteen eighty-four", [count(1984)]),
    ("nineteen hundred", [count(1900)]),
    ("twenty twenty", [count(2020)]),
    ("1,234,567", [count(1_234_567)]),
    ("1 234 567", [count(1_234_567)]),
    ("1.234", [count(1.234), count(1234)]),
    ("5k", [count(5000)]),
    ("21st", [rank(21)]),
    ("twenty-first", [rank(21)]),
    ("XIV", [count(14), rank(14)]),
    ("1867-11-07", [Date(1867, 11, 7)]),
    ("07.11.1867", [Date(1867, 11, 7), Date(1867, 7, 11)]),
    ("25/12/1867", [Date(1867, 12, 25)]),
    ("1/2/99", [Date(1999, 2, 1), Date(1999, 1, 2), Date(2099, 2, 1), Date(2099, 1, 2)]),
    ("7 November 1867", [Date(1867, 11, 7)]),
    ("November the 7th, 1867", [Date(1867, 11, 7)]),
    ("Sept. 1867", [Date(1867, 9, None)]),
    ("May 7", [Date(None, 5, 7)]),
    ("December", [Date(None, 12, None)]),
]


@pytest.mark.parametrize(("text", "forms"), FORMS)
def test_forms(text, forms):
    assert [word.form for word in wording(text).words] == forms


@pytest.mark.parametrize(("text", "values"), VALUES)
def test_one_word_with_its_readings(text, values):
    (word,) = wording(text).words
    assert set(word.values) == set(values)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("in 2005 and 2006", 2),
        ("2005, hundreds of people", 1),
        ("no one and one of them", 0),
        ("Louis XIV and I went", 1),
        ("World War I was", 1),
        ("he may march in the 1860s", 0),
        ("version 3.5.1", 0),
    ],
)
def test_what_is_a_number(text, numbers):
    assert sum(bool(word.values) for word in wording(text).words) == numbers


def test_words_know_their_place():
    parts = wording("On the seventh of November, 1867, in Warsaw.")
    assert parts.span(2, 2) == "seventh of November, 1867"
    assert parts.span(3, 4) == "in Warsaw"
    assert [parts.words[position].form for position in parts.content][-1] == "warsaw"


def test_equal_keys_are_the_same_words():
    assert key("Where did Harry Potter study?") == key("where did the harry potter study")
    assert key("7 November 1867") == key("Nov. 7th, 1867")
    assert key("Where did he study?") != key("Where does he study?")
