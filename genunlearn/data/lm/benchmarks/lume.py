"""LUME: personal data, stories and biographies to be forgotten among others of the same kinds.

Source: Ramakrishna et al., "LUME: LLM Unlearning with Multitask Evaluations" (2025), the task of SemEval-2025.
Deviations: none; the published tables are read once they are JSON lines or CSV.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source
from genunlearn.data.lm.facts import QA

COLUMNS = {"question": "input", "answer": "output"}


class LUME(Reader):
    """Trained on ``forget_train`` and ``retain_train``, measured also on the validation parts."""

    name: ClassVar[str] = "lume"
    marks: ClassVar[tuple[str, ...]] = ("forget_train", "forget_validation", "retain_train", "retain_validation")

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        def questions(name: str, group: str) -> tuple[QA, ...]:
            return source.questions(name, group, COLUMNS)

        forget = questions("forget_train", FORGET)
        return Benchmark(
            forget=forget,
            retain=questions("retain_train", REST),
            measured={
                "forget": forget,
                "forget_heldout": questions("forget_validation", "forget_heldout"),
                "retain": questions("retain_validation", REST),
            },
        )
