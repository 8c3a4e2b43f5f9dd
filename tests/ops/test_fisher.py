"""Fisher information of a one-weight regression, by hand, and of a network against a plain loop."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from genunlearn.ops.fisher import batch_fisher, empirical_fisher, gradient_norms

WEIGHT = {"w": torch.tensor(2.0, requires_grad=True)}
DATA = {"x": torch.tensor([1.0, 1.0, 2.0]), "y": torch.tensor([1.0, 3.0, 4.0])}


def loss(weights: dict, example: dict) -> torch.Tensor:
    return (weights["w"] * example["x"] - example["y"]).square() / 2


# Gradients (w x - y) x at w = 2: 1, -1, 0.


def test_empirical_fisher_squares_each_gradient() -> None:
    assert empirical_fisher(loss, WEIGHT, DATA, chunk=2)["w"].item() == pytest.approx(1 + 1 + 0)
    assert gradient_norms(loss, WEIGHT, DATA, chunk=2).tolist() == [1.0, 1.0, 0.0]


def test_batch_fisher_squares_the_mean_so_opposite_gradients_cancel() -> None:
    def means() -> list[torch.Tensor]:
        return [loss(WEIGHT, {name: t[part] for name, t in DATA.items()}).mean() for part in ([0, 1], [1, 2])]

    # Batch means: (1 - 1) / 2 = 0 and (-1 + 0) / 2 = -1/2; mean of squares (0 + 1/4) / 2.
    assert batch_fisher(means(), WEIGHT)["w"].item() == pytest.approx(1 / 8)


def test_an_unused_weight_has_no_importance() -> None:
    weights = WEIGHT | {"idle": torch.ones(2, requires_grad=True)}
    assert batch_fisher([loss(weights, {"x": 1.0, "y": 0.0})], weights)["idle"].tolist() == [0.0, 0.0]


def test_a_loss_that_looks_at_its_data_is_taken_one_by_one() -> None:
    def looking(weights: dict, example: dict) -> torch.Tensor:
        return loss(weights, example) if example["x"] > 1.5 else 3 * loss(weights, example)

    # Gradients 3, -3 and 0.
    assert empirical_fisher(looking, WEIGHT, DATA)["w"].item() == pytest.approx(18)
    with pytest.raises(RuntimeError, match="matmul"):
        empirical_fisher(lambda weights, example: weights["w"] @ example["x"], {"w": torch.ones(2)}, DATA)


def test_vmap_equals_the_loop_over_examples() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    x, y = torch.randn(5, 1, 4, 4), torch.randint(2, (5,))

    def network_loss(weights: dict, example: dict) -> torch.Tensor:
        logits = functional_call(network, weights, (example["x"][None],))
        return nn.functional.cross_entropy(logits, example["y"][None])

    fast = empirical_fisher(network_loss, dict(network.named_parameters()), {"x": x, "y": y}, chunk=2)
    slow = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for i in range(5):
        network.zero_grad()
        nn.functional.cross_entropy(network(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in network.named_parameters():
            slow[name] += p.grad.square()
    for name, value in slow.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-4, atol=1e-7)
