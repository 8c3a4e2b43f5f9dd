"""Whether a text is written like language: how varied its word sequences are.

    entropy_n = -sum_g f(g) log2 f(g),   f = frequency of the n-gram g in the text
    n-gram entropy = (2/3 entropy_2 + 4/3 entropy_3) / 2
    repetition = 1 - (distinct 4-grams) / (4-grams)

Source: Zhang et al., "Generating Informative and Diverse Conversational Responses" (NeurIPS 2018) for the entropy, with
the weights of Meng et al., "Locating and Editing Factual Associations in GPT" (NeurIPS 2022); Welleck et al., "Neural
Text Generation with Unlikelihood Training" (ICLR 2020) for the repetition.
Deviations: words are runs of letters and digits, and every other sign is one: NLTK's word cutter is left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

WORDS = re.compile(r"\w+|[^\w\s]")
WEIGHTS = {2: 2 / 3, 3: 4 / 3}
REPEATED = 4


def ngram_entropy(text: str) -> float | None:
    """Weighted mean entropy of two- and three-word sequences, bits; None for a text of fewer than three words."""
    words = WORDS.findall(text)
    if len(words) < max(WEIGHTS):
        return None
    return sum(weight * _entropy(_ngrams(words, n)) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


def repetition(text: str) -> float | None:
    """Share of four-word sequences that the text has had before, in [0, 1); None for fewer than four words."""
    grams = _ngrams(WORDS.findall(text), REPEATED)
    return 1 - len(set(grams)) / len(grams) if grams else None


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _entropy(grams: Sequence[tuple[str, ...]]) -> float:
    shares = [count / len(grams) for count in Counter(grams).values()]
    return -sum(share * math.log2(share) for share in shares)
