"""What ``ls`` and ``show`` print: every name whole, the fields with their bounds left out, and near matches."""

from __future__ import annotations

import pytest

from genunlearn.cli.listings import _flowing
from genunlearn.config import config_text
from genunlearn.registry import ATTACKS, METHODS, METRICS


@pytest.mark.parametrize(("what", "table"), [("methods", METHODS), ("attacks", ATTACKS), ("metrics", METRICS)])
def test_every_name_is_listed_whole_on_a_narrow_screen(call, monkeypatch, what, table):
    monkeypatch.setenv("COLUMNS", "80")
    done = call("ls", what)
    listed = {line.split("│")[1].strip() for line in done.out.splitlines() if line.startswith("│")}
    assert done.code == 0 and set(table) <= listed


def test_an_attack_is_listed_with_its_budget(call):
    row = next(line for line in call("ls", "attacks").out.splitlines() if "quantised_reload" in line)
    assert [cell.strip() for cell in row.split("│")[1:5]] == [
        "quantised_reload",
        "diffusion",
        "weights rounded to 8 or 4 bits",
        "The denoiser with every matrix and kernel at few bits.",
    ]


def test_the_facts_of_each_embedded_language_model_are_listed(call):
    real, small = call("ls", "lab", "paris", "--model", "lab:smollm2"), call("ls", "lab", "hogwarts")
    assert "france.capital" in real.out and "facts in lab:smollm2;" in real.out
    assert "harry-potter.studied-at" in small.out and "facts in lab:lm;" in small.out
    assert call("ls", "lab", "--model", "lab:diffusion").code == 2


def test_show_prints_equation_paper_and_fields(call):
    method, attack, metric = (call("show", name).out for name in ("gkt", "partial_diffusion", "recall"))
    assert "gkt  (Protocol; fits classifier)" in method
    assert "    generator:  minimise -KL( t(x) || s(x) )\n" in method
    assert "guard" in method and "Literal['hidden', 'authors']" in method
    assert "partial_diffusion  (attack; fits diffusion; the original; up to 55% of 100 steps of each image)" in attack
    assert "tuple[float, ...]" in attack and "FieldInfo" not in attack
    assert "str | None" in call("show", "unstar").out
    assert "recall  (metric, version 1)" in metric and "┃" not in metric


@pytest.mark.parametrize("name", ["diffusion/audit/paper", "diffusion/hub/esd"])
def test_show_cuts_no_command_on_a_narrow_screen(call, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "40")
    comments = [line for line in config_text(name).splitlines() if line.startswith("#")]
    assert max(map(len, comments)) > 80
    assert set(comments) <= set(call("show", name).out.splitlines())


def test_show_takes_what_run_takes(call):
    shown = call("show", "lm/tofu/rmu")  # a method without a file of its own in the suite
    assert shown.code == 0 and "path: locuslab/TOFU" in shown.out and "name: rmu" in shown.out
    assert call("show", "lm/tofu/rmx").code == 2


def test_show_suggests_what_comes_near(call):
    done = call("show", "partial_difusion")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "genunlearn: unknown method, attack, metric, prompt or configuration 'partial_difusion'; "
        "did you mean 'partial_diffusion'? see genunlearn ls --help\n"
    )


def test_paragraphs_flow_and_equations_stay() -> None:
    text = "one\ntwo\n\n    a = b\n    c = d\n\nthree\nfour"
    assert _flowing(text) == "one two\n\n    a = b\n    c = d\n\nthree four"
