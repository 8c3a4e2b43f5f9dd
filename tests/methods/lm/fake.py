"""A language model whose predictions are given, for losses that are worked by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genunlearn.contracts import Examples
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import label_logprobs


def logits_of(*rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Logits ``(batch, answer, vocab)`` whose softmax are the given probabilities."""
    return torch.tensor(rows, dtype=torch.float64).log()


class Fake:
    """A model, or a reference, with given predictions for the answers and perhaps for their alternatives.

    Attributes:
        logits: ``(batch, answer, vocab)``, a leaf that takes gradients.
        labels: ``(batch, answer)``.
    """

    offers = frozenset({"output_logits", "output_labels"})

    def __init__(
        self,
        logits: torch.Tensor,
        labels: Sequence[Sequence[int]],
        alternative: tuple[torch.Tensor, Sequence[Sequence[int]]] | None = None,
    ) -> None:
        self.logits = logits.clone().requires_grad_()
        self.labels = torch.tensor(labels)
        self.other = None if alternative is None else (alternative[0].clone(), torch.tensor(alternative[1]))

    def examples(self, weight: Sequence[float] | None = None) -> Examples:
        """The batch that the predictions are about; labels as the domain gives them, with a prompt before."""
        tensors = {"labels": self._with_prompt(self.labels)}
        if self.other is not None:
            tensors["alternative_labels"] = self._with_prompt(self.other[1])
        count = len(self.labels)
        return Examples(tuple(map(str, range(count))), torch.tensor(weight or [1.0] * count), tensors)

    @staticmethod
    def _with_prompt(labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full((len(labels), 2), IGNORE), labels], dim=1)

    def output_logits(self, examples: Examples) -> torch.Tensor:
        return self.logits

    def output_labels(self, examples: Examples) -> torch.Tensor:
        return self.labels

    def token_logprobs(self, examples: Examples, prefix: str = "") -> torch.Tensor:
        return label_logprobs(*(self.other if prefix else (self.logits, self.labels)))

    def sequence_nll(self, examples: Examples) -> torch.Tensor:
        return -self.token_logprobs(examples).sum(-1)

    def example_loss(self, examples: Examples) -> torch.Tensor:
        return self.sequence_nll(examples) / (self.labels != IGNORE).sum(-1)

    def ask(self, name: str, examples: Examples) -> torch.Tensor:
        return getattr(self, name)(examples).detach()
