"""Language models loaded at few bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genunlearn.attacks.lm.quantised_reload import QuantisedReload, reloaded
from genunlearn.config import ParametersConfig
from genunlearn.contracts import Beside
from genunlearn.engine import parameters
from genunlearn.errors import ConfigError
from genunlearn.ops.rounding import nf4
from genunlearn.runs.methods import build_attack
from tests.world import World


def test_linear_layers_but_not_the_head_come_back_rounded(world: World) -> None:
    model = world.open()
    twin = reloaded(model, "nf4")
    layers = zip(model.network.named_modules(), twin.network.modules(), strict=True)
    for (name, before), after in layers:
        if isinstance(before, nn.Linear):
            wanted = before.weight if name == "lm_head" else nf4(before.weight)
            assert torch.equal(after.weight, wanted), name


def test_a_lora_is_folded_in_before_rounding_and_the_model_stays(world: World) -> None:
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=2, alpha=4), seed=0)
    for name, weight in model.module.named_parameters():
        if "lora_B" in name:
            nn.init.constant_(weight, 0.05)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    twin = reloaded(model, "nf4")
    layer = "model.layers.0.self_attn.q_proj"
    merged = model.network.get_submodule(f"base_model.model.{layer}")
    whole = merged.base_layer.weight + merged.get_delta_weight("default")
    assert torch.allclose(twin.network.get_submodule(layer).weight, nf4(whole), atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_one_row_a_form_with_the_oracle_as_control(world: World, tiny) -> None:
    attack, model = QuantisedReload(), world.open()
    found = attack.run(model, world.splits, "original")
    assert [(row.name, row.group, row.target, row.n) for row in found] == [
        ("quantised_reload", "8 bits", "original", 2),
        ("quantised_reload", "nf4", "original", 2),
    ]
    assert found[0].value == 1.0 and found[0].low == pytest.approx(0.025**0.5)  # exact interval of 2 out of 2
    control = attack.control(world.splits, Beside(oracles=lambda: [tiny("llama")]))
    assert [(row.target, row.value) for row in control] == [("oracle", 0.0)] * 2
    assert attack.control(world.splits, Beside())[0].skipped == "no control: no oracle is given"


def test_unknown_forms_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="forms"):
        build_attack("quantised_reload", {"forms": ("fp4",)}, "attacks.{}".format, domain="lm")
