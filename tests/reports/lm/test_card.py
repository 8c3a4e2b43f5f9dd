"""The model card of a patch: front matter that parses, code that runs, numbers of the record."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from genunlearn.records import RunRecord
from genunlearn.reports.lm.card import write_patch_card

Make = Callable[..., RunRecord]


def front_matter(card: str) -> dict:
    return YAML(typ="safe", pure=True).load(card.split("---\n")[1])


def code_of(card: str) -> str:
    (code,) = re.findall(r"```python\n(.*?\n)```\n", card, flags=re.DOTALL)
    return code


def test_front_matter_names_base_and_library(record: RunRecord, tmp_path: Path) -> None:
    path = write_patch_card(record, tmp_path)
    assert path == tmp_path / "README.md"
    card = path.read_text(encoding="utf-8")
    assert front_matter(card) == {
        "base_model": "lab:lm",
        "library_name": "peft",
        "tags": ["unlearning", "genunlearn", "unstar"],
    }


def test_the_card_holds_the_numbers_and_their_limits(record: RunRecord, tmp_path: Path) -> None:
    card = write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    for part in (
        "# Not told in 8 new phrasings (at most 0.32); not audited: Harry Potter · studied at · Hogwarts",
        "| after | 0.00 [0.00, 0.32] (n=8) |",
        "| Perplexity, neutral text | 3.41 [3.20, 3.63] (n=120) | 3.44 [3.23, 3.66] (n=120) |",
        "196,608 of 1,913,472 (10%)",
        record.hashes["base"],
        "not a proof of deletion",
        "reaches up to 0.32",
    ):
        assert part in card, part


def test_the_card_says_how_the_base_was_loaded(record: RunRecord, tmp_path: Path) -> None:
    assert "The base was loaded" not in write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    base = {"source": "a/b", "commit": "0a1b2c", "dtype": "bfloat16", "quantize": "nf4", "device": "NVIDIA H100"}
    (tmp_path / "genunlearn.json").write_text(json.dumps({"base": base}))
    card = write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    made = "The base was loaded in 4-bit (nf4) and bfloat16, commit 0a1b2c; the patch was made on NVIDIA H100."
    assert made in card
    base |= {"commit": None, "quantize": "none", "device": "cpu"}
    (tmp_path / "genunlearn.json").write_text(json.dumps({"base": base}))
    card = write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    assert "The base was loaded in bfloat16; the patch was made on cpu." in card


def test_loading_code_is_python_and_names_the_hub_model(make_record: Make, tmp_path: Path) -> None:
    record = make_record()
    record.config["model"] = {"source": "Qwen/Qwen2.5-0.5B-Instruct", "revision": "main"}
    code = code_of(write_patch_card(record, tmp_path).read_text(encoding="utf-8"))
    ast.parse(code)
    assert 'base = "Qwen/Qwen2.5-0.5B-Instruct"' in code
    assert code.count('revision="main"') == 2


def test_hostile_names_break_neither_yaml_nor_code_nor_markdown(make_record: Make, tmp_path: Path) -> None:
    evil = 'x"\n---\n```\n<script>alert(1)</script> | [a](http://b)'
    record = make_record(request={"facts": [{"subject": evil, "relation": "is", "object": "y"}]})
    record.config["model"] = {"source": evil}
    record.config["method"] = {"name": evil}
    card = write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    assert front_matter(card)["base_model"] == evil
    ast.parse(code_of(card))
    prose = card.replace(code_of(card), "").split("---\n", 2)[2]
    assert "<script>" not in prose and "\n---\n" not in prose


def test_an_unfinished_run_is_not_praised(make_record: Make, tmp_path: Path) -> None:
    record = make_record(status="interrupted", outcome=None, results=[], parameters={}, hashes={})
    card = write_patch_card(record, tmp_path).read_text(encoding="utf-8")
    assert "# The run did not finish" in card
    assert "Nothing was measured after unlearning" in card
