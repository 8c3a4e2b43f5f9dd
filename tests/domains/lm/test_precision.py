"""A LoRA in float32 on a base in a shorter type."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.config.lm import LMConfig, LMModelConfig
from genunlearn.contracts import Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
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
