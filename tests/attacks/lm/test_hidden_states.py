"""Logit lens, linear probe and soft prompt: what is read inside a model, and what is put before its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from genunlearn.attacks.lm.layers import before_answers
from genunlearn.attacks.lm.linear_probe import LinearProbe, ridge_map
from genunlearn.attacks.lm.logit_lens import LogitLens
from genunlearn.attacks.lm.soft_prompt import SoftChat, SoftPrompt, soft_embeddings, with_vectors
from genunlearn.contracts import Beside
from genunlearn.data.lm.facts import QA
from tests.attacks.lm.conftest import SCHOOLS
from tests.tiny_models import TAUGHT

QUESTIONS = [question for question, _ in TAUGHT]


@torch.no_grad()
def next_token(model, question: str) -> torch.Tensor:
    """Log-probabilities of what the network says first."""
    ids = torch.tensor([model.chat.prompt_ids([{"role": "user", "content": question}])])
    return model.network(input_ids=ids).logits[0, -1].float().log_softmax(-1)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_the_lens_reads_what_a_network_of_that_many_layers_would_say(tiny, splits, family):
    model, answers = tiny(family), [f"{name}." for name in SCHOOLS]
    count = len(model.decoder_layers())
    tables = LogitLens(depths=(0.5, 1.0)).tables(model, QUESTIONS, answers, splits)
    assert list(tables) == [f"layer {(count + 1) // 2} of {count}", f"layer {count} of {count}"]
    firsts = [model.encode("?", answer)[1][0] for answer in answers]
    for layers, table in zip(((count + 1) // 2, count), tables.values(), strict=True):
        cut = tiny(family)
        cut.network.model.layers = nn.ModuleList(list(cut.network.model.layers)[:layers])
        expected = torch.stack([next_token(cut, question)[firsts] for question in QUESTIONS])
        torch.testing.assert_close(table, expected, rtol=1e-4, atol=1e-4)


def test_candidates_that_begin_alike_count_once(tiny, splits):
    names = ["Hogwarts.", "Hogwarts School.", "Durmstrang."]
    assert LogitLens().rankable(tiny("llama"), names) == ["Hogwarts.", "Durmstrang."]
    pool = [QA(id=str(n), question="", answer=f"Elm {n}.") for n in range(30)]
    alike = replace(splits.context, measured={**splits.context.measured, "candidates": pool})
    (row,) = LogitLens().run(tiny("llama"), replace(splits, context=alike), "original")
    assert row.skipped == "needs 20 candidates that begin with different tokens, has 2"


def test_a_ridge_map_by_hand():
    # gram = 1 + 1 = 2, inputs' outputs = 2 + 2 = 4; without a penalty 4 / 2, with one of the gram's own size 4 / 4
    inputs, outputs = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [-2.0]])
    assert ridge_map(inputs, outputs, 1e-9).item() == pytest.approx(2.0)
    assert ridge_map(inputs, outputs, 1.0).item() == pytest.approx(1.0)


def test_the_probe_knows_nothing_of_the_fact_and_says_what_it_lacks(world, splits):
    few = replace(splits.context, retain=splits.context.retain[:4])
    (row,) = LinearProbe().run(world.open(), replace(splits, context=few), "original")
    assert row.skipped == "needs 32 questions that must stay to learn from, has 4"
    tables = LinearProbe().tables(world.open(), QUESTIONS, ["Hogwarts.", "Warsaw."], splits)
    assert all(table.shape == (len(QUESTIONS), 2) and table.abs().max() <= 1 + 1e-5 for table in tables.values())


def test_states_are_those_before_the_answer_whatever_stands_beside_them(tiny):
    model = tiny("llama")
    together = before_answers(model, QUESTIONS)
    apart = torch.cat([before_answers(model, [question]) for question in QUESTIONS])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


# ---- soft prompt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_vectors_stand_at_the_end_of_what_the_user_says(tiny, family):
    model = tiny(family)
    plain = model.chat.prompt_ids([{"role": "user", "content": QUESTIONS[0]}])
    soft = SoftChat(model.tokenizer, [9001, 9002])
    found = soft.prompt_ids([{"role": "user", "content": QUESTIONS[0]}])
    place = found.index(9001)
    assert found[place : place + 2] == [9001, 9002] and found[:place] + found[place + 2 :] == plain
    assert model.tokenizer.decode(plain[:place]).rstrip().endswith("study?")
    turn = soft.turn([{"role": "user", "content": QUESTIONS[0]}], "Hogwarts.")
    assert (
        turn.prompt == found
        and turn.answer == model.chat.turn([{"role": "user", "content": QUESTIONS[0]}], "Hogwarts.").answer
    )


def test_vectors_that_are_embeddings_of_words_are_those_words(tiny):
    model = tiny("llama")
    embedding = model.network.get_input_embeddings()
    chosen, size = torch.tensor([5, 7, 9]), len(embedding.weight)
    with torch.no_grad(), soft_embeddings(embedding, embedding.weight[chosen].detach().clone()):
        soft = model.network(input_ids=torch.tensor([[1, 2, size, size + 1, size + 2]])).logits
    with torch.no_grad():
        torch.testing.assert_close(soft, model.network(input_ids=torch.tensor([[1, 2, 5, 7, 9]])).logits)
    assert not embedding._forward_hooks and not embedding._forward_pre_hooks


def test_taught_vectors_bring_out_what_they_were_taught_and_leave_no_gradient(tiny, splits):
    model = tiny("llama")
    twin = with_vectors(model, 4)
    assert twin.network is model.network and twin.chat is not model.chat
    attack = SoftPrompt(lessons=("phrasings",), vectors=8, steps=60, learning_rate=1.0)
    attempt = attack.attempt(model, splits, Beside())
    # it carries the answer in, so that a model that never knew tells it too: this is what the control is for
    assert attempt.levels[0].told == (True,) and attempt.levels[0].strength == "phrasings"
    assert all(weight.grad is None for weight in model.module.parameters())
