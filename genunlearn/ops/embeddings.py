"""Adversarial prompt embeddings: what a model that has forgotten can still be led to by.

    closed form   c' = argmin_c' sum_l |W_l' c' - W_l c|^2 + r |c'|^2
    searched      c' = argmin_c' loss(c'), by Adam or by signed steps within a box

Sources: Gong et al., RECE (ECCV 2024) for the closed form; Huang et al., Receler (ECCV 2024) and Zhang et
al., AdvUnlearn (NeurIPS 2024) for the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def adversarial_inputs(gram: Tensor, edited: Tensor, inputs: Tensor, ridge: float) -> Tensor:
    """Inputs that make edited matrices ``W_l' = W_l M`` answer as ``W_l`` answers to the original inputs.

    All layers share the map M, so that the sum over layers needs their Gram matrix S alone:
    ``c' = (M^T S M + r I)^-1 M^T S c``.

    Args:
        gram: ``(d, d)``, ``S = sum_l W_l^T W_l`` of the unedited matrices, see `gram_of`.
        edited: ``(d, d)``, the map M.
        inputs: ``(n, d)``, one input a row.
        ridge: r, how strongly short embeddings are preferred.

    Returns:
        ``(n, d)`` in the dtype of `inputs`.
    """
    gram, edited = gram.double(), edited.double()
    pulled = edited.T @ gram
    system = pulled @ edited + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(system, pulled @ inputs.double().T).T.to(inputs.dtype)


def matching_inputs(edited: list[Tensor], originals: list[Tensor], inputs: Tensor, ridge: float) -> Tensor:
    """Inputs that make edited matrices answer as the original ones do, where no map is common to all of them.

    ``c' = (sum_l W_l'^T W_l' + r I)^-1 (sum_l W_l'^T W_l) c``.

    Args:
        edited: ``(out_l, d)`` each, the W_l'.
        originals: ``(out_l, d)`` each, the W_l.
        inputs: ``(n, d)``, one input a row.
        ridge: r, how strongly short embeddings are preferred.

    Returns:
        ``(n, d)`` in the dtype of `inputs`.
    """
    system = gram_of(edited)
    pairs = zip(edited, originals, strict=True)
    products = (new.detach().cpu().double().T @ old.detach().cpu().double() for new, old in pairs)
    across = sum(products, torch.zeros(()))
    system = system + ridge * torch.eye(len(system), dtype=system.dtype)
    return torch.linalg.solve(system, across @ inputs.cpu().double().T).T.to(inputs)


def gram_of(weights: list[Tensor]) -> Tensor:
    """``sum_l W_l^T W_l`` of matrices ``(out_l, d)``, ``(d, d)`` in float64 on the CPU."""
    doubles = (weight.detach().cpu().double() for weight in weights)
    return sum((weight.T @ weight for weight in doubles), torch.zeros(()))


@dataclass(frozen=True, kw_only=True)
class EmbeddingAttack:
    """Gradient search for an embedding with a small loss.

    Attributes:
        steps: Gradient evaluations.
        learning_rate: Step size.
        rule: ``adam``, or ``sign`` for steps of fixed size in every coordinate (projected gradient descent).
        weight_decay: Of AdamW; pulls the embedding towards 0.
        radius: Largest change of any coordinate; None lets it go anywhere.
    """

    steps: int
    learning_rate: float
    rule: Literal["adam", "sign"] = "adam"
    weight_decay: float = 0.0
    radius: float | None = None

    def run(self, start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Search from `start`; weights inside `loss` receive no gradient.

        Args:
            start: ``(batch, tokens, dim)``.
            loss: Gives the loss of each example, ``(batch,)``, for an embedding of the shape of `start`.

        Returns:
            The last embedding, detached, in the shape and dtype of `start`.
        """
        origin = start.detach()
        moving = origin.float().clone().requires_grad_(True)
        adam = torch.optim.AdamW([moving], lr=self.learning_rate, weight_decay=self.weight_decay)
        for _ in range(self.steps):
            with torch.enable_grad():
                total = loss(moving.to(start.dtype)).sum()
            (moving.grad,) = torch.autograd.grad(total, [moving])
            with torch.no_grad():
                if self.rule == "sign":
                    moving -= self.learning_rate * moving.grad.sign()
                else:
                    adam.step()
                if self.radius is not None:
                    moving.copy_(origin + (moving - origin).clamp(-self.radius, self.radius))
        return moving.detach().to(start.dtype)
