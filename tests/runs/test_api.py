"""The configurations behind ``forget`` and ``erase``: a suite's settings with the method's own over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import genunlearn
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import InputError, NameNotFound
from genunlearn.registry import METHODS
from genunlearn.runs.api import audit_config, erase_config, forget_config

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
    assert (shared.model.source, shared.model.dtype, shared.train.learning_rate) == ("lab:lm", "auto", 1e-3)


@pytest.mark.parametrize(("original", "rate"), [("lab:lm", 1e-3), (None, 1e-3), ("lab:smollm2", None), ("o/m", None)])
def test_relearning_of_other_models_goes_at_its_own_rate(original: str | None, rate: float | None) -> None:
    """That of the suites is for the lab's small network; a large one is ruined by a step of it."""
    config = audit_config("runs/x", FACTS, original=original)
    assert config.attacks["relearning"].get("learning_rate") == rate


def test_a_method_of_another_family_is_refused() -> None:
    with pytest.raises(NameNotFound, match=r"method .uce. is for diffusion, not for lm; lm has .* more"):
        forget_config("lab:lm", FACTS, method="uce")
    with pytest.raises(NameNotFound, match="method 'unsir' is for network, not for diffusion"):
        erase_config("lab:diffusion", ["digit seven"], method="unsir")


def test_a_method_from_elsewhere_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_lines", dict(METHODS._lines))
    METHODS.register("mine", "genunlearn.methods.general.grad_ascent:GradAscent")
    assert forget_config("lab:lm", FACTS, method="mine").train.stop_recall == 0.0
    assert erase_config("lab:diffusion", ["digit seven"], method="mine").request.preserve == ("auto",)


NOT_A_SOURCE = r"give a folder in the hub's format, a hub id or lab:NAME"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: genunlearn.forget(None, "a | b | c"), f"model = None: {NOT_A_SOURCE}"),
        (lambda: genunlearn.forget("", "a | b | c"), f"model = '': {NOT_A_SOURCE}"),
        (
            lambda: genunlearn.forget(nn.Linear(1, 1), "a | b | c"),
            "model is a Linear: save .* goes to genunlearn.unlearn",
        ),
        (lambda: genunlearn.forget("lab:lm", None), "facts = None: give a text or a list of texts"),
        (lambda: genunlearn.forget("lab:lm", [("a", "b", "c")]), r"facts = \[\('a', 'b', 'c'\)\]: give a text"),
        (lambda: genunlearn.forget("lab:lm", "a | b | c", question=3), "question = 3: give the text of one"),
        (lambda: genunlearn.forget("lab:lm", "a | b | c", retain=["q"]), "retain = list: give the path"),
        (lambda: genunlearn.forget("lab:lm", "a | b | c", method=None), "method = None: give a name"),
        (lambda: genunlearn.forget("lab:lm", "a | b | c", overrides="seed=1"), "overrides = 'seed=1': give a list"),
        (lambda: genunlearn.erase(object(), "a cat"), "model is a object: save a pipeline .* give model=FOLDER"),
        (lambda: genunlearn.erase("lab:diffusion", None), "concepts = None: give a text"),
        (lambda: genunlearn.erase("lab:diffusion", "a cat", preserve=7), "preserve = 7: give a text"),
        (lambda: genunlearn.erase("lab:diffusion", "a cat", method=7), "method = 7: give a name"),
        (lambda: genunlearn.audit(None, "a cat"), f"unlearned = None: {NOT_A_SOURCE}"),
        (lambda: genunlearn.audit("x", "a cat", original=3), f"original = 3: {NOT_A_SOURCE}"),
        (lambda: genunlearn.audit("x", "a cat", suite=None), "suite = None: give a name"),
        (lambda: genunlearn.run(None), "config = None: give a RunConfig"),
        (lambda: genunlearn.run({"domain": "lm"}, overrides=None), "overrides = None: give a list"),
        (lambda: genunlearn.run("lm/lab/npo", out=3), "out = 3: give the path of a folder"),
    ],
)
def test_a_wrong_argument_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_path_is_a_source() -> None:
    assert forget_config(Path("some/model"), FACTS).model.source == "some/model"
