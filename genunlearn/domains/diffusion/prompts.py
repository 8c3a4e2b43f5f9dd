"""Prompts as denoisers read them: embeddings, where a concept's tokens lie in them, and a cache of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from genunlearn.errors import DataError


@dataclass(frozen=True)
class PromptEmbedding:
    """Embedded prompts, one a row.

    Attributes:
        tokens: ``(batch, tokens, dim)``, what cross-attention or joint attention reads.
        pooled: ``(batch, pooled_dim)``, what some pipelines add to the timestep; None for the others.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Any) -> PromptEmbedding:
        return PromptEmbedding(self.tokens[rows], None if self.pooled is None else self.pooled[rows])

    def to(self, device: torch.device, dtype: torch.dtype) -> PromptEmbedding:
        """The same embeddings elsewhere."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return PromptEmbedding(self.tokens.to(device, dtype), pooled)

    def expand(self, batch: int) -> PromptEmbedding:
        """A single row, `batch` times, without copying it."""
        pooled = None if self.pooled is None else self.pooled.expand(batch, -1)
        return PromptEmbedding(self.tokens.expand(batch, -1, -1), pooled)

    def with_tokens(self, tokens: Tensor) -> PromptEmbedding:
        """The same pooled part with other token embeddings."""
        return PromptEmbedding(tokens, self.pooled)

    @classmethod
    def cat(cls, parts: Sequence[PromptEmbedding]) -> PromptEmbedding:
        """All rows of `parts`, in order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return cls(torch.cat([part.tokens for part in parts]), torch.cat(pooled) if pooled else None)


@dataclass(frozen=True)
class Section:
    """The part of a token sequence that one tokenizer fills.

    Attributes:
        tokenizer: A fast tokenizer of transformers.
        start: Position of its first token in the sequence of the embedding.
        length: Number of positions it fills, padding included.
    """

    tokenizer: Any
    start: int
    length: int

    def ids(self, text: str) -> list[int]:
        """Token ids of `text` alone, without special tokens."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def span(self, prompt: str, part: str) -> tuple[int, int]:
        """Positions ``[first, after last)`` of the tokens of `part` in the section, counted from its start.

        An empty `part` is the empty span after the last word of the prompt.

        Raises:
            DataError: `part` does not occur in `prompt`, or lies beyond the length of the section.
        """
        encoded = self.tokenizer(prompt, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        begin = prompt.lower().rfind(part.lower())
        if begin < 0:
            raise DataError(f"concept {part!r} does not occur in its prompt {prompt!r}: name it in the template")
        end = begin + len(part)
        inside = [i for i, (a, b) in enumerate(offsets) if a < b and a < end and b > begin]
        if not part:
            after = 1 + max((i for i, (a, b) in enumerate(offsets) if a < b), default=self._leading(prompt) - 1)
            inside = [after]
        if not inside or inside[-1] >= self.length - 1:
            raise DataError(
                f"concept {part!r} in {prompt!r} lies beyond the {self.length} tokens of a prompt: shorten it"
            )
        return inside[0], inside[-1] + (1 if part else 0)

    def _leading(self, prompt: str) -> int:
        """Number of special tokens before the text."""
        specials = set(self.tokenizer.all_special_ids)
        ids = self.tokenizer("")["input_ids"]
        return 1 if len(ids) > 1 and ids[0] in specials else 0


class Encoder(Protocol):
    """What `PromptCache` needs to know about a pipeline."""

    def encode(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Embed prompts, one a row."""

    def unconditional(self) -> PromptEmbedding:
        """One row: what guidance pairs with a prompt when there is no negative prompt."""


class PromptCache:
    """Embeds each prompt once and hands out its number, so that batches carry numbers instead of embeddings.

    Attributes:
        texts: Every prompt that has been seen, in order; a prompt's number is its place here.
    """

    def __init__(self, encoder: Callable[[], Encoder], sections: Callable[[], Sequence[Section]]) -> None:
        """Encode nothing yet.

        Args:
            encoder: Gives the pipeline's encoder, which is loaded where it had been released.
            sections: Gives the parts of a prompt and their tokenizers, which are never released.
        """
        self._encoder, self._sections = encoder, sections
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, PromptEmbedding] = {}
        self._unconditional: PromptEmbedding | None = None
        self._spans: dict[tuple[str, str], list[tuple[Section, int, int]]] = {}

    def numbers(self, prompts: Sequence[str]) -> Tensor:
        """The number of each prompt, ``(prompts,)`` int64; nothing is embedded yet."""
        for prompt in prompts:
            if prompt not in self._numbers:
                self._numbers[prompt] = len(self.texts)
                self.texts.append(prompt)
        return torch.tensor([self._numbers[prompt] for prompt in prompts])

    def embed(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Embeddings of prompts, each encoded once."""
        return self.rows(self.numbers(prompts))

    @torch.no_grad()
    def rows(self, numbers: Tensor) -> PromptEmbedding:
        """Embeddings of the prompts with these numbers."""
        wanted = numbers.tolist()
        if missing := sorted({number for number in wanted if number not in self._rows}):
            embedded = self._encoder().encode([self.texts[number] for number in missing])
            self._rows |= {number: embedded[i : i + 1] for i, number in enumerate(missing)}
        return PromptEmbedding.cat([self._rows[number] for number in wanted])

    def name(self, embedding: PromptEmbedding) -> list[str]:
        """New prompts that stand for the rows of `embedding`, so that images can be made of what no text gives."""
        names = [f"<embedding {len(self.texts) + row}>" for row in range(len(embedding))]
        numbers = self.numbers(names).tolist()
        self._rows |= {number: embedding[row : row + 1] for row, number in enumerate(numbers)}
        return names

    @torch.no_grad()
    def unconditional(self) -> PromptEmbedding:
        """The single row that guidance uses where there is no negative prompt."""
        if self._unconditional is None:
            self._unconditional = self._encoder().unconditional()
        return self._unconditional

    def spans(self, prompt: str, part: str) -> list[tuple[Section, int, int]]:
        """Section by section, the positions ``[first, after last)`` of `part` in the section."""
        key = (prompt, part)
        if key not in self._spans:
            self._spans[key] = [(s, *s.span(prompt, part)) for s in self._sections()]
        return self._spans[key]

    def check(self, part: str) -> None:
        """Refuse a concept that no prompt can carry.

        Raises:
            DataError: A tokenizer makes nothing of it, or more tokens than a prompt holds.
        """
        for section in self._sections():
            count, room = len(section.ids(part)), section.length - 2
            if count == 0:
                raise DataError(f"concept {part!r}: the tokenizer makes no token of it; name it in words")
            if count > room:
                raise DataError(f"concept {part!r} has {count} tokens, a prompt holds {room}: shorten it")
