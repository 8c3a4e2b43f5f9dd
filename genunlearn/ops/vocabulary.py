"""Log-probabilities of tokens straight from hidden states, a few rows of logits at a time.

    log p_t = z_t[y_t] - log sum_v exp z_t[v],   z_t = W h_t + b
    d log p_t / d h_t = W[y_t] - sum_v p_t[v] W[v]

The slope on the hidden state is worked out beside the log-probability, while the row of logits is at hand, so that with
a frozen output layer nothing is computed twice. A trained one needs the probabilities again: they are kept where they
are few, and computed anew where they are many. Either way no tensor of ``(tokens, vocab)`` grows with the batch.

The same idea, for the cross-entropy alone: Hsu et al., "Liger Kernel" (2024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**28}
"""Of float32 logits at a time: about what a processor's cache holds, and what keeps a GPU busy."""
KEPT_BYTES = 2**28
"""Of probabilities that are kept for the gradient of a trained output layer."""


def token_scores(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, wants_best: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target, and whether no other token is likelier.

    Args:
        hidden: ``(tokens, width)``.
        weight: ``(vocab, width)`` of the output layer.
        bias: ``(vocab,)``, or None.
        targets: ``(tokens,)``.
        wants_best: Ask for the second answer.

    Returns:
        ``(tokens,)`` in float32, and ``(tokens,)`` bool or None.
    """
    logprobs, is_best = _TokenScores.apply(hidden, weight, bias, targets, wants_best)
    return logprobs, is_best if wants_best else None


class _TokenScores(torch.autograd.Function):
    """Forward and backward of `token_scores`."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, wants_best: bool
    ) -> tuple[Tensor, Tensor]:
        """Scores of every token, and what the gradients need."""
        needs_hidden, needs_head = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:3])
        count, vocab = len(hidden), len(weight)
        is_kept = needs_head and 4 * count * vocab <= KEPT_BYTES
        parts = _parts(hidden, vocab)
        # One part's logits after the other are written to the same memory, unless the gradient asks for them again.
        room = weight.new_empty(count if is_kept else _longest(parts), vocab)
        logprobs, tops, totals = hidden.new_empty(3, count, dtype=torch.float32)
        slope = torch.empty_like(hidden) if needs_hidden else None
        is_best = torch.zeros(count if wants_best else 0, dtype=torch.bool, device=hidden.device)
        for part in parts:
            wanted = targets[part]
            logits = _logits(hidden[part], weight, bias, room[part] if is_kept else room)
            if wants_best:
                is_best[part] = logits.argmax(-1) == wanted
            chosen, top = logits.gather(-1, wanted[:, None]).float(), logits.amax(-1, keepdim=True).float()
            shares = logits.float().sub_(top).exp_()  # float32 logits are overwritten
            total = shares.sum(-1, keepdim=True)
            logprobs[part] = (chosen - top - total.log())[:, 0]
            tops[part], totals[part] = top[:, 0], total[:, 0]
            if slope is not None:
                slope[part] = weight[wanted] - (shares.to(weight.dtype) @ weight) / total
            if is_kept and shares.dtype != logits.dtype:
                logits.copy_(shares)
        ctx.save_for_backward(hidden, weight, bias, targets, slope, room if is_kept else None, tops, totals)
        ctx.mark_non_differentiable(is_best)
        return logprobs, is_best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        """Gradients of hidden states and output layer."""
        hidden, weight, bias, targets, slope, kept, tops, totals = ctx.saved_tensors
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        on_hidden = None if slope is None else slope * slopes[:, None].to(slope.dtype)
        if not (needs_weight or needs_bias):
            return on_hidden, None, None, None, None
        states, spread = hidden.to(weight.dtype), (slopes / totals)[:, None].to(weight.dtype)
        parts = _parts(hidden, len(weight)) if kept is None else [slice(0, len(hidden))]
        room = weight.new_empty(_longest(parts), len(weight)) if kept is None else kept
        on_weight = torch.zeros_like(weight) if needs_weight and len(parts) > 1 else None
        on_bias = torch.zeros_like(bias) if needs_bias else None
        for part in parts:
            shares = kept
            if shares is None:
                logits = _logits(hidden[part], weight, bias, room)
                shares = logits.float().sub_(tops[part, None]).exp_().to(weight.dtype)
            if needs_weight and on_weight is None:
                on_weight = shares.T @ (states * -spread)
            elif on_weight is not None:
                on_weight.addmm_(shares.T, states[part] * spread[part], alpha=-1)
            if on_bias is not None:
                on_bias.addmv_(shares.T, spread[part, 0], alpha=-1)
        told = slopes[:, None].to(weight.dtype)
        if on_weight is not None:
            on_weight.index_add_(0, targets, states * told)
        if on_bias is not None:
            on_bias.index_add_(0, targets, told[:, 0])
        return on_hidden, on_weight, on_bias, None, None


def _parts(hidden: Tensor, vocab: int) -> list[slice]:
    rows = max(1, CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cuda"]) // (4 * vocab))
    return [slice(start, min(start + rows, len(hidden))) for start in range(0, len(hidden), rows)]


def _longest(parts: list[slice]) -> int:
    return max((part.stop - part.start for part in parts), default=0)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, room: Tensor) -> Tensor:
    """The logits of some tokens, written into the first rows of `room`."""
    states, out = hidden.to(weight.dtype), room[: len(hidden)]
    return torch.mm(states, weight.T, out=out) if bias is None else torch.addmm(bias, states, weight.T, out=out)
