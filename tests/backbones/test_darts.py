"""Gradients of an architecture on problems small enough to work out by hand, and against autograd."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.backbones.darts import first_order, forget_gap, second_order, unlearning_steps


def test_second_order_by_hand():
    # L_train = (w - a)^2 / 2, L_val = w a, w = 1, a = 0.5, xi = 0.1.
    # w' = 1 - 0.1 * (1 - 0.5) = 0.95; gradient: w' + dL_val/dw' * dw'/da = 0.95 + 0.5 * 0.1 = 1.0
    w, a = torch.tensor([1.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64, requires_grad=True)

    def inner(weights):
        return ((weights[0] - a) ** 2).sum() / 2

    def outer(weights):
        return (weights[0] * a).sum()

    assert second_order(inner, outer, [w], [a], rate=0.1)[0].item() == pytest.approx(1.0)
    # with momentum 0.2 and decay 0.5: w' = 1 - 0.1 * (0.2 + 0.5 + 0.5 * 1) = 0.88, and 0.88 + 0.05 = 0.93
    given = second_order(inner, outer, [w], [a], rate=0.1, momentum=[torch.full_like(w, 0.2)], decay=0.5)
    assert given[0].item() == pytest.approx(0.93)
    assert first_order(outer, [w], [a])[0].item() == 1.0  # w alone
    assert w.item() == 1.0


def test_second_order_agrees_with_autograd():
    torch.manual_seed(0)
    x, y, x_valid = (torch.randn(6, 3, dtype=torch.float64) for _ in range(3))
    w = torch.randn(3, 3, dtype=torch.float64)
    alphas = [
        torch.randn(2, dtype=torch.float64, requires_grad=True),
        torch.randn(1, dtype=torch.float64).requires_grad_(),
    ]
    momentum, rate, decay = torch.randn(3, 3, dtype=torch.float64), 0.05, 0.1

    def answer(weight, inputs):
        shares = alphas[0].softmax(0)
        return shares[0] * torch.tanh(inputs @ weight) + shares[1] * (inputs @ weight) ** 2 * alphas[1]

    def inner(weights):
        return ((answer(weights[0], x) - y) ** 2).mean()

    def outer(weights):
        return ((answer(weights[0], x_valid) - y) ** 2).mean()

    found = second_order(inner, outer, [w], alphas, rate=rate, momentum=[momentum], decay=decay)
    leaf = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(inner([leaf]), leaf, create_graph=True)
    exact = torch.autograd.grad(outer([leaf - rate * (momentum + slope + decay * leaf)]), alphas)
    plain = first_order(outer, [w], alphas)
    for mine, its, first in zip(found, exact, plain, strict=True):
        assert torch.allclose(mine, its, rtol=1e-3)
        assert not torch.allclose(first, its, rtol=1e-2)  # the difference is what second order is for


def test_a_flat_outer_loss_leaves_the_direct_gradient():
    w, a = torch.ones(2), torch.ones(1, requires_grad=True)
    found = second_order(lambda v: (v[0] * a).sum(), lambda v: (3 * a + 0 * v[0]).sum(), [w], [a], rate=0.1)
    assert found[0].item() == 6.0  # of the sum over two, and no NaN


def test_the_gap_counts_a_sure_mistake_as_guessing():
    retain, forget = torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0])
    assert forget_gap(retain, forget, math.log(4)).item() == pytest.approx(2 - math.log(4))
    assert forget_gap(retain, forget / 10, math.log(4)).item() == pytest.approx(2 - 0.5)


def test_unlearning_steps_by_hand():
    w = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    # gap = w^2 / 2 has the slope w: 0.5 -> 0.5 - 0.2 * 0.5 = 0.4 -> 0.32, and d w_2 / d w = 0.8^2
    (after,) = unlearning_steps(lambda v: (v[0] ** 2).sum() / 2, [w], steps=2, rate=0.2, through=True)
    assert after.item() == pytest.approx(0.32)
    assert torch.autograd.grad(after, w)[0].item() == pytest.approx(0.64)
    # a slope of 3 is cut to 1: 0.5 - 0.2
    (cut,) = unlearning_steps(lambda v: 3 * v[0].sum(), [w], steps=1, rate=0.2, through=False)
    assert cut.item() == pytest.approx(0.3) and not cut.requires_grad
