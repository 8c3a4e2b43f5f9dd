"""Two processes that share the weights of a model (over gloo) do what one process with all of them does."""

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
from genunlearn.domains.sharding import (
    cut_as,
    gathered,
    is_sharded,
    is_sharding_asked,
    part,
    refuse_sharded,
    shape_of,
    whole,
)
from genunlearn.engine.trainer import Trainer
from genunlearn.engine.updates import Zero3Update
from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.processes import is_asked_for, without_deepspeed
from genunlearn.shipped import shipped
from tests.engine import one_of_sharded

ROOT = Path(__file__).parents[2]
KINDS = ("lora", "full")
REFUSALS = {"lora": "sharded weights take no LoRA in", "full": "sharded weights have no second copy as a reference"}
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ZERO3 = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}


@pytest.fixture(scope="module")
def alone(tiny_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process has written down what it has seen."""
    out = tmp_path_factory.mktemp("sharded")
    one_of_sharded.main(str(tiny_folder("llama")), str(out / "one"), *KINDS)
    return out


@pytest.fixture(scope="module", params=["fsdp2", "zero3"])
def two(request: pytest.FixtureRequest, alone: Path, tiny_folder: Callable[[str], Path]) -> str:
    """How begins what each of two processes has written down there."""
    asked = FSDP2
    if request.param == "zero3":
        pytest.importorskip("deepspeed")
        settings = alone / "zero3.json"  # a weight as small as these would stay whole otherwise
        settings.write_text('{"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}}')
        asked = {**ZERO3, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(settings), "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.engine.one_of_sharded", str(tiny_folder("llama")), str(alone / request.param), *KINDS]
    env = {**os.environ, **asked, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return request.param


def read(place: Path) -> dict[str, Any]:
    return json.loads(place.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_weights_give_the_losses_the_texts_and_the_files_of_whole_ones(alone, two, kind):
    one, first, second = (read(alone / f"{name}-{kind}-{rank}.json") for name, rank in (("one", 0), (two, 0), (two, 1)))
    assert (one["sharded"], first["sharded"], second["sharded"]) == (False, True, True)
    for history in (first["history"], first["taken_over"]):  # the other begins with a checkpoint of one process
        for entry, expected in zip(history, one["history"], strict=True):
            assert entry == pytest.approx(expected, abs=1e-5, rel=1e-5)
    for name in ("history", "greedy", "sampled", "resumed"):
        assert first[name] == second[name]
    assert (first["greedy"], first["sampled"]) == (one["greedy"], one["sampled"])
    # Ended after three of four steps, with a checkpoint of the second, and taken up again.
    assert (first["resumed"], one["resumed"]) == (first["history"], one["history"])
    assert {file.suffix for file in (alone / f"{two}-{kind}-cut").iterdir()} == {".safetensors"}  # no pickles
    (file,) = (alone / f"one-{kind}-saved").glob("*.safetensors")
    expected, found = load_file(file), load_file(alone / f"{two}-{kind}-saved" / file.name)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in expected.items())
    assert one["refused"] == [""] * 3
    own, gradients, twin = first["refused"]
    assert own.startswith(REFUSALS[kind])
    assert gradients == "method 'sam_npo' takes gradients within a step: run it in one process"
    assert twin.endswith("a copy of the model needs whole weights, and these are sharded: run one process")


def test_one_process_shards_nothing(tiny, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert not is_sharding_asked()
    network, tensor = tiny("llama").network, torch.ones(2)
    assert not is_sharded(network)
    assert whole(tensor) is part(tensor) is tensor and cut_as(torch.zeros(2), tensor) is tensor
    assert shape_of(tensor) == (2,)
    refuse_sharded(network, "nothing")
    before = dict(network.named_parameters())
    with gathered(network):
        assert all(weight is before[name] for name, weight in network.named_parameters())


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        (ZERO3, "sharding by DeepSpeed needs the package 'deepspeed', which is not installed"),
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP_VERSION = 1: only 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP_VERSION = 1: only 2"),
    ],
)
def test_other_ways_to_shard_are_refused_before_anything_is_trained(world, monkeypatch, environment, reason):
    model = world.open()
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NeedNotMet, match=reason):
        Trainer(model, TrainConfig(), ParametersConfig(kind="full"), seed=0)


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"stage": 2}, NeedNotMet, "ZeRO stage 2: only 3"),
        ({}, NeedNotMet, "ZeRO stage 0: only 3"),
        (
            {"stage": 3, "offload_param": {"device": "nvme"}},
            NeedNotMet,
            "offload_param_device = nvme: only none",
        ),
        (None, ConfigError, "settings of DeepSpeed: "),
    ],
)
def test_zero_of_another_kind_is_refused(monkeypatch, tmp_path, settings, error, reason):
    pytest.importorskip("deepspeed")
    file = tmp_path / "zero.json"
    file.write_text("no JSON" if settings is None else json.dumps({"zero_optimization": settings}))
    for name, value in {**ZERO3, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=reason):
        is_sharding_asked()


def test_zero_steps_with_plain_adamw_alone():
    stepper = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    with pytest.raises(NeedNotMet, match="ZeRO-3 cuts no SGD"):
        Zero3Update(None, stepper, None, 1.0)


def test_accelerate_is_not_told_of_deepspeed(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with without_deepspeed():
        assert not is_asked_for("DEEPSPEED")
    assert is_asked_for("DEEPSPEED") and not is_asked_for("FSDP")


def test_the_launchers_take_the_shipped_files():
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {}
    for file in sorted((shipped("configs") / "accelerate").glob("*.yaml")):
        kinds[file.stem] = load_config_from_file(str(file)).distributed_type.value
    assert kinds == {"fsdp2": "FSDP", "multi_gpu": "MULTI_GPU", "zero3": "DEEPSPEED"}
