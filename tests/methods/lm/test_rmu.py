"""RMU against numbers worked by hand, and what it asks of a model."""

from __future__ import annotations

import pytest
import torch

from genunlearn.contracts import Batch, Examples
from genunlearn.domains.lm.hidden import layer_at
from genunlearn.errors import MismatchError
from genunlearn.methods.lm.rmu import RMU
from genunlearn.ops.logprobs import IGNORE


class Inside:
    """A model, or a reference, of two layers with given states of width 2; the answers have one token and two."""

    def __init__(self, *layers: list) -> None:
        self.states = torch.stack([torch.tensor(layer, dtype=torch.float32) for layer in layers], dim=2)
        self.states.requires_grad_()

    def layer_states(self, examples: Examples, layer: int | None, depth: float) -> torch.Tensor:
        return self.states[:, :, layer_at(layer, depth, self.states.shape[2])]

    def output_labels(self, examples: Examples) -> torch.Tensor:
        return torch.tensor([[IGNORE, 5], [6, 7]])

    def ask(self, name: str, examples: Examples, *more: float) -> torch.Tensor:
        return getattr(self, name)(examples, *more).detach()


EXAMPLES = Examples(("a", "b"), torch.ones(2), {})
ZERO = [[[0.0, 0.0]] * 3] * 2
STATES = [[[9.0, 9.0], [1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]]]


def along(method: RMU, x: float, y: float) -> float:
    """|h - c u|^2 / 2 for h = (x, y)."""
    u = method.direction(2) * method.coefficient
    return ((x - u[0]) ** 2 + (y - u[1]) ** 2).item() / 2


def test_the_direction_is_a_unit_vector_without_negative_entries_drawn_by_the_seed():
    first = RMU(seed=1).direction(64)
    assert first.norm().item() == pytest.approx(1)
    assert first.min() >= 0
    assert torch.equal(first, RMU(seed=1).direction(64))
    assert not torch.equal(first, RMU(seed=2).direction(64))


def test_the_forget_term_counts_the_places_that_predict_the_answer():
    # First answer: its one token is predicted at place 1, (1, 0). Second: places 0 and 1, (0, 2) and (0, 4).
    method = RMU(layer=1)
    term = method.loss(Batch(forget=EXAMPLES), Inside(ZERO, STATES), Inside(ZERO, ZERO))["forget"]
    expected = along(method, 1, 0) + (along(method, 0, 2) + along(method, 0, 4)) / 2
    assert term.sum.item() == pytest.approx(expected)


def test_as_published_the_places_of_the_tokens_count():
    # First answer: place 2, (3, 0). Second: places 1 and 2, (0, 4) and (0, 6).
    method = RMU(layer=1, places="tokens")
    term = method.loss(Batch(forget=EXAMPLES), Inside(ZERO, STATES), Inside(ZERO, ZERO))["forget"]
    assert term.sum.item() == pytest.approx(along(method, 3, 0) + (along(method, 0, 4) + along(method, 0, 6)) / 2)


def test_the_adaptive_coefficient_grows_with_the_originals_state():
    # The original's states there have the norms 1, 2 and 4; c = 2 times these.
    method, u = RMU(layer=0, adaptive=True), RMU().direction(2)
    term = method.loss(Batch(forget=EXAMPLES), Inside(ZERO, ZERO), Inside(STATES, STATES))["forget"]
    # States of 0: |c n u|^2 / 2 = 2 n^2 as |u| = 1.
    assert u.norm().item() == pytest.approx(1)
    assert term.sum.item() == pytest.approx(2 * 1 + (2 * 4 + 2 * 16) / 2)


def test_the_retain_term_is_the_distance_from_the_original():
    # Layer 1, places 1; 0 and 1: |(1, 0)|^2 / 2 + (|(0, 2)|^2 + |(0, 4)|^2) / 4 = 1/2 + 5.
    method = RMU(layer=1, alpha=0.5)
    term = method.loss(Batch(retain=EXAMPLES), Inside(ZERO, STATES), Inside(STATES, ZERO))["retain"]
    assert term.sum.item() == pytest.approx(5.5)
    assert (term.side, term.coefficient) == ("retain", 0.5)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(MismatchError, match=r"method.layer = 2: this model has the layers 0 to 1"):
        RMU(layer=2).loss(Batch(forget=EXAMPLES), Inside(ZERO, STATES), Inside(ZERO, ZERO))


def test_states_of_a_model_are_those_that_its_logits_are_made_of(world):
    model = world.open()
    examples = model.collate(world.splits.forget)
    states = model.hidden_states(examples)
    assert states.shape[1:] == (model.logits(examples).shape[1], 2, 32)
    assert torch.allclose(model.network.lm_head(states[:, :, -1]), model.logits(examples), atol=1e-5)
    assert len(model.decoder_layers()) == 2
