"""Log-probabilities from hidden states: those of all logits at once, with the same gradients, in little memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from genunlearn.ops import vocabulary
from genunlearn.ops.vocabulary import token_scores

COUNT, WIDTH, VOCAB = 7, 5, 11


def inputs(has_bias: bool, dtype: torch.dtype = torch.float32) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((COUNT, WIDTH), (VOCAB, WIDTH), (VOCAB,))
    made = [torch.randn(*size, generator=generator).to(dtype).requires_grad_() for size in sizes]
    return [*made[:2], made[2] if has_bias else None]


TARGETS = torch.tensor([3, 0, 10, 3, 7, 1, 3])
SLOPES = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.5, -0.25, 3.0])


def test_worked_by_hand():
    # Logits of the one token are (log 1, log 3, log 4): of 8 parts the target has 3, and another token more.
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [math.log(3)], [math.log(4)]], requires_grad=True)
    logprobs, is_best = token_scores(hidden, weight, None, torch.tensor([1]), wants_best=True)
    assert logprobs.item() == pytest.approx(math.log(3 / 8))
    assert is_best.tolist() == [False]
    logprobs.sum().backward()
    # d/dW is (onehot - p) h, d/dh is W[y] - sum p W.
    assert weight.grad[:, 0].tolist() == pytest.approx([-1 / 8, 5 / 8, -4 / 8])
    assert hidden.grad.item() == pytest.approx(5 / 8 * math.log(3) - 4 / 8 * math.log(4), abs=1e-6)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("kept", [0, 2**28], ids=["computed again", "kept"])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_values_and_gradients_are_those_of_all_logits(monkeypatch, has_bias, kept, rows):
    monkeypatch.setattr(vocabulary, "KEPT_BYTES", kept)
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", {"cpu": 4 * VOCAB * rows, "cuda": 0})
    given, plain = inputs(has_bias), inputs(has_bias)
    logits = F.linear(*plain)
    expected = logits.log_softmax(-1).gather(-1, TARGETS[:, None])[:, 0]
    logprobs, is_best = token_scores(*given, TARGETS, wants_best=True)
    assert torch.allclose(logprobs, expected, atol=1e-6)
    assert torch.equal(is_best, logits.argmax(-1) == TARGETS)
    (logprobs * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    for tensor, other in zip(given, plain, strict=True):
        if tensor is not None:
            assert torch.allclose(tensor.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("learns", ["hidden", "weight", "bias"])
def test_each_gradient_alone(learns):
    given, plain = inputs(True), inputs(True)
    for tensors in (given, plain):
        for name, tensor in zip(("hidden", "weight", "bias"), tensors, strict=True):
            tensor.requires_grad_(name == learns)
    (token_scores(*given, TARGETS)[0] * SLOPES).sum().backward()
    logits = F.linear(*plain)
    (logits.log_softmax(-1).gather(-1, TARGETS[:, None])[:, 0] * SLOPES).sum().backward()
    for tensor, other in zip(given, plain, strict=True):
        assert (tensor.grad is None) == (other.grad is None)
        assert tensor.grad is None or torch.allclose(tensor.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_stay_finite(size):
    hidden = torch.full((1, 1), size)
    weight = torch.tensor([[0.0], [1.0], [-1.0]])
    logprobs, _ = token_scores(hidden, weight, None, torch.tensor([0]))
    assert logprobs.item() == pytest.approx(-1e4)


def test_no_tokens():
    hidden, weight, _ = inputs(False)
    logprobs, is_best = token_scores(hidden[:0], weight, None, TARGETS[:0], wants_best=True)
    assert logprobs.shape == is_best.shape == (0,)
    logprobs.sum().backward()
    assert weight.grad is None or not weight.grad.any()


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_short_types_are_near_float32(dtype, near):
    given, exact = inputs(True, dtype), inputs(True)
    logprobs, _ = token_scores(*given, TARGETS)
    expected, _ = token_scores(*exact, TARGETS)
    assert logprobs.dtype == torch.float32
    assert torch.allclose(logprobs, expected, atol=near, rtol=near)
    (logprobs * SLOPES).sum().backward()
    (expected * SLOPES).sum().backward()
    for tensor, other in zip(given, exact, strict=True):
        assert tensor.grad.dtype == dtype
        assert torch.allclose(tensor.grad.float(), other.grad, atol=3 * near, rtol=near)


def test_memory_does_not_grow_with_the_tokens(monkeypatch):
    """With a frozen output layer no tensor is as large as the logits of all tokens."""
    monkeypatch.setattr(vocabulary, "CHUNK_BYTES", {"cpu": 4 * VOCAB * 2, "cuda": 0})
    hidden, weight, _ = inputs(False)
    saved: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_scores(hidden, weight.detach(), None, TARGETS)[0].sum().backward()
    assert max(saved) < COUNT * VOCAB
