"""Texts in one row without padding: the scores of texts by themselves, on every family that takes it."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig
from genunlearn.contracts import Batch
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.packing import answer_rows, is_packable, pack
from genunlearn.engine import parameters
from genunlearn.ops.logprobs import answer_logprobs
from tests.tiny_models import FAMILIES

ITEMS = [
    QA(id="a", question="Who?", answer="Goethe."),
    QA(id="b", question="Where did Harry Potter study, and for how long?", answer="Hogwarts, in Scotland."),
    QA(id="c", question="Where was Marie Curie born?", answer="Warsaw."),
]


def test_a_row_worked_by_hand():
    packing = pack([([1, 2], [3]), ([4], [5, 6, 7])], torch.device("cpu"))
    assert packing.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert packing.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert (packing.texts.rows, packing.texts.width) == (2, 4)
    assert packing.texts.slots.tolist() == [0, 1, 2, 4, 5, 6, 7]  # the fourth place of the first text is empty
    assert packing.predicting.tolist() == [1, 3, 4, 5]
    assert packing.targets.tolist() == [3, 5, 6, 7]


def test_answers_end_in_the_same_column():
    values = answer_rows(torch.tensor([1.0, 2.0, 3.0, 4.0]), [([9], [1]), ([9], [1, 2, 3])])
    assert values.tolist() == [[0, 0, 1], [2, 3, 4]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_scores_and_gradients_are_those_of_padded_batches(tiny, family, kind):
    model = tiny(family)
    parameters.attach(model, ParametersConfig(kind=kind, rank=4), seed=0)
    with torch.no_grad():
        for weight in parameters.trainable(model.module).values():
            weight.add_(torch.linspace(-0.02, 0.02, weight.numel()).view_as(weight))
    examples = model.collate(ITEMS)
    weights = [*parameters.trainable(model.module).values()]
    packed = model.token_logprobs(examples)
    assert model._tried[1]
    padded = answer_logprobs(model.logits(examples), examples["labels"])
    assert torch.allclose(packed, padded, atol=1e-5)
    slopes = torch.linspace(-1, 1, padded.numel()).view_as(padded)
    found, expected = (torch.autograd.grad((values * slopes).sum(), weights) for values in (packed, padded))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-3)


def test_no_text_sees_another(tiny):
    model = tiny("llama")
    alone = model.sequence_nll(model.collate(ITEMS[2:]))
    for others in (ITEMS[:1], ITEMS[:2]):
        assert torch.allclose(model.sequence_nll(model.collate([*others, ITEMS[2]]))[-1:], alone, atol=1e-5)


def test_the_network_is_left_as_it_was(tiny):
    model = tiny("llama")
    before, head = model.module.config._attn_implementation, model.module.lm_head
    model.sequence_nll(model.collate(ITEMS))
    assert model.module.config._attn_implementation == before
    assert "forward" not in vars(head)


class Scaled(torch.nn.Module):
    """A network whose logits are not what its output layer puts out, as in Cohere's and Granite's."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, **given):
        output = self.network(**given)
        output.logits = 0.5 * output.logits
        return output


def test_a_network_that_changes_its_logits_is_read_padded(tiny):
    model = tiny("llama")
    assert is_packable(model.module, model.module)
    assert not is_packable(Scaled(model.module), model.module)


def test_a_network_that_mixes_the_texts_of_a_row_is_read_padded(tiny, monkeypatch):
    model = tiny("llama")
    for layer in model.module.model.layers:  # an attention of its own, which asks no table
        monkeypatch.setattr(layer.self_attn, "config", type(model.module.config)(attn_implementation="eager"))
    assert not is_packable(model.module, model.module)


def test_a_window_of_attention_is_read_padded(tiny):
    model = tiny("mistral")
    model.module.config.sliding_window = 4
    assert not is_packable(model.module, model.module)


def test_layers_that_run_again_are_read_padded(tiny):
    """Activation checkpointing computes layers anew in the backward pass, where attention is the usual one."""
    model = tiny("llama")
    expected = torch.autograd.grad(model.sequence_nll(model.collate(ITEMS)).sum(), [*model.module.parameters()][1])
    model.module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.module.train()
    found = torch.autograd.grad(model.sequence_nll(model.collate(ITEMS)).sum(), [*model.module.parameters()][1])
    assert torch.allclose(found[0], expected[0], atol=1e-4)


def test_both_sides_come_from_one_pass_and_the_reference_is_asked_anew(tiny):
    model = tiny("llama")
    batch = Batch(model.collate(ITEMS[:2]), model.collate(ITEMS[2:]))
    forwards = model.meter.forwards
    together = model.score_together(batch, (("forget", "sequence_nll"), ("retain", "example_loss")))
    assert model.meter.forwards == forwards + 1
    assert torch.allclose(model.sequence_nll(together.forget), model.sequence_nll(batch.forget), atol=1e-5)
    with torch.no_grad():
        model.module.lm_head.weight.mul_(2)
    assert torch.equal(model.sequence_nll(together.forget), model.sequence_nll(together.forget))
    assert not torch.allclose(model.sequence_nll(together.forget.unscored()), model.sequence_nll(together.forget))


def test_the_gradient_of_attention_is_asked_for_strictly_and_nothing_else_is(tiny, monkeypatch):
    model, seen = tiny("llama"), []
    strictly = torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        loss = model.example_loss(model.collate(ITEMS)).sum()
        monkeypatch.setattr(
            torch,
            "use_deterministic_algorithms",
            lambda on, *, warn_only: seen.append(warn_only) or strictly(on, warn_only=warn_only),
        )
        loss.backward()
        assert seen == [False, True] * model.module.config.num_hidden_layers
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        strictly(False)
