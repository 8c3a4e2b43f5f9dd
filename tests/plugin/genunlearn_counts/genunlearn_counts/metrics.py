"""What a table still knows of words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from genunlearn.contracts import Metric, Suite
from genunlearn.ops import intervals
from genunlearn.records import Result
from genunlearn_counts.model import SYMBOLS, Bigram, Word


@dataclass(frozen=True)
class WordProbes:
    """Words by group, and how one model rates them; asked once, read by every metric."""

    model: Bigram
    words: Mapping[str, Sequence[Word]]

    @cached_property
    def is_known(self) -> dict[str, list[bool]]:
        """Whether each word is likelier than letters drawn at random, by group."""
        with torch.no_grad():
            losses = {group: self.model.example_loss(self.model.collate(words)) for group, words in self.words.items()}
        return {group: (values < math.log(len(SYMBOLS))).tolist() for group, values in losses.items()}


class Known(Metric):
    """Share of words that are likelier than letters drawn at random."""

    name: ClassVar[str] = "known"

    def measure(self, probes: WordProbes, target: str) -> list[Result]:
        """One result a group, with the exact interval of a share."""
        return [self._result(group, known, target) for group, known in probes.is_known.items()]

    def _result(self, group: str, known: Sequence[bool], target: str) -> Result:
        value, low, high = intervals.share(sum(known), len(known))
        is_better = group != "forget"
        return Result(
            name=self.name, target=target, value=value, low=low, high=high, n=len(known), group=group,
            version=self.version, higher_is_better=is_better,
        )  # fmt: skip


LETTERS = Suite((Known,), version=1)
