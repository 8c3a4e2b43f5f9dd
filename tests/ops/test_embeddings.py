"""Adversarial embeddings: the closed form against its definition, the search against known minima."""

import pytest
import torch
from torch import nn

from genunlearn.ops.embeddings import EmbeddingAttack, adversarial_inputs, gram_of, matching_inputs
from genunlearn.ops.linear_edits import replace_map


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_closed_form_equals_the_sum_over_layers() -> None:
    weights = [random(5 + i, 8, seed=i) for i in range(4)]
    inputs = random(3, 8, seed=9)
    edited = replace_map(inputs, random(3, 8, seed=10), ridge=0.5).matrix()
    left, right = 0.1 * torch.eye(8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64)
    for weight in weights:  # as published: ( sum W'^T W' + r I )^-1 sum W'^T W
        changed = weight @ edited
        left, right = left + changed.T @ changed, right + changed.T @ weight
    expected = torch.linalg.solve(left, right @ inputs.T).T
    torch.testing.assert_close(adversarial_inputs(gram_of(weights), edited, inputs, 0.1), expected)


def test_an_unedited_model_needs_no_adversary() -> None:
    inputs = random(2, 8, seed=9)
    found = adversarial_inputs(gram_of([random(9, 8)]), torch.eye(8), inputs, 1e-9)
    torch.testing.assert_close(found, inputs)


def test_search_reaches_a_minimum() -> None:
    goal, start = torch.full((2, 1, 3), 0.5), torch.zeros(2, 1, 3)
    attack = EmbeddingAttack(steps=300, learning_rate=0.05)
    found = attack.run(start, lambda e: (e - goal).square().flatten(1).sum(1))
    torch.testing.assert_close(found, goal, atol=1e-2, rtol=0)


def test_signed_steps_by_hand() -> None:
    # Three steps of 0.1 towards larger values end at 0.3, and in a box of 0.25 at 0.25.
    start = torch.zeros(1, 1, 2)
    for radius, end in ((None, 0.3), (0.25, 0.25)):
        attack = EmbeddingAttack(steps=3, learning_rate=0.1, rule="sign", radius=radius)
        torch.testing.assert_close(attack.run(start, lambda e: -e.flatten(1).sum(1)), torch.full((1, 1, 2), end))


def test_no_step_returns_the_start() -> None:
    start = torch.ones(1, 2, 2)
    assert torch.equal(EmbeddingAttack(steps=0, learning_rate=0.1).run(start, lambda e: e.sum((1, 2))), start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_get_no_gradient_and_the_dtype_stays(dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 1, dtype=dtype)
    attack = EmbeddingAttack(steps=2, learning_rate=0.1)
    with torch.no_grad():  # the search works inside code that switches gradients off
        found = attack.run(torch.ones(2, 1, 3, dtype=dtype), lambda e: layer(e).flatten(1).sum(1))
    assert layer.weight.grad is None
    assert found.dtype == dtype
    assert not found.requires_grad


def test_matching_inputs_are_adversarial_ones_where_a_map_is_shared() -> None:
    draw = torch.Generator().manual_seed(3)
    originals = [torch.randn(4, 3, generator=draw) for _ in range(2)]
    edit, inputs = torch.randn(3, 3, generator=draw), torch.randn(5, 3, generator=draw)
    edited = [weight @ edit for weight in originals]
    expected = adversarial_inputs(gram_of(originals), edit, inputs, 0.1)
    torch.testing.assert_close(matching_inputs(edited, originals, inputs, 0.1), expected)
    # unchanged matrices leave an input as it is, but for the pull of the ridge
    torch.testing.assert_close(matching_inputs(originals, originals, inputs, 1e-9), inputs, atol=1e-5, rtol=1e-5)
