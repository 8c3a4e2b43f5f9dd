"""What only a GPU shows: short types, a 4-bit base, the 8-bit optimiser, memory given back, the same bits twice.

Two processes of one run do not share a GPU; two runs may, each of which takes what it needs.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

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
ROOT = Path(__file__).parents[2]
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
def test_memory_is_given_back_between_phases(tiny_folder, kind):
    """A second phase, with a reference of its own, leaves no more behind than the first."""
    trainer, splits = train(str(tiny_folder("llama")), kind), Splits(forget=ITEMS[:1], retain=ITEMS[1:])
    trainer(NPO(), splits)
    gc.collect()
    before = torch.cuda.memory_allocated()
    trainer(NPO(), splits)
    gc.collect()
    assert torch.cuda.memory_allocated() <= before + 2**20


def test_two_processes_on_one_gpu_are_refused(tmp_path):
    count = torch.cuda.device_count()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count + 1)]
    command = [sys.executable, *launcher, "-m", "tests.engine.one_of_several", "no model", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode
    assert f"{count + 1} processes on {count} GPU: start one for each" in done.stderr


def test_fixed_shapes_decode_the_same_greedy_texts(tiny_folder):
    """Compiling is off in tests; the steps are those that would be compiled."""
    model = LanguageModel.load(str(tiny_folder("llama")), device="cuda")
    asked = [item.question for item in ITEMS]
    plain = model.answer(asked, max_new_tokens=16)
    model.is_compiled = True
    assert model.answer(asked, max_new_tokens=16) == plain


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_same_seed_twice_gives_the_same_bits(tiny_folder, kind):
    folder = str(tiny_folder("llama"))
    first, second = (parameters.trainable(train(folder, kind).domain.network) for _ in range(2))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
