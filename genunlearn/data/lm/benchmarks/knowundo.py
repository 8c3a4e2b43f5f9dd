"""KnowUnDo: of the same persons and books, what is to be forgotten and what is to be kept.

Source: Tian et al., "To Forget or Not? Towards Practical Knowledge Unlearning for Large Language Models" (EMNLP 2024
Findings).
Deviations: a folder holds one domain, privacy or copyright.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source


class KnowUnDo(Reader):
    """Trained on ``unlearn_train`` and ``retention_train``, measured also on the questions held out from both."""

    name: ClassVar[str] = "knowundo"
    marks: ClassVar[tuple[str, ...]] = ("unlearn_train", "unlearn_val", "retention_train", "retention_val")

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        forget = source.questions("unlearn_train", FORGET)
        return Benchmark(
            forget=forget,
            retain=source.questions("retention_train", REST),
            measured={
                "forget": forget,
                "forget_heldout": source.questions("unlearn_val", "forget_heldout"),
                "retain": source.questions("retention_val", REST),
            },
        )
