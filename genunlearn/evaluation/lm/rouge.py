"""ROUGE recall: how much of the true answer's wording a text has.

    ROUGE-1 = sum_w min(count_text(w), count_truth(w)) / |truth|        ROUGE-L = LCS(text, truth) / |truth|

over words: runs of ``a-z`` and ``0-9`` in lower case, and those of more than three letters reduced to their stem.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004); words and stems as in the package
rouge-score, whose numbers these are. Of it only NLTK's stemmer is needed: the longest common subsequence is that of
rapidfuzz, which is here anyway.
Deviations: a truth in another script, of which those words would leave little or nothing, is cut into words of that
script, without stems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from rapidfuzz.distance import LCSseq

from genunlearn.registry import require

Stem = Callable[[str], str]

LATIN = re.compile(r"[a-z0-9]+")
ANY = re.compile(r"[^\W_]+")
STEMMED = 4
"""Letters of the shortest word that is reduced to its stem."""


@dataclass(frozen=True)
class RougeRecall:
    """Recall of one text, both in [0, 1]."""

    rouge1: float
    rouge_l: float


def rouge_recall(text: str, truth: str, stem: Stem | None = None) -> RougeRecall:
    """Recall of the words of `truth` in `text`.

    Args:
        text: What was written.
        truth: What should have been.
        stem: Reduces a word to its stem; None leaves words as they are.
    """
    cut = _words if _is_latin(truth) else _words_of_any_script
    said, true = cut(text, stem), cut(truth, stem)
    if not said or not true:
        return RougeRecall(0.0, 0.0)
    shared = sum((Counter(said) & Counter(true)).values())
    return RougeRecall(shared / len(true), LCSseq.similarity(said, true) / len(true))


@cache
def porter_stem() -> Stem:
    """NLTK's form of Porter's stemmer, as rouge-score uses it.

    Raises:
        NeedNotMet: NLTK is not installed.
    """
    require("nltk", "ROUGE")
    from nltk.stem.porter import PorterStemmer

    return cache(PorterStemmer().stem)


def _words(text: str, stem: Stem | None) -> list[str]:
    words = LATIN.findall(text.lower())
    return [stem(word) if stem and len(word) >= STEMMED else word for word in words]


def _words_of_any_script(text: str, stem: Stem | None) -> list[str]:
    return ANY.findall(text.casefold())


def _is_latin(truth: str) -> bool:
    """Whether most of the letters and digits are those that the published words are made of."""
    characters = [character for character in truth.lower() if character.isalnum()]
    return 2 * sum(bool(LATIN.match(character)) for character in characters) >= len(characters)
