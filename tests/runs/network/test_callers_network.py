"""What `genunlearn.unlearn` leaves alone: everything of the caller's network but the values that had to change."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import genunlearn
from genunlearn.errors import DamageWarning, MismatchError, NonFiniteLoss
from genunlearn.registry import METHODS

SMALL: dict[str, dict[str, Any]] = {
    "gkt": {"pseudo_batches": 2, "batch_size": 8},
    "scrub": {"rounds": 2, "max_steps": 1, "min_steps": 1},
    "unsir": {"noise_count": 4, "noise_steps": 2, "impair_steps": 2, "repair_steps": 1},
    "emmn": {"noise_count": 4, "forget_steps": 2, "retain_steps": 2},
    "blindspot": {"blindspot_batch": 16},
}
OF_REGRESSORS = ("blindspot", "gaussian_amnesiac")
FROZEN = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")

OF_FEDERATIONS = frozenset({"federated"})
OFFERED = [line.name for line in METHODS.lines("network") if METHODS.load(line).domains != OF_FEDERATIONS]
every_method = pytest.mark.parametrize("method", OFFERED)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        yield


def network(outputs: int = 3) -> nn.Sequential:
    """A convolution and its BatchNorm frozen, the latter in evaluation mode, and a head with a gradient from before."""
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten()
    made = nn.Sequential(*parts, nn.Linear(4 * 16, outputs)).train()
    made[:2].requires_grad_(False)
    made[1].eval()
    made[5].bias.grad = torch.ones(outputs)
    return made


def data(method: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Twelve pictures each of three kinds; the first is to go."""
    kinds = torch.arange(3).repeat(12)
    generator = torch.Generator().manual_seed(1)
    pictures = (torch.randn(36, 1, 4, 4, generator=generator) + kinds[:, None, None, None]).to(dtype)
    targets, gone = kinds.float() if method in OF_REGRESSORS else kinds, kinds == 0
    return {"forget": (pictures[gone], targets[gone]), "retain": (pictures[~gone], targets[~gone])}


def made_for(method: str) -> nn.Sequential:
    return network(1 if method in OF_REGRESSORS else 3)


def asked(method: str) -> dict[str, Any]:
    return {"method": {"name": method, **SMALL.get(method, {})}, "train": {"max_steps": 2, "batch_size": 16}}


def outside(module: nn.Module) -> dict[str, Any]:
    """All that is not the value of a weight."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {
        "modes": [part.training for part in module.modules()],
        "attributes": [sorted(vars(part)) for part in module.modules()],
        "tensors": [
            (name, t.dtype, t.stride(), t.data_ptr(), t.requires_grad, None if t.grad is None else t.grad.tolist())
            for name, t in tensors
        ],
    }


@every_method
def test_what_is_frozen_stays_and_nothing_is_left_behind(method: str) -> None:
    module = made_for(method)
    before, values = outside(module), copy.deepcopy(module.state_dict())
    random_state = torch.random.get_rng_state()
    assert genunlearn.unlearn(module, **data(method), **asked(method)) is module
    assert outside(module) == before
    assert torch.equal(torch.random.get_rng_state(), random_state)
    for name in FROZEN:
        assert torch.equal(module.state_dict()[name], values[name]), name


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_method_works_in_every_precision(method: str, dtype: torch.dtype) -> None:
    module = made_for(method)
    module[5].bias.grad = None
    module = module.to(dtype)
    before = outside(module)
    genunlearn.unlearn(module, **data(method, dtype), **asked(method))
    assert outside(module) == before
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())


def test_sixteen_bits_change_like_thirty_two() -> None:
    # A step of AdamW at rate 1e-3 moves each weight by about 1e-3; bfloat16 has 8 bits, so that its weights above 0.25
    # would not move at all if they were trained themselves. Here 40 steps are summed before they are rounded.
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        module = made_for("amnesiac")
        module[5].bias.grad = None
        module[3].p = 0.0
        genunlearn.unlearn(module.to(dtype), **data("amnesiac"), method="amnesiac", train={"max_steps": 40})
        results[dtype] = module[5].weight.detach().float()
    assert torch.allclose(results[torch.float32], results[torch.bfloat16], atol=5e-3)


def test_a_failure_leaves_the_network_as_it_was() -> None:
    module = made_for("grad_ascent")
    before, values = outside(module), copy.deepcopy(module.state_dict())
    with pytest.raises(NonFiniteLoss, match="the network is as it was before the call: lower"):
        genunlearn.unlearn(
            module, **data("grad_ascent"), method="grad_ascent", train={"learning_rate": 1e36}, soften=False
        )
    assert outside(module) == before
    assert all(torch.equal(tensor, values[name]) for name, tensor in module.state_dict().items())


def test_a_warning_made_an_error_leaves_the_network_as_it_was() -> None:
    module = made_for("grad_ascent")
    before, values = outside(module), copy.deepcopy(module.state_dict())
    with warnings.catch_warnings(), pytest.raises(DamageWarning, match="no retain data is given"):
        warnings.simplefilter("error", DamageWarning)
        genunlearn.unlearn(module, forget=data("grad_ascent")["forget"], **asked("grad_ascent"))
    assert outside(module) == before
    assert all(torch.equal(tensor, values[name]) for name, tensor in module.state_dict().items())


def test_a_network_frozen_throughout_is_refused() -> None:
    with pytest.raises(MismatchError, match="every weight is frozen"):
        genunlearn.unlearn(network().requires_grad_(False), **data("ssd"), method="ssd")


def test_it_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        genunlearn.unlearn(network(), **data("fine_tune"), **asked("fine_tune"))
    with torch.inference_mode():
        found = genunlearn.unlearn(trained := network_made_outside(), **data("fine_tune"), **asked("fine_tune"))
    assert found is trained


def network_made_outside() -> nn.Module:
    with torch.inference_mode(False):
        return network()


def test_shared_weights_stay_shared() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 4), nn.Linear(4, 4)
    last.weight = first.weight
    module = nn.Sequential(first, nn.ReLU(), last)
    x, y = torch.randn(32, 4), torch.arange(4).repeat(8)
    before = first.weight.detach().clone()
    genunlearn.unlearn(
        module, forget=(x[y == 0], y[y == 0]), retain=(x[y > 0], y[y > 0]), method="amnesiac", train={"max_steps": 2}
    )
    assert module[0].weight is module[2].weight
    assert not torch.equal(first.weight, before)
