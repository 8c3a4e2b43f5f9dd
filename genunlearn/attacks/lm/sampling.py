"""Sampled answers: what a model never says first it may still say now and then.

    leak@k = mean over questions of 1 - C(n - c, k) / C(n, k)

with c of n samples telling the answer: the unbiased estimate of the chance that any of k samples tells it.

Sources: leak@k (arXiv 2511.04934); the estimate is that of Chen et al., "Evaluating Large Language Models Trained on
Code" (2021). Deviations: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked, tells
from genunlearn.attacks.lm.conversation import user
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import Scope
from genunlearn.data.lm.telling import until_told
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.intervals import bounded_mean
from genunlearn.records import Result

Temperature = Annotated[float, Field(gt=0)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Sampling(FactAttack):
    """Whether any of many sampled answers tells, and how that grows with their number."""

    name: ClassVar[str] = "sampling"

    samples: Annotated[int, Field(ge=1, description="answers a question")] = 64
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1, description="each of them tried")] = (0.7, 1.0)
    seed: Annotated[int, Field(ge=0, description="of the sampling")] = 0

    @property
    @override
    def budget(self) -> str:
        heats = " or ".join(f"{value:g}" for value in self.temperatures)
        return f"{self.samples} sampled answers a question, temperature {heats}"

    @property
    def marks(self) -> tuple[int, ...]:
        """The k of leak@k: powers of two up to the number of samples, and that number."""
        return (*(2**power for power in range(self.samples.bit_length()) if 2**power < self.samples), self.samples)

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a temperature: questions that any of the samples tells; how many of each tell is a detail."""
        items, levels, counts = asked(splits), [], {}
        for heat in self.temperatures:
            options: dict[str, Any] = {"samples": self.samples, "temperature": heat, "seed": self.seed}
            rows = model.generate([[user(item.question)] for item in items], until=until_told(items), **options)
            found = [tells(texts, [item] * len(texts)) for texts, item in zip(rows, items, strict=True)]
            # a sample that tells, where there is one, for people to read
            shown = tuple(texts[row.index(True) if any(row) else 0] for texts, row in zip(rows, found, strict=True))
            strength = f"temperature {heat:g}"
            levels.append(Level.of(items, shown, strength, told=[any(row) for row in found]))
            counts[strength] = [sum(row) for row in found]
        return Attempt(levels=tuple(levels), details={"telling_samples": counts, "samples": self.samples})

    def further(self, attempt: Attempt, target: str) -> list[Result]:
        """leak@k for every k, with a bootstrap interval over questions."""
        rows = []
        for strength, counts in attempt.details["telling_samples"].items():
            for k in self.marks:
                values = leak_at_k(counts, self.samples, k)
                group = f"{strength}, k = {k}"
                rows.append(self.result(target, bounded_mean(values), len(values), name="leak_at_k", group=group))
        return rows


def leak_at_k(counts: Sequence[int], samples: int, k: int) -> list[float]:
    """The unbiased estimate for each question.

    Args:
        counts: Samples that tell, one a question.
        samples: Samples of each question.
        k: How many an attacker draws, at most `samples`.
    """
    return [1 - math.comb(samples - count, k) / math.comb(samples, k) for count in counts]
