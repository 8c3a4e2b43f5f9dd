"""Texts that begin alike: what they begin with goes through the network once, in training too.

A chat template opens every prompt with the same instructions, and the candidates that a question is ranked among stand
behind the same words. Positions and all that a token may attend to are those of single texts, so that scores and
gradients are too, within rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from genunlearn.domains.lm.prefix import shared_prefix, size_of
from genunlearn.domains.pretrained import input_device

Pair = tuple[list[int], list[int]]
"""Ids of a prompt, at least one, and of its answer."""

WORTHWHILE = {"cpu": 2e9, "cuda": 1e12}
"""Least product of tokens saved and parameters of the network: below it the second attention costs more than it saves.

That of the CPU is measured; on a GPU, where starting a kernel costs more than most products, it is a guess.
"""


@dataclass(frozen=True)
class Sharing:
    """Which texts begin alike.

    Attributes:
        owners: For each text, the number of its beginning.
        lengths: Tokens of each beginning; 0 where a text shares none.
        first: For each beginning, a text that has it.
    """

    owners: list[int]
    lengths: list[int]
    first: list[int]

    @property
    def saved(self) -> int:
        """Tokens that need not be read again."""
        return sum(self.lengths[owner] for owner in self.owners) - sum(self.lengths)


def find_sharing(pairs: Sequence[Pair], network: Any) -> Sharing | None:
    """What is worth sharing among texts: what all begin with, or the prompts that several have.

    None also where dropout is on: each text has draws of its own.
    """
    if len(pairs) < 2 or (network.training and _drops(network)):
        return None
    texts = [prompt + answer for prompt, answer in pairs]
    everything = Sharing([0] * len(texts), [shared_prefix(texts)], [0])
    best = max(everything, _by_prompt(pairs, texts), key=lambda sharing: sharing.saved)
    least = WORTHWHILE.get(input_device(network).type, WORTHWHILE["cuda"])
    return best if best.saved * size_of(network) >= least else None


def _by_prompt(pairs: Sequence[Pair], texts: Sequence[list[int]]) -> Sharing:
    """One beginning for each prompt: all that the texts behind it have in common."""
    members: dict[tuple[int, ...], list[int]] = {}
    for number, (prompt, _) in enumerate(pairs):
        members.setdefault(tuple(prompt), []).append(number)
    owners = [0] * len(pairs)
    for owner, numbers in enumerate(members.values()):
        for number in numbers:
            owners[number] = owner
    lengths = [shared_prefix([texts[i] for i in each]) if len(each) > 1 else 0 for each in members.values()]
    return Sharing(owners, lengths, [each[0] for each in members.values()])


def _drops(network: Any) -> bool:
    dropout = any(isinstance(part, nn.Dropout) and part.p > 0 for part in network.modules())
    return dropout or bool(getattr(network.config, "attention_dropout", 0))
