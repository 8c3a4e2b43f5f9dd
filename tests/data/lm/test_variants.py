"""Which rewordings of a question are accepted, and why the others are not."""

from dataclasses import replace

import pytest

from genunlearn.data.lm.facts import Fact
from genunlearn.data.lm.variants import VariantBounds, accept_variant

FACT = Fact(
    id="potter",
    subject="Harry Potter",
    object="Hogwarts",
    question="Where did Harry Potter study?",
    paraphrases=("Which school did Harry Potter attend?",),
    aliases=("School of Witchcraft",),
    subject_aliases=("the boy who lived",),
)

CASES = [
    ("At which school was Harry Potter taught?", None),
    ("Name the school that Harry Potter went to.", None),
    ("Where did the boy who lived study?", None),
    ("Please tell me, where did Harry Potter study?", None),
    ("A quiz asks for Harry Potter's school; what is the answer?", None),
    ("What is the name of the castle where young Harry Potter studied magic?", None),
    ("Harry Potter studied magic.", "not a question"),
    ("The school of Harry Potter is called", "not a question"),
    ("", "not a question"),
    ("Harry Potter?", "length"),
    ("Harry Potter " * 31 + "?", "length"),
    ("Where did Ron Weasley study?", "subject missing"),
    ("Where did he study?", "subject missing"),
    ("Where did Harry Pottery study?", "subject missing"),
    ("Did Harry Potter study at Hogwarts?", "gives the answer away"),
    ("Which Hogwartsian is Harry Potter?", "gives the answer away"),
    ("Which school, not hogwarts, did Harry Potter attend?", "gives the answer away"),
    ("Was Harry Potter at the School of Witchcraft?", "gives the answer away"),
    ("where did HARRY POTTER study", "not a question"),
    ("where did HARRY POTTER study?!?", "duplicate"),
    ("Where did the Harry Potter study?", "duplicate"),
    ("Where did Harry Potter studdy?", "too close"),
]


@pytest.mark.parametrize(("candidate", "reason"), CASES)
def test_table(candidate, reason):
    assert accept_variant(candidate, FACT, FACT.phrasings) == reason


def test_bounds_are_relative_to_the_nearest_phrasing():
    # "Which school did Harry Potter attend" -> "... visit": 6 edits over 37 letters = 0.16.
    candidate = "Which school did Harry Potter visit?"
    assert accept_variant(candidate, FACT, ()) is None
    assert accept_variant(candidate, FACT, (), bounds=VariantBounds(min_edit=0.2)) == "too close"
    assert accept_variant(candidate, FACT, (), bounds=VariantBounds(max_edit=0.2)) is None
    # The other phrasing alone is far.
    alone = replace(FACT, paraphrases=())
    assert accept_variant(candidate, alone, (), bounds=VariantBounds(max_edit=0.2)) == "too far"


def test_what_has_drifted_off_is_too_far():
    ramble = (
        "Given everything that we have been told so far about owls, brooms, old castles and hidden railway "
        "platforms, about feasts, ghosts and moving stairs, do you suppose that Harry Potter ever liked "
        "pumpkin juice more than tea?"
    )
    assert accept_variant(ramble, FACT, ()) == "too far"


def test_the_same_words_in_another_order_can_be_refused():
    candidate = "Study where did Harry Potter?"
    assert accept_variant(candidate, FACT, ()) is None
    assert accept_variant(candidate, FACT, (), bounds=VariantBounds(max_similarity=0.99)) == "too close"


def test_a_subject_that_contains_the_object_does_not_give_it_away():
    fact = Fact(id="m", subject="Warsaw Museum", object="Warsaw", question="Where is the Warsaw Museum?")
    assert accept_variant("In which city can one visit the Warsaw Museum?", fact, ()) is None
    assert accept_variant("Is the Warsaw Museum really in Warsaw?", fact, ()) == "gives the answer away"
