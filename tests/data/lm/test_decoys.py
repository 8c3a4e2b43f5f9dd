"""Decoys: names that nobody has, in the shape of a fact."""

from __future__ import annotations

from genunlearn.data.lm.decoys import asked_of, decoy, invented_subjects, with_subject
from genunlearn.data.lm.facts import Fact

FACT = Fact(
    id="curie", subject="Marie Curie", relation="born in", object="Warsaw", question="Where was Marie Curie born?",
    paraphrases=("Which city is she from?",), heldout=("Is Curie's birthplace known? Name it.",),
    aliases=("Warszawa",), subject_aliases=("Curie",),
)  # fmt: skip
NEAR = ("Where was Niels Bohr born?", "What city saw the birth of Ada Lovelace?", "Was Warsaw home to Joseph Conrad?")


def test_names_have_as_many_words_and_nothing_of_the_fact():
    found = invented_subjects(FACT, NEAR, 8)
    assert found == invented_subjects(FACT, NEAR, 8) and len(set(found)) == 8
    assert found != invented_subjects(FACT, NEAR, 8, seed=1)
    words = {word.casefold() for name in found for word in name.split()}
    assert all(len(name.split()) == 2 for name in found)
    assert not words & {"marie", "curie", "warsaw", "niels", "bohr", "ada", "lovelace", "joseph", "conrad"}


def test_names_are_found_where_no_question_names_anybody():
    assert len(set(invented_subjects(FACT, (), 32))) == 32
    assert len(invented_subjects(Fact(id="x", subject="居里", object="y", question="?"), ("谁?",), 3)) == 3


def test_a_subject_is_replaced_as_a_whole_word_its_longest_name_first():
    assert with_subject("Where was Marie Curie born?", FACT, "Ada") == "Where was Ada born?"
    assert with_subject("Is Curie's birthplace known?", FACT, "Ada") == "Is Ada's birthplace known?"
    assert with_subject("Who discovered Curium in Curieland?", FACT, "Ada") is None
    assert with_subject("Where was Marie Curie born?", FACT, r"\1") == r"Where was \1 born?"


def test_a_decoy_keeps_the_phrasings_that_name_the_subject():
    found = decoy(FACT, "Ada Bohr", "Paris")
    assert (found.subject, found.object, found.aliases) == ("Ada Bohr", "Paris", ())
    assert found.phrasings == ("Where was Ada Bohr born?",)
    assert found.heldout == ("Is Ada Bohr's birthplace known? Name it.",)


def test_questions_are_asked_of_every_name():
    questions = [*FACT.phrasings, *FACT.heldout]
    assert asked_of(["A", "B"], FACT, questions, 1) == ["Where was A born?", "Where was B born?"]
    assert asked_of(["A"], FACT, ["Which city is she from?"]) == []
