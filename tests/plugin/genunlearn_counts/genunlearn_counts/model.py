"""The model: how often each letter follows each other one, as a table of logits that training can change as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genunlearn.contracts import Domain, Examples
from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import hash_files

SYMBOLS = f".{ascii_lowercase}"
"""The end of a word, which is its beginning too, and the letters."""
WEIGHTS_NAME = "model.safetensors"
PRIOR = 0.01
"""What every pair counts for before it has been seen."""
NOTHING = -1
"""Fills up short words of a batch."""


@dataclass(frozen=True)
class Word:
    """One word; it is its own identifier."""

    text: str

    @property
    def id(self) -> str:
        """The word."""
        return self.text

    @property
    def letters(self) -> list[int]:
        """Places of its letters in `SYMBOLS`, with an end on both sides."""
        return [SYMBOLS.index(letter) for letter in f".{self.text}."]


def as_words(texts: Iterable[str]) -> tuple[Word, ...]:
    """Words of these spellings.

    Raises:
        DataError: One is empty, or has something else than the letters a to z.
    """
    words = tuple(Word(text) for text in texts)
    for word in words:
        if not word.text or set(word.text) - set(ascii_lowercase):
            raise DataError(f"word {word.text!r}: a word is made of the letters a to z; spell it with them")
    return words


def count(words: Iterable[Word]) -> Tensor:
    """How often each pair of symbols stands in `words`, ``(27, 27)``."""
    table = torch.zeros(len(SYMBOLS), len(SYMBOLS))
    for word in words:
        for first, second in zip(word.letters, word.letters[1:], strict=False):
            table[first, second] += 1
    return table


class Bigram(Domain):
    """A table of logits: the logarithm of what was counted, and of a little more."""

    name: ClassVar[str] = "bigram"

    def __init__(self, counts: Tensor, sha256: str | None = None) -> None:
        """Take what was counted, ``(27, 27)``."""
        self.module = nn.Embedding.from_pretrained((counts + PRIOR).log(), freeze=False)
        self._sha256 = sha256

    @classmethod
    def load(cls, folder: Path) -> Bigram:
        """Read what `save` has written.

        Raises:
            SourceNotFound: There is nothing of the kind in `folder`.
        """
        path = folder / WEIGHTS_NAME
        if not path.is_file():
            raise SourceNotFound(f"no table of letters at {folder}: give a folder with {WEIGHTS_NAME}, or lab:letters")
        model = cls(torch.zeros(len(SYMBOLS), len(SYMBOLS)), hash_files([path]))
        model.module.load_state_dict(load_file(path))
        return model

    @property
    def base_sha256(self) -> str | None:
        """Hash of the file that it was read from."""
        return self._sha256

    @property
    def counts(self) -> Tensor:
        """What the logits say was counted, ``(27, 27)``."""
        return (self.network.weight.detach().exp() - PRIOR).clamp_min(0)

    def set_counts(self, counts: Tensor) -> None:
        """Put other counts in place, ``(27, 27)``."""
        with torch.no_grad():
            self.network.weight.copy_((counts + PRIOR).log())

    def collate(self, items: Sequence[Word]) -> Examples:
        """One word a row."""
        longest = max(len(item.letters) for item in items)
        rows = [item.letters + [NOTHING] * (longest - len(item.letters)) for item in items]
        return Examples(tuple(item.id for item in items), torch.ones(len(items)), {"letters": torch.tensor(rows)}).to(
            self.device
        )

    def example_loss(self, examples: Examples) -> Tensor:
        """Negative log-likelihood of each word, a letter."""
        first, second = examples["letters"][:, :-1], examples["letters"][:, 1:]
        odds = self.module(first.clamp_min(0)).log_softmax(-1)
        told = odds.gather(-1, second.clamp_min(0)[..., None])[..., 0]
        is_there = second != NOTHING
        return -(told * is_there).sum(1) / is_there.sum(1)

    def save(self, folder: Path) -> None:
        """Write the table."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / WEIGHTS_NAME)
