"""Two processes that share the weights of a model (FSDP2 over gloo) do what one process with all of them does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.sharding import cut_as, gathered, is_sharded, is_sharding_asked, whole
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import NeedNotMet
from genunlearn.shipped import shipped
from tests.engine import one_of_sharded

ROOT = Path(__file__).parents[2]
KINDS = ("lora", "full")
PROCESSES = (("one", 0), ("two", 0), ("two", 1))
REFUSALS = {"lora": "sharded weights take no LoRA in", "full": "sharded weights have no second copy as a reference"}


@pytest.fixture(scope="module")
def seen(tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process, and each of two, have written down what they have seen."""
    folder, out = str(tiny_folder("llama")), tmp_path_factory.mktemp("sharded")
    one_of_sharded.main(folder, str(out / "one"), *KINDS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.engine.one_of_sharded", folder, str(out / "two"), *KINDS]
    asked = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    env = {**os.environ, **asked, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def read(place: Path) -> dict[str, Any]:
    return json.loads(place.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_weights_give_the_losses_the_texts_and_the_files_of_whole_ones(seen, kind):
    alone, first, second = (read(seen / f"{name}-{kind}-{rank}.json") for name, rank in PROCESSES)
    assert (alone["sharded"], first["sharded"], second["sharded"]) == (False, True, True)
    for entry, expected in zip(first["history"], alone["history"], strict=True):
        assert entry == pytest.approx(expected, abs=1e-5, rel=1e-5)
    for name in ("history", "greedy", "sampled", "resumed"):
        assert first[name] == second[name]
    assert (first["greedy"], first["sampled"]) == (alone["greedy"], alone["sampled"])
    # Ended after three of four steps, with a checkpoint of the second, and taken up again.
    assert (first["resumed"], alone["resumed"]) == (first["history"], alone["history"])
    (file,) = (seen / f"one-{kind}-saved").glob("*.safetensors")
    expected, found = load_file(file), load_file(seen / f"two-{kind}-saved" / file.name)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in expected.items())
    assert alone["refused"] == ""
    assert first["refused"].startswith(REFUSALS[kind])


def test_one_process_shards_nothing(tiny, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert not is_sharding_asked()
    network, tensor = tiny("llama").network, torch.ones(2)
    assert not is_sharded(network)
    assert whole(tensor) is tensor and cut_as(torch.zeros(2), tensor) is tensor
    before = dict(network.named_parameters())
    with gathered(network):
        assert all(weight is before[name] for name, weight in network.named_parameters())


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported"),
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP_VERSION = 1: only 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP_VERSION = 1: only 2"),
    ],
)
def test_other_ways_to_shard_are_refused_before_anything_is_trained(world, monkeypatch, environment, reason):
    model = world.open()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NeedNotMet, match=reason):
        Trainer(model, TrainConfig(), ParametersConfig(kind="full"), seed=0)


def test_the_launchers_take_the_shipped_files():
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {}
    for file in sorted((shipped("configs") / "accelerate").glob("*.yaml")):
        kinds[file.stem] = load_config_from_file(str(file)).distributed_type.value
    assert kinds == {"fsdp2": "FSDP", "multi_gpu": "MULTI_GPU"}
