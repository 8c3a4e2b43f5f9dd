"""Where generation stops beside the tokens that end a turn: at a mark that is plain text, or once enough is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

MARGIN = 4
"""Tokens that are read beside those of a mark: its first and last token may hold other text, and a letter several."""
SENTENCE_ENDS = frozenset(".!?\n\u3002\uff01\uff1f\u0964\u061f")


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


class Said(StoppingCriteria):
    """Ends a sequence at the end of a sentence with which it has said what is waited for."""

    def __init__(self, tokenizer: Any, waited: Sequence[Callable[[str], bool]], start: int) -> None:
        """`waited`: for each sequence, whether a text has said it; `start`: number of tokens of the prompt."""
        self.tokenizer, self.waited, self.start = tokenizer, waited, start

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Which sequences are over, ``(batch,)`` bool; whole texts are read only where a sentence ends."""
        latest = self.tokenizer.batch_decode(input_ids[:, -1:], skip_special_tokens=True)
        over = [
            bool(SENTENCE_ENDS.intersection(text)) and self._is_said(n, input_ids[n]) for n, text in enumerate(latest)
        ]
        return torch.tensor(over, device=input_ids.device)

    def _is_said(self, number: int, ids: Tensor) -> bool:
        return self.waited[number](self.tokenizer.decode(ids[self.start :], skip_special_tokens=True))


def stop_at(tokenizer: Any, marks: Sequence[str], start: int) -> StoppingCriteriaList:
    """Criteria that end a sequence at any of `marks`; none where there are no marks."""
    return StoppingCriteriaList([TextMarks(tokenizer, marks, start)] if marks else [])


def cut_at(text: str, marks: Sequence[str]) -> str:
    """The text before the first of `marks`."""
    return text[: min((text.find(mark) for mark in marks if mark in text), default=len(text))]
