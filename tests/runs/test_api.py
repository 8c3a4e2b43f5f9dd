"""The configurations behind ``forget`` and ``erase``: a suite's settings with the method's own over them."""

from __future__ import annotations

import pytest

from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import NameNotFound
from genunlearn.registry import METHODS
from genunlearn.runs.api import erase_config, forget_config

FACTS = {"facts": ("Harry Potter | studied at | Hogwarts",)}


@pytest.mark.parametrize("model", ["lab:lm", "lab:smollm2", "some/model"])
def test_every_method_that_fits_can_be_asked_for(model: str) -> None:
    for line in METHODS.lines("lm"):
        if METHODS.load(line).fits(LanguageModel):
            assert forget_config(model, FACTS, method=line.name).method.name == line.name


def test_the_shipped_settings_get_the_request() -> None:
    config = forget_config("lab:lm", FACTS, method="RandomLabels", overrides=("train.max_steps=7",))
    assert (config.method.name, config.request.facts) == ("random_labels", FACTS["facts"])
    assert (config.train.max_steps, config.train.learning_rate) == (7, 1e-3)


def test_an_embedded_model_may_have_settings_of_its_own() -> None:
    own, shared = (forget_config(model, FACTS, method="npo") for model in ("lab:smollm2", "lab:lm"))
    assert (own.model.source, own.model.dtype, own.train.learning_rate) == ("lab:smollm2", "bfloat16", 2e-4)
    assert (shared.model.source, shared.model.dtype, shared.train.learning_rate) == ("lab:lm", "float32", 1e-3)


def test_a_method_of_another_family_is_refused() -> None:
    with pytest.raises(NameNotFound, match=r"method .uce. is for diffusion, not for lm; known: .*unstar"):
        forget_config("lab:lm", FACTS, method="uce")
    with pytest.raises(NameNotFound, match="method 'unsir' is for network, not for diffusion"):
        erase_config("lab:diffusion", ["digit seven"], method="unsir")


def test_a_method_from_elsewhere_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_lines", dict(METHODS._lines))
    METHODS.register("mine", "genunlearn.methods.general.grad_ascent:GradAscent")
    assert forget_config("lab:lm", FACTS, method="mine").train.stop_recall == 0.0
    assert erase_config("lab:diffusion", ["digit seven"], method="mine").request.preserve == ("auto",)
