"""A run killed with SIGKILL, wherever it stands, goes on to bit-identical weights."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Objective
from genunlearn.engine import trainer as trainer_module
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
from genunlearn.methods.lm.undial import UNDIAL
from genunlearn.methods.lm.unstar import UnSTAR

LORA = ParametersConfig(rank=4, dropout=0.1)
TRAIN = TrainConfig(learning_rate=5e-3, batch_size=2, max_steps=7, save_every=3, warmup_steps=2, schedule="cosine")
STEPS = 7


class Deadly:
    """Ends this process with SIGKILL at the n-th call of a name; without a victim it only counts."""

    def __init__(self, victim: str | None = None, at: int = 0) -> None:
        self.victim, self.at = victim, at
        self.calls: dict[str, int] = {}

    def __call__(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name == self.victim and self.calls[name] == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, name: str, function: Callable) -> Callable:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self(name)
            return function(*args, **kwargs)

        return wrapped


def watch(deadly: Deadly, model: Any) -> None:
    """Give every place where a kill could hurt a name: forward passes, generated texts, files put in place."""
    model.example_loss = deadly.before("loss", model.example_loss)
    model.generate = deadly.before("generate", model.generate)
    os.replace = deadly.before("replace", os.replace)
    os.fsync = deadly.before("fsync", os.fsync)


def objective_run(objective: Objective, world: Any, state: Path, deadly: Deadly) -> Trainer:
    model = world.open()
    watch(deadly, model)
    trainer = Trainer(model, TRAIN, LORA, seed=1, state=state)
    trainer(objective, objective.prepare(world.splits, 1))
    return trainer


def unstar_run(options: dict[str, Any], world: Any, state: Path, deadly: Deadly) -> Trainer:
    """UnSTAR on reviewed anti-samples: probe, train, probe, round after round."""
    model = world.open()
    watch(deadly, model)
    train = TRAIN.model_copy(update={"learning_rate": 2e-3, "save_every": 2})
    trainer = Trainer(model, train, LORA, seed=1, state=state)
    method = UnSTAR(**world.options("unstar", state.parent), **options)
    method.run(trainer, model, world.splits, FileJournal(state))
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.domain.network.named_parameters()}


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def killed(run: Callable, *args: Any) -> None:
    """Run it in a process of its own until it dies."""
    process = multiprocessing.get_context("fork").Process(target=run, args=args)
    process.start()
    process.join(600)  # how long it takes depends on what else the machine does
    assert process.exitcode == -signal.SIGKILL


def kills(fast: list[tuple[str, int]], slow: list[tuple[str, int]]) -> list[Any]:
    """Places to die at, as parameters of a test."""
    return [*fast, *(pytest.param(*place, marks=pytest.mark.slow) for place in slow)]


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """`watch` puts its own functions into `os`; they go when the test ends."""
    monkeypatch.setattr(os, "replace", os.replace)
    monkeypatch.setattr(os, "fsync", os.fsync)


# ---- an objective ---------------------------------------------------------------------------------------------

OBJECTIVE_KILLS = kills(
    fast=[("loss", 9), ("replace", 2)],
    slow=[
        *[("loss", at) for at in (1, 2, 4, 5, 8, 13, 14)],  # two sides a step
        *[("replace", at) for at in (1, 3)],  # at a save, at the end
    ],
)


@pytest.fixture(scope="module")
def straight_objective(worlds, tmp_path_factory):
    trainer = objective_run(GradDiff(), worlds("lm"), tmp_path_factory.mktemp("straight") / "state", Deadly())
    return weights(trainer), trainer.history


@pytest.mark.parametrize(("victim", "at"), OBJECTIVE_KILLS)
def test_a_killed_objective_goes_on_to_the_same_weights(world, straight_objective, tmp_path, victim, at):
    expected, history = straight_objective
    killed(objective_run, GradDiff(), world, tmp_path / "state", Deadly(victim, at))
    resumed = objective_run(GradDiff(), world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), expected)
    assert resumed.history == history
    assert len(history) == STEPS


@pytest.mark.parametrize(("victim", "at"), kills(fast=[("loss", 9)], slow=[("replace", 1), ("replace", 2)]))
def test_a_run_whose_states_are_written_beside_training_goes_on_to_the_same_weights(
    world, straight_objective, tmp_path, monkeypatch, victim, at
):
    monkeypatch.setattr(trainer_module, "writes_beside", lambda device: True)
    killed(objective_run, GradDiff(), world, tmp_path / "state", Deadly(victim, at))
    resumed = objective_run(GradDiff(), world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), straight_objective[0])
    assert resumed.history == straight_objective[1]


def reopened_run(world: Any, state: Path, deadly: Deadly, *, is_reopened: bool = True) -> Trainer:
    """Full weights under a loss that asks the reference in every step."""
    model = world.open()
    watch(deadly, model)
    trainer = Trainer(model, TRAIN, ParametersConfig(kind="full"), seed=1, state=state, is_reopened=is_reopened)
    trainer(UNDIAL(), world.splits)
    return trainer


def test_weights_that_are_opened_anew_are_not_written_and_a_killed_run_goes_on(world, tmp_path):
    straight = reopened_run(world, tmp_path / "straight", Deadly(), is_reopened=False)
    assert (tmp_path / "straight" / "before.safetensors").is_file()
    killed(reopened_run, world, tmp_path / "state", Deadly("replace", 2))
    assert not (tmp_path / "state" / "before.safetensors").exists()
    resumed = reopened_run(world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), weights(straight)) and resumed.history == straight.history


@pytest.mark.slow
def test_killed_again_and_again(world, straight_objective, tmp_path):
    # Saves lie 3 steps apart: each attempt dies 4 steps after where it took up.
    for _ in range(2):
        killed(objective_run, GradDiff(), world, tmp_path / "state", Deadly("loss", 8))
    resumed = objective_run(GradDiff(), world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), straight_objective[0])


def early_run(world: Any, state: Path, deadly: Deadly) -> Trainer:
    """As `objective_run`, with a check that ends training after four steps."""
    model = world.open()
    watch(deadly, model)
    trainer = Trainer(model, TRAIN.model_copy(update={"save_every": 1, "check_every": 2}), LORA, seed=1, state=state)
    trainer(GradDiff(), world.splits, check=lambda done: done == 4)
    return trainer


@pytest.mark.slow
def test_an_early_end_comes_again(world, tmp_path):
    # Killed after the check has said so and before the end is written down: three saves, the end.
    straight = early_run(world, tmp_path / "straight", Deadly())
    killed(early_run, world, tmp_path / "state", Deadly("replace", 4))
    resumed = early_run(world, tmp_path / "state", Deadly())
    assert resumed.steps_done == 4
    assert identical(weights(resumed), weights(straight))


@pytest.mark.slow
def test_a_killed_objective_with_a_reference(world, tmp_path):
    straight = objective_run(NPO(), world, tmp_path / "straight", Deadly())
    for at in (1, 3):  # while the scores of the reference are put in place, and at the first save
        killed(objective_run, NPO(), world, tmp_path / f"state{at}", Deadly("replace", at))
        resumed = objective_run(NPO(), world, tmp_path / f"state{at}", Deadly())
        assert identical(weights(resumed), weights(straight))


# ---- a protocol -----------------------------------------------------------------------------------------------

UNSTAR_KILLS = kills(
    fast=[("loss", 13), ("generate", 3)],
    slow=[
        *[("loss", at) for at in (1, 6, 9, 15)],  # two sides a step, four steps a round: also in the second round
        *[("generate", at) for at in (1, 2, 4, 5)],  # neighbours before, probe, neighbours after, probe, ...
        *[("fsync", at) for at in (1, 3, 4)],  # while a line of the journal is written
        *[("replace", at) for at in (1, 3, 4)],
    ],
)
FOLDING_KILLS = kills(fast=[("loss", 12)], slow=[("loss", 3), ("generate", 3), ("replace", 3)])


@pytest.fixture(scope="module")
def straight_unstar(worlds, tmp_path_factory):
    """Weights and calls of an uninterrupted run, by the options of the method."""

    def run(**options: Any) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
        folder, deadly = tmp_path_factory.mktemp("straight"), Deadly()
        return weights(unstar_run(options, worlds("lm"), folder / "state", deadly)), deadly.calls

    return cache(run)


@pytest.mark.parametrize(("victim", "at"), UNSTAR_KILLS)
def test_a_killed_protocol_goes_on_to_the_same_weights(world, straight_unstar, tmp_path, victim, at):
    expected, calls = straight_unstar()
    assert calls[victim] >= at, "the run is over before"
    killed(unstar_run, {}, world, tmp_path / "state", Deadly(victim, at))
    resumed = unstar_run({}, world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), expected)


@pytest.mark.parametrize(("victim", "at"), FOLDING_KILLS)
def test_a_killed_protocol_that_folds_its_rounds_in(world, straight_unstar, tmp_path, victim, at):
    options = {"merge_each_round": True}
    expected, calls = straight_unstar(**options)
    assert calls[victim] >= at, "the run is over before"
    killed(unstar_run, options, world, tmp_path / "state", Deadly(victim, at))
    resumed = unstar_run(options, world, tmp_path / "state", Deadly())
    assert identical(weights(resumed), expected)


def test_a_resumed_protocol_asks_nothing_twice(world, straight_unstar, tmp_path):
    _, calls = straight_unstar()
    killed(unstar_run, {}, world, tmp_path / "state", Deadly("generate", calls["generate"]))
    again = Deadly()
    unstar_run({}, world, tmp_path / "state", again)
    assert again.calls["generate"] == 1
    assert "loss" not in again.calls
