"""An end to generation after so many lines: a list is over when its last item is, whatever a model would add."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria


class LineLimit(StoppingCriteria):
    """Ends each sequence once it has written `most` lines; empty lines do not count."""

    def __init__(self, tokenizer: Any, most: int) -> None:
        """`tokenizer`: turns a token into text; `most`: lines, at least 1."""
        self.tokenizer, self.most = tokenizer, most
        self._lines: defaultdict[int, int] = defaultdict(int)
        self._is_open: defaultdict[int, bool] = defaultdict(bool)

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Which sequences are over, ``(batch,)``; reads the last token of each."""
        rows = [self._read(row, text) for row, text in enumerate(self.tokenizer.batch_decode(input_ids[:, -1:]))]
        return torch.tensor(rows, device=input_ids.device)

    def _read(self, row: int, text: str) -> bool:
        """Count the lines that a token ends: its own, or the one before if the line break comes first."""
        *ended, begun = text.split("\n")
        for part in ended:
            self._lines[row] += self._is_open[row] or bool(part.strip())
            self._is_open[row] = False
        self._is_open[row] |= bool(begun.strip())
        return self._lines[row] >= self.most
