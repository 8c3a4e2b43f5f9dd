"""WPU: persons of Wikipedia to be forgotten, persons of the same pages and popular ones to be kept.

Source: Liu et al., "Revisiting Who's Harry Potter: Towards Targeted Unlearning from a Causal Intervention Perspective"
(EMNLP 2024).
Deviations: trained on the questions, not on the pages.
"""

from __future__ import annotations

import re
from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source
from genunlearn.errors import ConfigError


class WPU(Reader):
    """Splits ``forget_2_1`` to ``forget_2_5``, ``forget_20_1`` to ``forget_20_3`` and ``forget_100``."""

    name: ClassVar[str] = "wpu"
    hub: ClassVar[tuple[str, ...]] = ("Shiyu-Lab/Wikipedia_Person_Unlearn",)
    marks: ClassVar[tuple[str, ...]] = ("general_retain", "retain")
    split: ClassVar[str] = "forget_2_1"

    @override
    def files(self, split: str) -> tuple[str, ...]:
        if not re.fullmatch(r"forget_\d+(_\d+)?", split):
            raise ConfigError(f"request.split = {split!r}: WPU has forget_2_1, forget_20_1, forget_100 and the like")
        return (split, f"{split}_hard_retain", *self.marks)

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        forget = source.questions(split, FORGET)
        return Benchmark(
            forget=forget,
            retain=source.questions("retain", REST),
            measured={
                "forget": forget,
                "hard_retain": source.questions(f"{split}_hard_retain", REST),
                "general_retain": source.questions("general_retain", REST),
            },
        )
