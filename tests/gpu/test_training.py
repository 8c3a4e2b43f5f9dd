"""What only a GPU shows: short types, a 4-bit base, the 8-bit optimiser, memory given back, the same bits twice."""

from __future__ import annotations

import gc

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.lm.npo import NPO
from tests.domains.lm.test_packing import ITEMS

pytestmark = pytest.mark.gpu
BOUNDS = {"bfloat16": 0.02, "float16": 0.01}
"""Relative difference of losses from those of float32."""


def train(folder: str, kind: str = "lora", *, optimizer: str = "adamw", steps: int = 4, **loading: str) -> Trainer:
    """A few steps of NPO."""
    model = LanguageModel.load(folder, device="cuda", **loading)
    settings = TrainConfig(max_steps=steps, batch_size=2, learning_rate=1e-3, optimizer=optimizer)
    trainer = Trainer(model, settings, ParametersConfig(kind=kind, rank=4), seed=0)
    trainer(NPO(), Splits(forget=ITEMS[:1], retain=ITEMS[1:]))
    return trainer


def losses(trainer: Trainer) -> list[float]:
    """Of every step."""
    return [entry["loss"] for entry in trainer.history]


@pytest.mark.parametrize("dtype", BOUNDS)
def test_short_types_are_near_float32(tiny_folder, dtype):
    folder = str(tiny_folder("llama"))
    assert losses(train(folder, dtype=dtype)) == pytest.approx(losses(train(folder)), rel=BOUNDS[dtype])


def test_a_4_bit_base_trains_its_lora(tiny_folder):
    pytest.importorskip("bitsandbytes")
    trainer = train(str(tiny_folder("llama")), dtype="bfloat16", quantize="nf4")
    weights = parameters.trainable(trainer.domain.network)
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)


def test_the_8_bit_optimiser_moves_full_weights(tiny_folder):
    pytest.importorskip("bitsandbytes")
    folder = str(tiny_folder("llama"))
    trainer = train(folder, "full", optimizer="adamw_8bit")
    assert losses(trainer) == pytest.approx(losses(train(folder, "full")), rel=0.05)


def test_memory_is_given_back_when_a_trainer_goes(tiny_folder):
    train(str(tiny_folder("llama")), "full")  # libraries make their workspaces
    gc.collect()
    before = torch.cuda.memory_allocated()
    train(str(tiny_folder("llama")), "full")
    gc.collect()
    assert torch.cuda.memory_allocated() <= before + 2**20


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_same_seed_twice_gives_the_same_bits(tiny_folder, kind):
    folder = str(tiny_folder("llama"))
    first, second = (parameters.trainable(train(folder, kind).domain.network) for _ in range(2))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
