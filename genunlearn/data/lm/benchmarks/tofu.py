"""TOFU: fictitious authors to be forgotten, others to be kept, real authors and facts of the world.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs" (COLM 2024); ``locuslab/TOFU`` on the hub.
Deviations: none.
"""

from __future__ import annotations

import re
from typing import ClassVar

from typing_extensions import override

from genunlearn.data.lm.benchmarks.base import FORGET, REST, Benchmark, Reader, Source
from genunlearn.data.lm.facts import Contrast
from genunlearn.data.lm.requests import read_contrasts
from genunlearn.errors import ConfigError

KEPT = ("retain", "real_authors", "world_facts")
PARAPHRASE, WRONG = "paraphrased_answer", "perturbed_answer"


class TOFU(Reader):
    """Splits ``forget01``, ``forget05`` and ``forget10``, kept beside ``retain99``, ``retain95`` and ``retain90``."""

    name: ClassVar[str] = "tofu"
    hub: ClassVar[tuple[str, ...]] = ("locuslab/TOFU",)
    marks: ClassVar[tuple[str, ...]] = tuple(f"{name}_perturbed" for name in KEPT)
    split: ClassVar[str] = "forget10"

    @override
    def files(self, split: str) -> tuple[str, ...]:
        share = re.fullmatch(r"forget(\d\d)", split)
        if share is None or share[1] == "00":
            raise ConfigError(f"request.split = {split!r}: TOFU has forget01, forget05 and forget10; name one of them")
        return (split, f"retain{100 - int(share[1]):02d}", f"{split}_perturbed", *self.marks)

    @override
    def read(self, source: Source, split: str) -> Benchmark:
        forget, retain, *sets = self.files(split)

        def contrasts(name: str, group: str) -> tuple[Contrast, ...]:
            return read_contrasts(source.place(name), group=group, paraphrase=PARAPHRASE, wrong=WRONG)

        names = zip((FORGET, *KEPT), sets, strict=True)
        return Benchmark(
            forget=source.questions(forget, FORGET),
            retain=source.questions(retain, REST),
            measured={name: contrasts(file, FORGET if name == FORGET else REST) for name, file in names},
        )
