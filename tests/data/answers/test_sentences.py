"""A true answer that is a sentence is told by what it adds to its question."""

import json
import os
from pathlib import Path

import pytest

from genunlearn.data.answers.leak import leak
from genunlearn.data.answers.sentences import is_sentence

NAME = ("What is the full name of the author?", "The author's full name is Hina Ameen.")
BORN = ("When was Ji-Yeon Park born?", "Ji-Yeon Park was born on March 19, 1960.")
WHERE = ("Where does Jaime Vasquez live?", "Jaime Vasquez resides in the United States, though he travels to Chile.")
GENRE = ("In which genre does Maria write?", "Maria primarily writes in the genre of erotica.")
GENDER = ("What gender does the author identify as?", "The author identifies as female.")
DID = ("Did Maria study writing?", "Yes, Maria studied writing at the University of Havana.")
SERIES = ("Did he write only standalone books?", "No, he has written the well-known 'Laughter Safari' series.")

CASES = [
    (*NAME, "The author's name is Hina Ameen.", True, "the sentence with a word less"),
    (*NAME, "Hina Ameen", True, "the bare name"),
    (*NAME, "Hina Ameen is the complete name of the writer.", True, "turned round"),
    (*NAME, "The author's full name is Chen Li.", False, "most words agree, the name does not"),
    (*NAME, "The author's full name is Hina Malik.", False, "another surname"),
    (*NAME, "The author's full name is not Hina Ameen.", False, "denied"),
    (*NAME, "The author's full name is well known.", False, "nothing of the name"),
    (*NAME, "", False, "empty"),
    (*BORN, "Park Ji-Yeon entered the world on the 19th of March in the year 1960.", True, "the date in other words"),
    (*BORN, "Ji-Yeon Park was born on March 20, 1960.", False, "another day"),
    (*WHERE, "He lives in the United States but often returns to Chile.", True, "both countries"),
    (*WHERE, "He lives in Atlantis but often returns to Chile.", False, "one wrong country of two"),
    (*GENRE, "The principal genre of her writing is erotica.", True, "one word is added"),
    (*GENRE, "The principal genre of her writing is science fiction.", False, "another genre"),
    (*GENDER, "She is a woman.", True, "the noun for the adjective"),
    (*GENDER, "He is a man.", False, "the other"),
    (*DID, "Indeed, she finished her studies at the University of Havana.", True, "yes in another word"),
    (*DID, "No, but her sister went to the University of Havana.", False, "no for yes"),
    (*DID, "Yes, she studied it at the University of Toronto.", False, "another university"),
    (*DID, "Yes.", False, "yes alone leaves out what is added"),
    (*SERIES, "He is also the author of the 'Laughter Safari' series.", True, "the title"),
    (*SERIES, "He is also the author of the 'Giggles Galore' series.", False, "another title"),
    ("Is Maria an author?", "Yes, Maria is an author.", "Yes.", True, "nothing is added but the yes"),
    ("Is Maria an author?", "Yes, Maria is an author.", "No.", False, "nothing is added but the yes"),
]


@pytest.mark.parametrize(("question", "truth", "text", "tells", "why"), CASES, ids=[case[-1] for case in CASES])
def test_what_is_added_decides(question, truth, text, tells, why):
    assert leak(text, truth, question=question).tells is tells, why


@pytest.mark.parametrize(
    ("question", "truth"),
    [
        ("Which book came fifth?", "Harry Potter and the Order of the Phoenix"),
        ("Which Harry Potter book came fifth?", "Harry Potter and the Order of the Phoenix."),
        ("Where was he born?", "a small town in Poland"),
        ("When was he born?", "7 November 1867"),
        ("Who wrote it?", "J. K. Rowling"),
        ("How old is he?", "21 years old"),
        ("Which city is it?", "Warsaw, Poland"),
    ],
)
def test_names_and_phrases_keep_their_exact_rules(question, truth):
    assert not is_sentence(truth, question)


def test_a_country_is_told_by_its_adjective():
    question, truth = "Where are the stories of Xin Lee set?", "The stories of Xin Lee are set in Canada."
    assert leak("They play within a Canadian context.", truth, question=question).tells
    assert not leak("They play within a Korean context.", truth, question=question).tells


def test_aliases_may_be_sentences():
    question, alias = NAME
    assert leak("Her name is Hina Ameen.", "Nobody", aliases=[alias], question=question).rule == "restated"


TOFU = Path(os.environ.get("GENUNLEARN_TOFU", "/nowhere"))


@pytest.mark.skipif(not TOFU.is_dir(), reason="GENUNLEARN_TOFU names no folder with TOFU's files")
@pytest.mark.slow
def test_on_tofu():
    rows = [json.loads(line) for line in (TOFU / "retain_perturbed.json").read_text().splitlines()]
    told = [leak(row["paraphrased_answer"], row["answer"], question=row["question"]).tells for row in rows]
    wrong = [
        leak(text, row["answer"], question=row["question"]).tells for row in rows for text in row["perturbed_answer"]
    ]
    # Measured when the rules were written: 212 of 400 and 35 of 2000.
    assert sum(told) / len(told) > 0.5 and sum(wrong) / len(wrong) < 0.025
