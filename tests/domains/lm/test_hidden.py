"""States of one decoder layer are those of the whole network, without what lies above it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import MismatchError
from tests.tiny_models import FAMILIES

ITEMS = [QA(id="a", question="Who wrote Faust?", answer="Goethe."), QA(id="b", question="And?", answer="He did it.")]
HALF = 0.5


def calls_of(layer: nn.Module) -> list[None]:
    """Grows with each call of the layer."""
    calls: list[None] = []
    layer.register_forward_hook(lambda *_: calls.append(None))
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_those_of_the_whole_network(tiny: Callable[[str], LanguageModel], family: str) -> None:
    model = tiny(family)
    examples = model.collate(ITEMS)
    whole = model.hidden_states(examples)
    for number in range(whole.shape[2]):
        assert torch.equal(model.layer_states(examples, number, 0.0), whole[:, :, number])
    assert torch.equal(model.hidden_states(examples), whole)  # nothing is left behind
    assert torch.equal(model.layer_states(examples, None, HALF), whole[:, :, int(HALF * whole.shape[2])])


def test_layers_above_are_not_called_and_gradients_are_the_same(tiny: Callable[[str], LanguageModel]) -> None:
    model = tiny("llama")
    model.module = get_peft_model(model.network, LoraConfig(target_modules="all-linear", r=2, init_lora_weights=False))
    examples, grads = model.collate(ITEMS), []
    trained = [weight for weight in model.module.parameters() if weight.requires_grad]
    calls = calls_of(model.decoder_layers()[-1])
    for states in (model.hidden_states(examples)[:, :, 0], model.layer_states(examples, 0, 0.0)):
        found = torch.autograd.grad(states.square().sum(), trained, allow_unused=True)
        grads.append([grad for grad in found if grad is not None and grad.any()])
    assert len(calls) == 1 and grads[0]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


@pytest.mark.parametrize("kept", ["checkpointed", "in several processes"])
def test_a_pass_that_others_wait_for_goes_to_its_end(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    model = tiny("llama")
    if kept == "checkpointed":
        model.network.gradient_checkpointing_enable()
        model.network.train()
    else:
        monkeypatch.setattr("genunlearn.domains.lm.hidden.is_sharded", lambda _: True)
    calls = calls_of(model.decoder_layers()[-1])
    states = model.layer_states(model.collate(ITEMS), 0, 0.0)
    assert calls and states.shape[0] == 2


def test_a_layer_that_is_not_there_is_refused(tiny: Callable[[str], LanguageModel]) -> None:
    model = tiny("llama")
    with pytest.raises(MismatchError, match=r"method.layer = 9: this model has the layers 0 to 1"):
        model.layer_states(model.collate(ITEMS), 9, 0.0)
