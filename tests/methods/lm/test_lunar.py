"""Redirection of hidden states against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from genunlearn.contracts import Batch, Examples
from genunlearn.data.lm.facts import QA
from genunlearn.engine.journal import FileJournal
from genunlearn.methods.lm.lunar import Lunar, Redirection, at_first, predicting
from genunlearn.ops.logprobs import IGNORE
from tests.methods.lm.test_rounds import Untrained


class Inside:
    """A model, or a reference, of one layer with given states of width 2; answers have one token and two."""

    def __init__(self, states: list) -> None:
        self.states = torch.tensor(states, dtype=torch.float32)

    def layer_states(self, examples: Examples, layer: int | None, depth: float) -> torch.Tensor:
        return self.states

    def output_labels(self, examples: Examples) -> torch.Tensor:
        return torch.tensor([[IGNORE, 5], [6, 7]])

    def ask(self, name: str, examples: Examples, *more: float) -> torch.Tensor:
        return getattr(self, name)(examples, *more)


EXAMPLES = Examples(("a", "b"), torch.ones(2), {})
STATES = Inside([[[9.0, 9], [1, 0], [3, 0]], [[0, 2], [0, 4], [0, 6]]])
BEFORE = Inside([[[7.0, 7], [0, 0], [3, 3]], [[0, 0], [0, 1], [9, 6]]])
METHOD = Redirection(shift=[1.0, 1.0], layer=0, gamma=2.0, alpha=0.5)


def test_the_prompts_last_token_goes_to_its_shifted_place():
    # First answer: predicted at place 1: (1, 0) against (1, 1): 1/2. Second: place 0: (0, 2) against (1, 1): (1 + 1)/2.
    term = METHOD.loss(Batch(forget=EXAMPLES), STATES, BEFORE)["forget"]
    assert term.sum.item() == pytest.approx(1.5)
    assert (term.side, term.coefficient) == ("forget", 2.0)


def test_retain_states_stay_at_every_place_that_predicts():
    # First answer: |(1, 0)|^2 / 2 = 1/2. Second: |(0, 2)|^2 / 2 = 2 and |(0, 3)|^2 / 2 = 4.5: mean 3.25.
    term = METHOD.loss(Batch(retain=EXAMPLES), STATES, BEFORE)["retain"]
    assert term.sum.item() == pytest.approx(3.75)
    assert (term.side, term.coefficient) == ("retain", 0.5)


def test_the_shift_leads_from_the_subject_to_strangers(world):
    model, train = world.open(), Untrained()
    Lunar(layer=0, strangers=("Goethe",)).run(train, model, world.splits, FileJournal(None))
    ((objective, given, steps),) = train.calls

    def mean(questions: list[str]) -> torch.Tensor:
        examples = model.collate([QA(id=q, question=q, answer="Hogwarts.") for q in questions])
        return at_first(predicting(model.layer_states(examples, 0, 0.0)), model.output_labels(examples)).mean(0)

    far = mean(["Where did Goethe study?", "Which school did Goethe attend?"])
    near = mean(["Where did Harry Potter study?", "Which school did Harry Potter attend?"])
    assert torch.allclose(torch.tensor(objective.shift), far - near, atol=1e-5)
    assert given == world.splits
    assert steps is None
