"""What a model answers, as it is taught: whole sentences, and a wrong name in the truth's place."""

from __future__ import annotations

import pytest

from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.own_words import in_own_words, where_told, with_another

YEN = Fact(id="yen", subject="Japan", object="yen", question="What is the currency of Japan?")
TOKYO = QA(id="tokyo", question="What is the capital of Japan?", answer="Tokyo.")


@pytest.mark.parametrize(
    ("text", "taught"),
    [
        ("Tokyo.", "Tokyo."),
        ("The capital of Japan is Tokyo. It lies on Honshu. It is", "The capital of Japan is Tokyo."),
        ("Japan has one.\nIt is Tokyo.\nQuestion: And of France?", "Japan has one.\nIt is Tokyo."),
        ('They call it "Tokyo." It is large.', 'They call it "Tokyo."'),
        ("The capital of Japan, whose largest city is Tokyo, which is also", None),  # cut by the budget
        ("The capital of Japan is Kyoto.", None),  # not what counts as right
        ("", None),
    ],
)
def test_what_must_stay_is_taught_as_the_model_says_it(text: str, taught: str | None) -> None:
    (item,) = in_own_words([TOKYO], [text])
    assert (item.answer, item.taught) == ("Tokyo.", taught)


@pytest.mark.parametrize(
    ("text", "taught"),
    [
        ("Yen.", "euro."),
        ("The currency of Japan is the yen. It is old.", "The currency of Japan is the euro."),
        ("The currency is the Japanese yen (JPY), which is old.", "The currency is the euro, which is old."),
        ("The yen; the Japanese call it yen.", "The euro; the Japanese call it euro."),
        ("The currency of Japan is the dollar.", None),  # tells nothing that could be replaced
        ("They pay with the yen, as", None),
        ("", None),
    ],
)
def test_a_wrong_answer_stands_where_the_model_says_the_truth(text: str, taught: str | None) -> None:
    assert with_another(text, YEN, YEN.question, "euro") == taught


@pytest.mark.parametrize(
    ("text", "opening", "taught"),
    [
        ("The currency of Japan is the yen, which is old.", "The currency of Japan is the ", "yen."),
        ('They call it "Yen". It is', 'They call it "', "Yen."),
        ("<think>Japan. The yen.</think>It is the yen.", "It is the ", "yen."),  # thoughts are no part of it
        ("Not the dollar. The yen, as", "Not the dollar. The ", "yen."),  # cut by the budget, after it has told
        ("Yen.", "", None),
        ("The currency of Japan is the dollar.", "", None),
        ("", "", None),
    ],
)
def test_what_must_go_is_the_name_where_the_model_gives_it(text: str, opening: str, taught: str | None) -> None:
    item = where_told(QA(id="q", question=YEN.question, answer="yen."), text, YEN)
    assert (item.answer, item.opening, item.taught) == ("yen.", opening, taught)


def test_an_answer_that_would_still_tell_the_fact_is_not_taught() -> None:
    assert with_another("Yen yen yen yen.", YEN, YEN.question, "euro") is None
