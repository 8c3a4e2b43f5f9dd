"""Patch files of any content: taken with finite weights, or refused in one line with nothing changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import RULE_FILE, ClassifierFree, rule_note
from genunlearn.domains.diffusion.identity import hash_tensors
from genunlearn.domains.diffusion.patches import HEADER
from genunlearn.errors import InputError
from genunlearn.ops.linear_edits import LowRank
from tests import strangers
from tests.fuzz.budget import tries
from tests.tiny_pipelines import tiny

pytestmark = pytest.mark.slow

LAYERS = [
    *("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.0.conv1", "conv_in"),
    *("input_blocks.1.1.transformer_blocks.0.attn2.to_k", "text_model.encoder.layers.0.self_attn.q_proj", "", "x"),
]
PREFIXES = [
    *("", "unet.", "text_encoder.", "base_model.model.", "model.diffusion_model.", "module.", "transformer."),
    *(
        "first_stage_model.",
        "cond_stage_model.transformer.",
        "cond_stage_model.model.",
        "conditioner.embedders.1.model.",
    ),
]
ENDINGS = [
    *(".weight", ".bias", ".alpha", ".lora_A.weight", ".lora_B.weight", ".lora_down.weight", ".lora_up.weight"),
    *(".lora_A.default.weight", ".hada_w1_a", ".lokr_w1", ".dora_scale", ".diff", ".lora_B.bias", "", "."),
    *(".processor.to_k_lora.down.weight", ".lora_mid.weight", "transformer.resblocks.0.attn.in_proj_weight"),
]
SHAPES = [(), (0,), (1,), (2,), (8,), (8, 2), (2, 32), (8, 32), (0, 32), (8, 4, 3, 3), (2, 16, 3, 3), (16, 2, 1, 1)]
VALUES = [0.0, 1.0, -0.5, 1e-8, 1e30, -3e38, float("nan"), float("inf")]
TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CONFIGS = JSON | st.fixed_dictionaries({"lora_alpha": JSON, "alpha_pattern": JSON})


@st.composite
def names(draw: Any) -> str:
    prefix, layer, ending = (draw(st.sampled_from(pool)) for pool in (PREFIXES, LAYERS, ENDINGS))
    if draw(st.booleans()):
        return f"{prefix}{layer}{ending}"
    side = draw(st.sampled_from(["lora_unet_", "lora_te_", "lora_te2_", "lora_te9_"]))
    return f"{side}{layer.replace('.', '_')}{ending}"


@st.composite
def tensors(draw: Any) -> dict[str, Tensor]:
    found = {}
    for name in draw(st.lists(names(), max_size=5)):
        value = draw(st.sampled_from(VALUES))
        kind = draw(st.sampled_from(TYPES)) if draw(st.integers(0, 3)) == 0 else torch.float32
        whole = 0.0 if value != value or abs(value) > 1 else value
        number = value if kind.is_floating_point else whole
        found[name] = torch.full(draw(st.sampled_from(SHAPES)), number, dtype=torch.float64).to(kind)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


class Bench:
    """A model that is put back after every try."""

    def __init__(self) -> None:
        self.model = Diffusion(tiny("sd1"))
        self.before = {n: m.state_dict() for n, m in self.model.components().items()}
        self.before = {part: {k: t.clone() for k, t in own.items()} for part, own in self.before.items()}
        self.stamp = self._stamp()

    def _stamp(self) -> str:
        parts = self.model.components().items()
        return hash_tensors({f"{part}.{name}": t for part, module in parts for name, t in module.state_dict().items()})

    def load(self, source: Path, *, force: bool = False) -> None:
        try:
            self.model.load_patch(source, force=force)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) > 20
            assert self._stamp() == self.stamp, "refused, and changed all the same"
            assert self.model.rule == ClassifierFree()
        else:
            for module in self.model.components().values():
                assert all(t.isfinite().all() for t in module.state_dict().values() if t.is_floating_point())
            for part, module in self.model.components().items():
                module.load_state_dict(self.before[part])
            self.model.rule = ClassifierFree()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    yield Bench()


@tries(60)
@given(content=tensors(), header=st.none() | JSON, adapter=st.none() | JSON, force=st.booleans())
def test_files_of_any_tensors(bench: Bench, place: Path, content: Any, header: Any, adapter: Any, force: bool) -> None:
    metadata = {HEADER: json.dumps(header)} if header is not None else {}
    metadata |= {"lora_adapter_metadata": json.dumps(adapter)} if adapter is not None else {}
    path = place / "a.safetensors"
    path.write_bytes(save(content, metadata=metadata or None))
    bench.load(path, force=force)


@tries(60)
@given(content=tensors(), config=CONFIGS, part=st.booleans())
def test_folders_of_peft(bench: Bench, place: Path, content: Any, config: Any, part: bool) -> None:
    folder = place / "peft" / ("unet" if part else "flat")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(save(content))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    bench.load(folder.parent if part else folder)


@pytest.fixture(scope="module")
def good(place: Path) -> list[bytes]:
    """A patch of ours, a LoRA of kohya's and a bare UNet's change."""
    adapter = Diffusion(tiny("sd1"))
    name, layer = next(iter(adapter.prompt_layers().items()))
    adapter.apply_low_rank({name: LowRank(torch.ones(layer.out_features, 1), torch.ones(1, layer.in_features))})
    flat = f"lora_unet_{LAYERS[0].replace('.', '_')}"
    theirs = strangers.kohya(flat, torch.ones(2, 32), torch.ones(8, 2), 1.0)
    return [adapter.export(place / "ours").read_bytes(), save(theirs), save({"conv_in.bias": torch.ones(8)})]


@tries(60)
@given(which=st.integers(0, 2), data=st.data())
def test_good_files_with_bytes_changed(bench: Bench, good: list[bytes], place: Path, which: int, data: Any) -> None:
    content = bytearray(good[which])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        how = data.draw(st.sampled_from(["set", "cut", "add"]))
        if how == "set" and content:
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at : at + data.draw(st.integers(1, 40))]
        else:
            content[at:at] = data.draw(st.binary(max_size=8))
    path = place / "b.safetensors"
    path.write_bytes(bytes(content))
    bench.load(path, force=data.draw(st.booleans()))


@tries(60)
@given(change=JSON, key=st.sampled_from(["method", "settings", "negative", "sha256", ""]), force=st.booleans())
def test_rules_of_any_content(bench: Bench, place: Path, change: Any, key: str, force: bool) -> None:
    note: Any = rule_note(ClassifierFree("a cat"), {"base_sha256": "0" * 64})
    if key == "":
        note = change
    elif key == "negative":
        note["settings"][key] = change
    else:
        note[key] = change
    folder = place / "rule"
    folder.mkdir(exist_ok=True)
    (folder / RULE_FILE).write_text(json.dumps(note))
    bench.load(folder, force=force)
