"""Which weights of an objective's training are kept."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Outcome
from genunlearn.contracts.best import PATIENCE
from genunlearn.engine import parameters
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.runs.unlearning import Stop, carry_out

SETTINGS = TrainConfig(learning_rate=1e-3, batch_size=4, max_steps=4, check_every=1, save_every=1)


class Run:
    """Training whose recall and utility after each step are given; `kill` ends it at a step."""

    def __init__(self, world, recalls, utilities, floor=0.8, kill=None, state=None, settings=SETTINGS):
        self.model = world.open()
        self.trainer = Trainer(self.model, settings, ParametersConfig(rank=2), seed=1, state=state)
        self.recalls, self.utilities, self.kill = recalls, utilities, kill
        self.weights = [self.now()]
        self.asked: list[int] = []
        stop = Stop(0.0, self.recall, floor, self.utility)
        journal = FileJournal(state)
        self.outcome: Outcome = carry_out(GradDiff(), self.trainer, world.splits, journal, seed=0, stop=stop)

    def now(self) -> torch.Tensor:
        weights = parameters.trainable(self.model.network).values()
        return torch.cat([weight.detach().flatten() for weight in weights]).clone()

    def recall(self) -> float:
        step = self.trainer.steps_done
        if step == self.kill:
            raise KeyboardInterrupt
        self.weights.append(self.now())
        return self.recalls[step - 1]

    def utility(self) -> float:
        self.asked.append(self.trainer.steps_done)
        return self.utilities[self.trainer.steps_done]


@pytest.mark.parametrize(
    ("recalls", "utilities", "kept", "status"),
    [
        # Step 2 tells least and is below the floor of 0.8 times 0.9; of steps 1 and 3, which are equal, the first.
        ([0.5, 0.0, 0.5, 1.0], [0.9, 0.8, 0.5], 1, "not_forgotten"),
        ([0.5, 0.0, 0.0, 1.0], [0.9, 0.8, 0.5, 0.72], 3, "forgotten"),
        ([0.0, 0.0, 0.0, 0.0], [0.9, 0.1, 0.1, 0.1, 0.1], 0, "utility_floor"),
    ],
)
def test_an_objective_keeps_its_best_weights_above_the_floor(world, recalls, utilities, kept, status):
    run = Run(world, recalls, utilities)
    assert run.outcome.status == status
    assert torch.equal(run.now(), run.weights[kept])
    assert not torch.equal(run.weights[0], run.weights[1])


def test_utility_is_asked_only_where_less_is_told(world):
    assert Run(world, [0.5, 0.5, 0.4, 0.6], [1.0] * 5).asked == [0, 1, 3]
    assert Run(world, [0.5, 0.5, 0.4, 0.6], [], floor=None).asked == []


def test_the_floor_says_what_to_do_next(world):
    reason = Run(world, [0.0] * 4, [0.9, 0.1, 0.1, 0.1, 0.1]).outcome.reason
    assert "less often than the floor of 0.72 (before: 0.90) at every check" in reason
    assert "next: more retain data (--retain FILE), a lower train.learning_rate" in reason


def test_a_ruined_training_is_not_gone_on_with(world):
    settings = SETTINGS.model_copy(update={"max_steps": PATIENCE + 5})
    run = Run(world, [0.0] * 20, [0.9] + [0.1] * 20, settings=settings)
    assert run.trainer.steps_done == PATIENCE


@pytest.mark.parametrize("kill", [2, 3, 4])
def test_the_best_weights_survive_a_kill(world, tmp_path, kill):
    given = ([0.5, 0.0, 0.5, 1.0], [0.9, 0.8, 0.5])
    with pytest.raises(KeyboardInterrupt):
        Run(world, *given, kill=kill, state=tmp_path)
    straight, resumed = Run(world, *given), Run(world, *given, state=tmp_path)
    assert torch.equal(resumed.now(), straight.now())
    assert resumed.outcome == straight.outcome
