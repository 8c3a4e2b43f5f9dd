"""Unlearning depth on tiny models, held against what the layers give when they are called by themselves."""

from __future__ import annotations

import pytest
import torch

from genunlearn.data.lm.facts import Contrast
from genunlearn.errors import MismatchError
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.evaluation.lm.depth import Patching, UnlearningDepth

SHORT = Contrast(question="Who wrote Faust?", answer="Goethe.")
LONG = Contrast(question="Where was Marie Curie born?", answer="Marie Curie was born in Warsaw, the capital of Poland.")


@pytest.fixture
def models(tiny):
    """An original, and another one that differs in both layers."""
    original, other = tiny("llama"), tiny("llama")
    with torch.no_grad():
        for layer in other.decoder_layers():
            layer.mlp.down_proj.weight.mul_(-3)
    return original, other


@torch.no_grad()
def by_hand(original, other, item) -> list[float]:
    """What the original loses with the other's states, by layer: the network written out, with a state exchanged."""
    prompt, answer = original.encode(item.question, item.answer)
    answer = answer[:-1]  # without its end
    ids = torch.tensor([prompt + answer])
    places = slice(len(prompt) - 1, len(prompt) - 1 + len(answer))
    network, layers = original.network.model, list(original.decoder_layers())
    positions = torch.arange(ids.shape[1])[None]
    turns = network.rotary_emb(network.embed_tokens(ids), positions)
    mask = torch.full((1, 1, ids.shape[1], ids.shape[1]), -torch.inf).triu(1)

    def through(layer, states):
        output = layer(states, attention_mask=mask, position_ids=positions, position_embeddings=turns)
        return output[0] if isinstance(output, tuple) else output

    def said(states) -> float:
        logits = original.network.lm_head(network.norm(states))[0, places]
        return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).mean().item()

    first, second = (through(model.decoder_layers()[0], network.embed_tokens(ids)) for model in (original, other))
    own, last = through(layers[1], first), through(other.decoder_layers()[1], second)
    mixed, end = first.clone(), own.clone()
    mixed[:, places], end[:, places] = second[:, places], last[:, places]
    return [said(own) - said(through(layers[1], mixed)), said(own) - said(end)]


def test_states_are_exchanged_where_the_answer_is_predicted(models):
    patching = Patching(*models, [SHORT, LONG])
    expected = [by_hand(*models, item) for item in (SHORT, LONG)]
    for found, losses in zip(patching._lost_by_retrained, expected, strict=True):
        assert found == pytest.approx(losses, abs=1e-4)
    assert max(map(abs, expected[1])) > 1e-2


def test_the_original_has_depth_0_and_the_retain_model_1(models, tiny):
    patching = Patching(*models, [SHORT, LONG])
    patching.__dict__["_lost_by_retrained"] = [[0.2, 0.4], [0.1, 0.0]]  # random weights hold nothing by themselves
    assert patching.depths(tiny("llama")) == pytest.approx([0.0, 0.0], abs=1e-5)
    whole = Patching(*models, [SHORT, LONG])
    assert {depth for depth in whole.depths(models[1]) if depth is not None} <= {1.0}


def test_models_of_other_depths_are_refused(models):
    del models[1].decoder_layers()[1]
    models[1].network.config.num_hidden_layers = 1
    with pytest.raises(MismatchError, match="1 layers in place of 2; they must be alike"):
        Patching(*models, [SHORT]).depths(models[0])


def test_without_a_retain_model_depth_is_skipped_with_the_reason(models):
    (result,) = UnlearningDepth().measure(BenchmarkProbes(models[0], {"forget": [SHORT]}), "unlearned")
    assert result.value is None and "name one in evaluate.oracle" in result.skipped


def test_questions_that_no_layer_holds_do_not_count(models):
    patching = Patching(*models, [SHORT, LONG])
    patching.__dict__["_lost_by_retrained"] = [[0.0, 0.0], [1.0, 0.0]]
    probes = BenchmarkProbes(models[0], {"forget": [SHORT, LONG]}, patching=lambda: patching)
    (result,) = UnlearningDepth().measure(probes, "original")
    assert (result.value, result.n) == (pytest.approx(0.0, abs=1e-5), 1)
