"""RWKU: a famous person to be forgotten, without data to train on but what is known of the person.

Source: Jin et al., "RWKU: Benchmarking Real-World Knowledge Unlearning for Large Language Models" (NeurIPS 2024).
Deviations: a folder holds one person. Trained on the passages where there are some, on the questions of level 2
otherwise; what must stay is for the caller to give (`request.retain`), since the neighbours are there to be measured.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source, pieces
from genunlearn.data.lm.requests import read_texts

PASSAGES, ATTACKS = "passage", "forget_level3"


class RWKU(Reader):
    """Levels 1 and 2 (cloze and questions) of what is to go and of its neighbours; level 3 are adversarial prompts."""

    name: ClassVar[str] = "rwku"
    marks: ClassVar[tuple[str, ...]] = ("forget_level1", "forget_level2", "neighbor_level1", "neighbor_level2")

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        cloze, asked = (source.questions(f"forget_level{level}", FORGET) for level in (1, 2))
        passages = pieces(read_texts(source.place(PASSAGES)), PASSAGES, FORGET) if source.has(PASSAGES) else ()
        attacks = source.questions(ATTACKS, "forget_heldout") if source.has(ATTACKS) else ()
        near = [item for level in (1, 2) for item in source.questions(f"neighbor_level{level}", REST)]
        measured = {"forget": (*cloze, *asked), "forget_heldout": attacks, "neighbours": near}
        return Benchmark(forget=passages or asked, retain=None, measured=measured)
