"""Where generation stops at a mark that is plain text; marks that are tokens are left to the generation settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

MARGIN = 4
"""Tokens that are read beside those of a mark: its first and last token may hold other text, and a letter several."""


class TextMarks(StoppingCriteria):
    """Ends a sequence once its latest tokens spell a mark."""

    def __init__(self, tokenizer: Any, marks: Sequence[str], start: int) -> None:
        """`start`: number of tokens of the prompt, in which marks do not count."""
        self.tokenizer, self.marks, self.start = tokenizer, tuple(marks), start
        self.tokens = max(len(mark.encode()) for mark in marks) + MARGIN

    def __call__(self, input_ids: Tensor, scores: Tensor, **options: Any) -> Tensor:
        """Which sequences are over, ``(batch,)`` bool."""
        latest = input_ids[:, max(self.start, input_ids.shape[1] - self.tokens) :]
        texts = self.tokenizer.batch_decode(latest)
        over = [any(mark in text for mark in self.marks) for text in texts]
        return torch.tensor(over, device=input_ids.device)


def stop_at(tokenizer: Any, marks: Sequence[str], start: int) -> StoppingCriteriaList:
    """Criteria that end a sequence at any of `marks`; none where there are no marks."""
    return StoppingCriteriaList([TextMarks(tokenizer, marks, start)] if marks else [])


def cut_at(text: str, marks: Sequence[str]) -> str:
    """The text before the first of `marks`."""
    return text[: min((text.find(mark) for mark in marks if mark in text), default=len(text))]
