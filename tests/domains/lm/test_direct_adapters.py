"""A LoRA's layers that multiply and add only say what peft says."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear

from genunlearn.config import ParametersConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.direct_adapters import direct_adapters
from genunlearn.domains.lm.precision import rounded_adapters
from genunlearn.engine import parameters
from tests.domains.lm.test_generation_ends import ASKED

IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.fixture
def adapted(tiny_folder):
    """Makes a tiny model with a LoRA that changes what it says."""

    def make(dtype: str = "float32", alpha: int = 8) -> LanguageModel:
        model = LanguageModel.load(str(tiny_folder("llama")), dtype=dtype)
        parameters.attach(model, ParametersConfig(rank=4, alpha=alpha), seed=0)
        with torch.no_grad():
            for weight in parameters.trainable(model.network).values():
                weight.add_(torch.linspace(-0.3, 0.3, weight.numel()).view_as(weight))
        model.network.eval()
        return model

    return make


def direct(network) -> int:
    """Of how many layers `direct_adapters` takes peft's place."""
    with direct_adapters(network):
        return sum("forward" in vars(part) for part in network.modules() if isinstance(part, Linear))


@pytest.mark.parametrize("alpha", [8, 4, 2, 6])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_the_numbers_are_those_of_peft(adapted, dtype, alpha):
    network = adapted(dtype, alpha).network
    with network.disable_adapter():
        base = network(IDS).logits
    with rounded_adapters(network):
        expected = network(IDS).logits
        with direct_adapters(network):
            found = network(IDS).logits
    assert not torch.allclose(base, expected, atol=0.01)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_answers_are_decoded_without_peft(adapted, monkeypatch, dtype):
    model = adapted(dtype)
    with monkeypatch.context() as patched:
        patched.setattr("genunlearn.domains.lm.direct_adapters._plain_layers", lambda network: iter(()))
        expected = model.generate(ASKED, max_new_tokens=12)
    monkeypatch.setattr(Linear, "forward", lambda *args: pytest.fail("peft was asked"))
    assert model.generate(ASKED, max_new_tokens=12) == expected


def test_a_lora_that_is_not_trained_yet_is_not_multiplied(tiny, monkeypatch):
    model = tiny("llama")
    expected = model.generate(ASKED, max_new_tokens=12)
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    parts = [name for name, _ in model.network.named_modules()]
    with monkeypatch.context() as patched:
        patched.setattr("genunlearn.domains.lm.direct_adapters.linear", lambda *args: pytest.fail("zeros were added"))
        assert model.generate(ASKED, max_new_tokens=12) == expected
    assert [name for name, _ in model.network.named_modules()] == parts
    with torch.no_grad():
        for weight in parameters.trainable(model.network).values():
            weight.add_(torch.linspace(-0.3, 0.3, weight.numel()).view_as(weight))
    assert model.generate(ASKED, max_new_tokens=12) != expected


def test_layers_are_as_before_whatever_ends_the_block(adapted):
    network = adapted().network
    assert direct(network) == sum(isinstance(part, Linear) for part in network.modules()) > 0
    with pytest.raises(RuntimeError), direct_adapters(network):
        raise RuntimeError
    assert not any("forward" in vars(part) for part in network.modules() if isinstance(part, Linear))


def test_a_base_without_adapters_is_left_alone(tiny):
    assert direct(tiny("llama").network) == 0


def switch_off(network) -> None:
    network.disable_adapter_layers()


def fold_in(network) -> None:
    network.merge_adapter()


def add_another(network) -> None:
    network.add_adapter("other", LoraConfig(target_modules="all-linear"))
    network.base_model.set_adapter(["default", "other"])


def train_it(network) -> None:
    network.train()


def shorten_the_base(network) -> None:
    for name, weight in network.named_parameters():
        if "lora_" not in name:
            weight.data = weight.data.bfloat16()


def shorten_half_of_it(network) -> None:
    for name, weight in network.named_parameters():
        if "lora_B" in name:
            weight.data = weight.data.bfloat16()


def halve(network) -> None:
    network.half()


@pytest.mark.parametrize(
    "change", [switch_off, fold_in, add_another, train_it, shorten_the_base, shorten_half_of_it, halve]
)
def test_layers_that_do_more_or_less_are_left_to_peft(adapted, change):
    network = adapted().network
    change(network)
    assert direct(network) == 0


@pytest.mark.parametrize("kind", ["use_dora", "lora_bias"])
def test_a_lora_of_another_kind_is_left_to_peft(tiny, kind):
    network = tiny("llama").network
    targets = [name for name, part in network.named_modules() if isinstance(part, torch.nn.Linear)]
    for name in targets:
        part = network.get_submodule(name)
        part.bias = torch.nn.Parameter(torch.zeros(part.out_features))  # a bias of the LoRA asks for one of the base
    network = get_peft_model(network, LoraConfig(target_modules=targets, **{kind: True})).eval()
    assert sum(isinstance(part, Linear) for part in network.modules()) == len(targets)
    assert direct(network) == 0


@torch.no_grad()
def test_layers_that_the_active_adapter_lacks_are_left_to_peft(adapted):
    network = adapted().network
    network.add_adapter("other", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    network.set_adapter("other")
    expected = network(IDS).logits
    assert direct(network) == sum(name.endswith("q_proj") for name, _ in network.named_modules()) > 0
    with direct_adapters(network):
        assert torch.equal(network(IDS).logits, expected)


def test_a_layer_with_its_own_forward_keeps_it(adapted):
    network = adapted().network
    layer = next(part for part in network.modules() if isinstance(part, Linear))
    layer.forward = own = lambda states: Linear.forward(layer, states)
    with direct_adapters(network):
        assert layer.forward is own
    assert layer.forward is own
