"""Packages of extras: known by the names in the package's own metadata, and missed in one line everywhere."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

import genunlearn
from genunlearn.errors import NeedNotMet
from genunlearn.registry import EXTRAS, explain, require

ROOT = Path(__file__).parents[2]
FACT = "Harry Potter | studied at | Hogwarts"
SEVEN = ("--concept", "digit seven")


def test_extras_are_those_that_the_package_offers() -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {
        re.split(r"\[|>=", requirement)[0].replace("-", "_"): extra
        for extra, rows in offered.items()
        if extra != "dev"
        for requirement in rows
    }
    assert brought | {"ray": "federated"} == EXTRAS  # Flower's simulation stands on it


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("diffusers", ["erase", *SEVEN]),
        ("diffusers", ["audit", "--unlearned", "lab:diffusion", *SEVEN]),
        ("diffusers", ["check", "diffusion/lab/uce"]),
        ("diffusers", ["run", "diffusion/lab/uce"]),
        ("diffusers", ["sample", "--prompt", "a digit", "--grid", "new.png"]),
        ("diffusers", ["lab", "build", "diffusion", "--force"]),
        ("diffusers", ["patch", "merge", "x", "--model", "lab:diffusion", "--out", "new"]),
        ("bitsandbytes", ["forget", "--fact", FACT, "--set", "model.quantize=nf4"]),
        ("bitsandbytes", ["forget", "--fact", FACT, "--set", "train.optimizer=adamw_8bit"]),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(call, workplace, monkeypatch, package, arguments) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (workplace / "x" / "patch").mkdir(parents=True)
    done = call(*arguments)
    line = done.err.splitlines()[-1]
    assert done.code == 2 and "Traceback" not in done.err
    assert f"needs the package {package!r}, which is not installed: pip install 'genunlearn[{EXTRAS[package]}]'" in line


def test_from_python_as_well(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(NeedNotMet, match=r"genunlearn\[diffusion\]"):
        genunlearn.erase("lab:diffusion", "digit seven")


def test_only_what_an_extra_brings_is_explained() -> None:
    assert explain(ModuleNotFoundError("", name="diffusers.loaders")).args[0].endswith("'genunlearn[diffusion]'")
    assert explain(ModuleNotFoundError("", name="numpy")) is None
    require("nltk", "this")
