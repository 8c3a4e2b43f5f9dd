"""Saliency masks against sorting, and weights that must not move."""

import pytest
import torch
from torch import nn

from genunlearn.ops.saliency import held_still, kth_magnitude, saliency_masks


def test_the_largest_half_by_hand() -> None:
    gradients = {"a": torch.tensor([0.1, -0.9]), "b": torch.tensor([[0.5], [-0.2]])}
    masks = saliency_masks(gradients, 0.5)
    assert masks["a"].tolist() == [False, True]
    assert masks["b"].tolist() == [[True], [False]]


@pytest.mark.parametrize(("share", "marked"), [(0.0, 0), (1.0, 4)])
def test_shares_at_the_ends(share: float, marked: int) -> None:
    assert int(saliency_masks({"a": torch.tensor([1.0, -2.0, 3.0, 4.0])}, share)["a"].sum()) == marked


def test_a_zero_gradient_is_never_marked() -> None:
    assert saliency_masks({"a": torch.tensor([0.0, 0.0, 1.0])}, 1.0)["a"].tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 17, 5000, 10_000])
def test_the_kth_magnitude_is_that_of_sorting(k: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.randn(size, generator=generator) * 10.0**-size).to(dtype) for size in (1, 3, 7)]
    parts.append(torch.randn(9_989, generator=generator).to(dtype))
    everything = torch.cat([part.float().abs() for part in parts]).sort().values
    assert kth_magnitude(parts, k) == everything[k - 1].item()


@pytest.mark.parametrize("hold", ["weights", "gradients"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_what_is_not_marked_does_not_move(hold: str, decay: float) -> None:
    layer = nn.Linear(4, 1, bias=False)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=decay)
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()  # momentum that the masked weights bring along
    began = layer.weight.detach().clone()
    mask = torch.tensor([[True, False, True, False]])
    with held_still(dict(layer.named_parameters()), {"weight": mask}, hold):
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(1, 4)).square().sum().backward()
            optimizer.step()
    still = torch.equal(layer.weight[~mask], began[~mask])
    assert still == (hold == "weights"), "momentum moves weights whose gradient alone is masked"
    assert not torch.equal(layer.weight[mask], began[mask])
    assert not torch.equal(began, before)


def test_masked_gradients_hold_a_fresh_optimiser_without_decay() -> None:
    layer = nn.Linear(3, 1, bias=False)
    mask = torch.tensor([[True, False, False]])
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.0)
    began = layer.weight.detach().clone()
    with held_still(dict(layer.named_parameters()), {"weight": mask}, "gradients"):
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    assert torch.equal(layer.weight[~mask], began[~mask])


def test_afterwards_everything_moves_again() -> None:
    layer = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with held_still(dict(layer.named_parameters()), {"weight": torch.zeros(1, 3, dtype=torch.bool)}):
        pass
    began = layer.weight.detach().clone()
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight, began - 0.1)
