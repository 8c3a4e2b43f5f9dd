"""The configurations behind ``forget`` and ``erase``: the shipped settings, or a word on why there are none."""

from __future__ import annotations

import pytest

from genunlearn.config import list_configs
from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.registry import METHODS
from genunlearn.runs.api import erase_config, forget_config

FACTS = {"facts": ("Harry Potter | studied at | Hogwarts",)}


@pytest.mark.parametrize("suite", ["lab", "hub"])
def test_every_method_for_language_models_has_settings(suite: str) -> None:
    fitting = [name for name in METHODS if "lm" in METHODS.get(name).domains]
    assert {f"lm/{suite}/{name}" for name in fitting} <= set(list_configs())


def test_the_shipped_settings_get_the_request() -> None:
    config = forget_config("lab:lm", FACTS, method="RandomLabels", overrides=("train.max_steps=7",))
    assert (config.method.name, config.request.facts) == ("random_labels", FACTS["facts"])
    assert (config.train.max_steps, config.train.learning_rate) == (7, 1e-3)


def test_a_method_of_another_family_is_refused() -> None:
    with pytest.raises(NeedNotMet, match="method 'uce' does not fit domain 'lm': it fits diffusion"):
        forget_config("lab:lm", FACTS, method="uce")
    with pytest.raises(NeedNotMet, match="method 'unsir' does not fit domain 'diffusion': it fits classifier"):
        erase_config("lab:diffusion", ["digit seven"], method="unsir")


def test_a_method_without_settings_says_where_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genunlearn.runs.api.list_configs", lambda: [])
    with pytest.raises(ConfigError, match=r"for method 'npo' on some/model: .* `genunlearn show lm/hub/fine_tune`"):
        forget_config("some/model", FACTS, method="npo")


@pytest.mark.parametrize("domain", ["lm", "diffusion"])
@pytest.mark.parametrize("suite", ["lab", "hub"])
def test_where_to_begin_is_there(domain: str, suite: str) -> None:
    assert f"{domain}/{suite}/fine_tune" in list_configs()
