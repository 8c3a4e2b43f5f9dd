"""State on disk: exact, whole or absent, and refused by another model."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from genunlearn.engine import checkpoints as checkpoints_module
from genunlearn.engine.checkpoints import Checkpoints, Position
from genunlearn.errors import DataError

HERE = Position(phase=1, step=3, is_done=False, history=[{"loss": 0.1 + 0.2}])


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def stepped(module: nn.Module, steps: int, optimizer: torch.optim.Optimizer | None = None) -> torch.optim.Optimizer:
    optimizer = optimizer or torch.optim.AdamW(module.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.linspace(-1, 1, 6).view(2, 3)).square().sum().backward()
        optimizer.step()
    return optimizer


def test_nothing_saved_is_no_position(tmp_path):
    assert Checkpoints(tmp_path / "not there").position() is None


def test_position_and_history_come_back_exactly(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(HERE, dict(network(0).named_parameters()), None)
    assert checkpoints.position() == HERE
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_state_that_is_replaced_while_it_is_looked_at_still_says_where_it_stands(tmp_path, monkeypatch):
    """torch maps tensors by opening the path once more: another process may have put a smaller file there."""
    Checkpoints(tmp_path).save(HERE, dict(network(0).named_parameters()), None)
    monkeypatch.setattr(torch.UntypedStorage, "from_file", lambda *args: pytest.fail("opened a second time"))
    assert Checkpoints(tmp_path).position() == HERE


def test_a_deferred_state_is_that_of_when_it_was_saved(tmp_path, monkeypatch):
    """Weights go on while it is written; who reads waits for it, and so does the next one."""
    module, may_write, written = network(0), threading.Event(), []
    expected = [weight.detach().clone() for weight in module.parameters()]

    def slowly(tensors, path, metadata):
        assert may_write.wait(60)
        written.append(json.loads(metadata["position"])["step"])
        save_file(tensors, path, metadata)

    monkeypatch.setattr(checkpoints_module, "save_file", slowly)
    checkpoints = Checkpoints(tmp_path, is_deferred=True)
    checkpoints.save(HERE, dict(module.named_parameters()), None)
    stepped(module, 2)
    assert not checkpoints.path.exists() and not written
    may_write.set()
    assert checkpoints.position() == HERE
    checkpoints.restore(module)
    assert all(torch.equal(weight, before) for weight, before in zip(module.parameters(), expected, strict=True))
    checkpoints.save(replace(HERE, step=4), dict(module.named_parameters()), None)
    checkpoints.save(replace(HERE, step=5, is_done=True), dict(module.named_parameters()), None)
    assert written == [3, 4, 5]  # the last one is there, because it says that it is done


def test_a_deferred_state_that_cannot_be_written_is_told_at_the_next(tmp_path):
    checkpoints = Checkpoints(tmp_path / "file" / "folder", is_deferred=True)
    (tmp_path / "file").write_text("")
    checkpoints.save(HERE, dict(network(0).named_parameters()), None)
    with pytest.raises(OSError):
        checkpoints.save(HERE, dict(network(0).named_parameters()), None)


def test_training_goes_on_to_the_same_weights(tmp_path):
    straight = network(0)
    stepped(straight, 5)
    interrupted = network(0)
    optimizer = stepped(interrupted, 2)
    Checkpoints(tmp_path).save(HERE, dict(interrupted.named_parameters()), optimizer)

    resumed = network(1)
    fresh = torch.optim.AdamW(resumed.parameters(), lr=0.1)
    Checkpoints(tmp_path).restore(resumed, fresh)
    stepped(resumed, 3, fresh)
    for expected, weight in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, weight)


def test_only_the_saved_weights_are_put_back(tmp_path):
    saved, other = network(0), network(1)
    Checkpoints(tmp_path).save(HERE, {"1.bias": saved[1].bias}, None)
    kept = other[0].weight.clone()
    Checkpoints(tmp_path).restore(other)
    assert torch.equal(other[1].bias, saved[1].bias)
    assert torch.equal(other[0].weight, kept)


@pytest.mark.parametrize("weights", [{"2.weight": torch.zeros(2, 4)}, {"1.weight": torch.zeros(4, 2)}])
def test_another_model_is_refused_by_the_weight_that_does_not_fit(tmp_path, weights):
    Checkpoints(tmp_path).save(HERE, weights, None)
    with pytest.raises(
        DataError, match=rf"saved weight '{next(iter(weights))}' does not fit this model; start a fresh"
    ):
        Checkpoints(tmp_path).restore(network(0))


def test_tied_weights_are_saved_once(tmp_path):
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    Checkpoints(tmp_path).save(HERE, dict(module.named_parameters()), None)
    expected = module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight.zero_()
    Checkpoints(tmp_path).restore(module)
    assert torch.equal(module[1].weight, expected)


def test_a_write_that_dies_leaves_the_last_state(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(HERE, dict(network(0).named_parameters()), None)

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(Position(9, 9, True, []), dict(network(1).named_parameters()), None)
    assert checkpoints.position() == HERE


def test_the_state_is_plain_safetensors(tmp_path):
    from safetensors import safe_open

    module = network(0)
    Checkpoints(tmp_path).save(HERE, dict(module.named_parameters()), stepped(module, 1))
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        names = set(file.keys())
        assert json.loads(file.metadata()["position"])["step"] == 3
    assert {"weight/0.weight", "optimizer/0/exp_avg", "optimizer/0/exp_avg_sq", "optimizer/0/step"} <= names
