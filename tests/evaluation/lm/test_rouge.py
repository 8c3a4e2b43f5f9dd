"""ROUGE recall by hand, and as the package rouge-score gives it."""

import pytest

from genunlearn.evaluation.lm.rouge import porter_stem, rouge_recall


@pytest.mark.parametrize(
    ("text", "truth", "one", "longest"),
    [
        # the (twice), cat, sat, mat of six words; "the cat the mat" keeps the order.
        ("The cat, the mat: sat.", "the cat sat on the mat", 5 / 6, 4 / 6),
        ("Goethe.", "Goethe", 1.0, 1.0),
        ("", "Goethe", 0.0, 0.0),
        ("Goethe", "...", 0.0, 0.0),
        # A word counts as often as it stands in both.
        ("no no no", "no way no", 2 / 3, 2 / 3),
        # Accents cut Latin words, as published: krak, w.
        ("Krak w", "Kraków", 1.0, 1.0),
        # Other scripts have their own words: 2 of 3, "в 1867".
        ("Жил в Париже в 1867", "в Варшаве 1867", 2 / 3, 2 / 3),
        ("波兰", "波兰", 1.0, 1.0),
    ],
)
def test_recall_by_hand(text, truth, one, longest):
    recall = rouge_recall(text, truth)
    assert (recall.rouge1, recall.rouge_l) == (pytest.approx(one), pytest.approx(longest))


def test_only_words_of_more_than_three_letters_are_stemmed():
    recall = rouge_recall("asks for it", "ask fors its", lambda word: word.rstrip("s"))
    # asks -> ask; "ask" and "its" stay as they are, fors -> for: for matches and ask matches, its does not.
    assert recall.rouge1 == pytest.approx(2 / 3)


# Values of rouge-score 0.1.2 with use_stemmer=True.
AS_PUBLISHED = [
    (
        "The writer studied geology and loved the valleys.",
        "She was a writer who studies geological valleys lovingly",
        4 / 9,
        4 / 9,
    ),
    ("Hina Ameen is the writer's complete name, possibly.", "The author's full name is Hina Ameen.", 0.75, 0.375),
    ("News of trilogies enjoyed", "The trilogy is the news that he enjoys thoughtfully", 1 / 3, 2 / 9),
]


@pytest.mark.parametrize(("text", "truth", "one", "longest"), AS_PUBLISHED)
def test_recall_is_that_of_rouge_score(text, truth, one, longest):
    pytest.importorskip("nltk")
    recall = rouge_recall(text, truth, porter_stem())
    assert (recall.rouge1, recall.rouge_l) == (pytest.approx(one, abs=1e-6), pytest.approx(longest, abs=1e-6))
