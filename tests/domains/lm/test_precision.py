"""A LoRA in float32 on a base in a shorter type."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.lm.npo import NPO
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
