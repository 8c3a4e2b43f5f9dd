"""A LoRA in float32 on a base in a shorter type."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import Linear

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.config.lm import LMConfig, LMModelConfig
from genunlearn.contracts import Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.precision import rounded_adapters
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
from genunlearn.ops.logprobs import last_positions
from genunlearn.runs.lm.request import open_model
from tests.domains.lm.test_packing import ITEMS


def trained(folder: str, dtype: str, device: str = "cpu") -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of a few steps of NPO with a LoRA, and its weights."""
    model = LanguageModel.load(folder, dtype=dtype, device=device)
    trainer = Trainer(
        model, TrainConfig(max_steps=4, batch_size=2, learning_rate=1e-3), ParametersConfig(rank=4), seed=0
    )
    trainer(NPO(), Splits(forget=ITEMS[:1], retain=ITEMS[1:]))
    return [entry["loss"] for entry in trainer.history], parameters.trainable(model.network)


def test_bfloat16_is_near_float32_and_the_lora_stays_in_float32(tiny_folder):
    folder = str(tiny_folder("llama"))
    exact, _ = trained(folder, "float32")
    short, weights = trained(folder, "bfloat16")
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)  # gradients arrived
    assert short == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_layers_that_are_computed_again_have_the_same_gradients(tiny_folder, kind):
    """With a LoRA the usual form of it leaves gradients of zero: nothing that enters the first layer asks for one."""
    histories, calls = [], {False: 0, True: 0}
    for is_again in calls:
        settings = LMModelConfig(source=str(tiny_folder("llama")), device="cpu", checkpoint_activations=is_again)
        model = open_model(LMConfig(model=settings))

        def count(*_, is_again=is_again):
            calls[is_again] += torch.is_grad_enabled()

        model.network.model.layers[0].mlp.register_forward_hook(count)
        train = TrainConfig(learning_rate=1e-3, batch_size=2, max_steps=2)
        trainer = Trainer(model, train, ParametersConfig(kind=kind, rank=4), seed=0)
        trainer(GradDiff(), Splits(forget=ITEMS[:1], retain=ITEMS[1:]))
        histories.append(trainer.history)
    assert calls[True] > calls[False] > 0
    for plain, again in zip(*histories, strict=True):
        assert again == pytest.approx(plain, rel=1e-4) and again["grad_norm"] > 0


def test_a_lora_is_rounded_while_it_writes_and_as_it_was_afterwards(tiny_folder):
    model = LanguageModel.load(str(tiny_folder("llama")), dtype="bfloat16")
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    weights = parameters.trainable(model.network)
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(torch.linspace(-0.02, 0.02, weight.numel()).view_as(weight))
    before = {name: weight.clone() for name, weight in weights.items()}
    seen = set()
    layer = next(part for part in model.network.modules() if isinstance(part, Linear))
    layer.register_forward_hook(
        lambda part, given, told: seen.add((part.lora_A["default"].weight.dtype, given[0].dtype, told.dtype))
    )
    model.answer(["Who wrote Faust?"], max_new_tokens=2)
    assert seen == {(torch.bfloat16,) * 3}
    assert all(torch.equal(weight, before[name]) for name, weight in weights.items())
    with pytest.raises(RuntimeError), rounded_adapters(model.network):
        raise RuntimeError
    assert all(weight.dtype == torch.float32 for weight in parameters.trainable(model.network).values())


def test_the_last_positions_are_those_of_a_slice(tiny_folder):
    network = LanguageModel.load(str(tiny_folder("llama"))).network
    ids = torch.tensor([[3, 1, 4, 1], [5, 2, 6, 5]])
    by_index = network(input_ids=ids, logits_to_keep=last_positions(2, ids.device)).logits
    assert torch.allclose(by_index, network(input_ids=ids).logits[:, -2:], atol=1e-6)
