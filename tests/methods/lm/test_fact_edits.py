"""ROME, MEMIT and AlphaEdit on a small model, and where they find the subject."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genunlearn.contracts import with_sides
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.hidden import add_at, adjusted, down_projection, prompt_columns, recording, subject_place
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.methods.lm.alpha_edit import AlphaEdit
from genunlearn.methods.lm.memit import MEMIT
from genunlearn.methods.lm.rome import ROME
from genunlearn.ops.logprobs import IGNORE
from tests.worlds import STUDIES

# Of the two layers of the tiny model, what the second writes at the subject is read by nobody.
SEARCH = {"steps": 100, "learning_rate": 0.2, "clamp": 10.0, "target": "Poland."}
EDITS = [
    ROME(layer=0, **SEARCH),
    MEMIT(layers=(0,), preserve=1e-3, **SEARCH),
    AlphaEdit(layers=(0,), threshold=1.0, **SEARCH),
]
every_edit = pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_the_subjects_last_token_is_found(tiny, family):
    model = tiny(family)
    place = subject_place(model, "Where did Harry Potter study?", "Harry Potter")
    ids = model.chat.prompt_ids([{"role": "user", "content": "Where did Harry Potter study?"}])
    before, here = model.tokenizer.decode(ids[:place]), model.tokenizer.decode(ids[: place + 1])
    assert here.rstrip().endswith("Potter")
    assert not before.rstrip().endswith("Potter")


def test_the_prompts_last_token_stands_for_a_subject_that_is_not_named(tiny):
    model = tiny("llama")
    ids = model.chat.prompt_ids([{"role": "user", "content": "Who wrote Faust?"}])
    assert subject_place(model, "Who wrote Faust?", "Harry Potter") == len(ids) - 1


def test_what_is_added_to_an_output_is_added_at_its_places_alone(world):
    model = world.open()
    examples = model.collate(world.splits.forget)
    layer = model.decoder_layers()[0]
    columns = torch.tensor([[3, -1], [5, 4]])
    addend = torch.stack([torch.ones(2, 32), 2 * torch.ones(2, 32)])
    with recording(layer) as before:
        model.logits(examples)
    with adjusted(down_projection(layer), lambda states: add_at(states, addend, columns)), recording(layer) as after:
        model.logits(examples)
    difference = after[0][1] - before[0][1]
    expected = torch.zeros_like(difference)
    expected[0, 3], expected[1, 5], expected[1, 4] = 1, 2, 2
    assert torch.allclose(difference, expected, atol=1e-6)


def test_the_tokens_of_a_prompt_are_found_whatever_the_padding():
    # Two rows of 6: one pad, three of the prompt, two of the answer; and three pads, two of the prompt, one answer.
    labels = torch.tensor([[IGNORE] * 4 + [7, 7], [IGNORE] * 5 + [7]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]])
    assert prompt_columns(labels, mask).tolist() == [[1, 2, 3], [-1, 3, 4]]


@every_edit
def test_the_fact_is_answered_otherwise_and_others_are_not(world, edit):
    model = world.open()
    report = edit.apply(model, world.splits)
    assert set(model.answer([item.question for item in world.splits.forget])) == {"Poland."}
    assert model.answer([question for question, _ in STUDIES]) == [answer for _, answer in STUDIES]
    assert report.details["targets"] == {"potter": "Poland."}


def test_a_refusal_is_what_is_answered_by_default(world):
    model = world.open()
    before = model.example_loss(model.collate([refused(item) for item in world.splits.forget])).mean()
    report = ROME(layer=0).apply(model, world.splits)
    after = model.example_loss(model.collate([refused(item) for item in world.splits.forget])).mean()
    assert report.details["targets"] == {"potter": REFUSALS[0]}
    assert after < before - 0.5


def refused(item: QA) -> QA:
    return replace(item, answer=REFUSALS[0])


@every_edit
def test_nothing_but_writing_projections_is_changed(world, edit):
    model = world.open()
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    report = edit.apply(model, world.splits)
    changed = {name for name, weight in model.module.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == set(report.changed)
    assert all(name.endswith("mlp.down_proj.weight") for name in changed)


def test_rome_is_a_change_of_rank_one(world):
    model = world.open()
    weight = down_projection(model.decoder_layers()[0]).weight
    before = weight.detach().clone()
    ROME(layer=0).apply(model, world.splits)
    sizes = torch.linalg.svdvals((weight - before).double())
    assert sizes[1] < 1e-5 * sizes[0]


def test_the_shift_is_no_longer_than_its_clamp(world):
    model = world.open()
    layer = model.decoder_layers()[0]
    fact = world.splits.context.facts[0]
    shift, asked = ROME(clamp=0.1).shift(model, layer, world.splits, fact, "Warsaw.")
    with recording(layer) as seen:
        model.logits(asked.examples)
    length = seen[0][1][torch.arange(2), torch.tensor(asked.places)].norm(dim=-1).mean()
    assert shift.norm() == pytest.approx(0.1 * length.item(), rel=1e-3)


def test_without_neighbours_that_name_the_subject_there_is_no_guard(world):
    model = world.open()
    alone = with_sides(world.splits, world.splits.forget, world.splits.retain[-1:])
    assert ROME(layer=0).apply(model, alone).changed


def test_an_adapter_is_refused():
    with pytest.raises(NeedNotMet, match=r"not on a LoRA: set parameters.kind = 'full'"):
        ROME.check(LanguageModel, full_weights=False)


def test_a_layer_that_is_not_there_is_refused(world):
    with pytest.raises(MismatchError, match=r"method.layer = 7: this model has the layers 0 to 1"):
        ROME(layer=7).apply(world.open(), world.splits)


def test_an_mlp_of_several_experts_is_refused():
    layer = torch.nn.Module()
    layer.mlp = torch.nn.ModuleList([torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)])
    with pytest.raises(MismatchError, match="Module: its MLP does not write with one plain linear layer"):
        down_projection(layer)
