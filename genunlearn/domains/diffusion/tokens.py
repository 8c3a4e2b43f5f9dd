"""Prompts some of whose tokens are free: vectors in their place, encoded with gradients.

``"a photo of {}"`` with two free tokens is encoded as ``a photo of x x`` would be, with vectors put where the text
encoder looks up its ``x``. Pipelines with a single text encoder take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.errors import DataError, NeedNotMet

PLACE = "{}"
STAND_IN = "x"
"""A word of one token, which holds the place of a free one."""

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class FreeTokens:
    """Prompts with the same number of free tokens each.

    Attributes:
        count: Number of free tokens.
        texts: The prompts with stand-ins.
        vocabulary: ``(tokens, width)``, what the text encoder looks up.
        banned: Tokens that stand for no text, such as start and end, ``(k,)``.
    """

    def __init__(self, model: Any, prompts: Sequence[str], count: int) -> None:
        """Find the places.

        Args:
            model: The adapter.
            prompts: With ``{}`` where the free tokens are to be; before the first word if there is none.
            count: Number of free tokens.

        Raises:
            NeedNotMet: The pipeline has several text encoders, or cuts text into other tokens than words.
            DataError: A prompt has no room for them.
        """
        encoders = [name for name in ENCODERS if getattr(model.pipeline, name, None) is not None]
        if encoders != [ENCODERS[0]]:
            raise NeedNotMet(
                f"{type(model.pipeline).__name__} has {len(encoders)} text encoders; attacks on tokens take one: use "
                "an attack on embeddings (adversarial_embedding)"
            )
        self.model, self.count = model, count
        (self.section,) = model.family.sections()
        filled = " ".join([STAND_IN] * count)
        prompts = [prompt if PLACE in prompt else f"{PLACE} {prompt}" for prompt in prompts]
        self.texts = [prompt.replace(PLACE, filled) for prompt in prompts]
        first = [1 + len(self.section.ids(prompt.partition(PLACE)[0])) for prompt in prompts]
        self._places = torch.tensor(first)[:, None] + torch.arange(count)
        for text, places in zip(self.texts, self._places, strict=True):
            self._check(text, places)
        self.vocabulary = self._lookup().weight.detach()
        self.banned = torch.tensor(sorted(set(self.section.tokenizer.all_special_ids)))

    def embed(self, vectors: Tensor) -> PromptEmbedding:
        """Embeddings of the prompts with `vectors` ``(prompts, count, width)``; gradients reach the vectors."""
        with self._injected(vectors):
            embedded = self.model.encoder().encode(self.texts)
        return embedded.to(self.model.device, self.model.dtype)

    def vectors(self, ids: Tensor) -> Tensor:
        """What the text encoder looks up for tokens ``(..., count)``, ``(..., count, width)``."""
        return self.vocabulary[ids]

    def of(self, rows: Sequence[int]) -> FreeTokens:
        """The same for some of the prompts."""
        chosen = object.__new__(FreeTokens)
        chosen.__dict__.update(self.__dict__)
        chosen.texts = [self.texts[row] for row in rows]
        chosen._places = self._places[list(rows)]
        return chosen

    def read(self, ids: Tensor) -> list[str]:
        """Tokens ``(n, count)`` as text."""
        return [self.section.tokenizer.decode(row).strip() for row in ids.tolist()]

    def _lookup(self) -> Any:
        self.model.encoder()
        return self.model.pipeline.text_encoder.get_input_embeddings()

    def _check(self, text: str, places: Tensor) -> None:
        tokenizer, length = self.section.tokenizer, self.section.length
        ids = tokenizer(text)["input_ids"]
        if len(ids) > length:
            raise DataError(
                f"prompt {text!r} has {len(ids) - 2} tokens, {self.count} of them free; there is room for {length - 2}"
                ": take fewer free tokens"
            )
        stand_in = self.section.ids(STAND_IN)
        if len(stand_in) != 1 or {ids[place] for place in places.tolist()} != set(stand_in):
            raise NeedNotMet(
                f"the tokenizer of {type(self.model.pipeline).__name__} does not cut text at words, so that no token "
                "can be told to be free: use an attack on embeddings (adversarial_embedding)"
            )

    @contextmanager
    def _injected(self, vectors: Tensor) -> Iterator[None]:
        rows = torch.arange(len(vectors))[:, None]

        def inject(module: Any, inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[rows, self._places] = vectors.to(output)
            return output

        handle = self._lookup().register_forward_hook(inject)
        try:
            yield
        finally:
            handle.remove()
