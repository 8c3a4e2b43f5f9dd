"""MUSE: news or books to be forgotten, by their wording and by what they tell.

Source: Shi et al., "MUSE: Machine Unlearning Six-Way Evaluation for Language Models" (ICLR 2025).
Deviations: texts are trained on and continued as turns of the model's chat, in pieces of `base.PIECE` words, the first
half asking for the second; questions are asked without examples before them.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source, pieces
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.requests import read_texts

RAW = ("raw/forget", "raw/retain1")
VERBATIM, KNOWN, KEPT = "verbmem/forget", "knowmem/forget_qa", "knowmem/retain_qa"
PRIVLEAK = {"members": "privleak/forget", "others": "privleak/holdout"}
"""Texts that membership is told by, where the folder has them."""


class MUSE(Reader):
    """Folders ``raw`` (texts), ``verbmem`` (beginnings and what follows), ``knowmem`` (questions), and ``privleak``."""

    name: ClassVar[str] = "muse"
    hub: ClassVar[tuple[str, ...]] = ("muse-bench/MUSE-News", "muse-bench/MUSE-Books")
    marks: ClassVar[tuple[str, ...]] = (*RAW, VERBATIM, KNOWN, KEPT)

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        def raw(name: str, group: str) -> tuple[QA, ...]:
            return pieces(read_texts(source.place(name)), name, group)

        has_texts = all(map(source.has, PRIVLEAK.values()))
        return Benchmark(
            forget=raw(RAW[0], FORGET),
            retain=raw(RAW[1], REST),
            measured={
                "forget": source.questions(KNOWN, FORGET),
                "forget_heldout": source.questions(VERBATIM, "forget_heldout", {"question": "prompt", "answer": "gt"}),
                "retain": source.questions(KEPT, REST),
            },
            texts={side: read_texts(source.place(name)) for side, name in PRIVLEAK.items()} if has_texts else {},
        )
