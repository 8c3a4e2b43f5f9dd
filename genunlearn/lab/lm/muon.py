r"""Muon: momentum whose update matrices are made orthogonal, for training small models in few steps.

    M <- mu M + (1 - mu) G                      momentum
    U  = NewtonSchulz5((1 - mu) G + mu M)       nearest orthogonal matrix, approximately
    W <- W (1 - lr decay) - lr sqrt(max(1, rows / columns)) U

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
Deviations: float32, and matrices of one shape in one batch. `torch.optim.Muon` computes one by one, in
bfloat16; on a CPU without bfloat16 arithmetic that takes five times as long as all the rest of a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Optimiser for weight matrices; embeddings and vectors belong to another one."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """Take over `params`, each ``(rows, columns)``; the learning rate is that of an orthogonal update."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix from its gradient; there are no closures."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    direction = self._direction(matrix, matrix.grad, group["momentum"])
                    by_shape[matrix.shape].append((matrix, direction))
            for (rows, columns), pairs in by_shape.items():
                matrices, directions = map(list, zip(*pairs, strict=True))
                updates = orthogonal(torch.stack(directions))
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates), alpha=-scale)

    def _direction(self, matrix: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        average = self.state[matrix].setdefault("average", torch.zeros_like(matrix))
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """``(batch, rows, columns)`` with the same singular vectors and singular values of about 0.7 to 1.2."""
    a, b, c = QUINTIC
    rows, columns = matrices.shape[-2:]
    wide = matrices.mT if rows > columns else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        wide = torch.baddbmm(wide, polynomial, wide, beta=a)
    return wide.mT if rows > columns else wide
