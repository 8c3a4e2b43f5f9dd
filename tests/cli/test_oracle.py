"""``genunlearn oracle``: the folder of a model that never saw what is to be forgotten, or why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from genunlearn.domains.sources import check_language_model
from tests.benchmark_folders import write_benchmark
from tests.tiny_models import build

QUICK = ("--set", "model.dtype=float32", "--set", "model.device=cpu", "--set", "oracle.epochs=1")


@pytest.fixture
def tofu(tmp_path, monkeypatch):
    """The options that name a small TOFU and a base."""
    monkeypatch.setenv("GENUNLEARN_CACHE", str(tmp_path / "cache"))
    data, base = write_benchmark("tofu", tmp_path / "data"), build("llama", tmp_path / "base")
    return (*QUICK, "--set", f"request.path={data}", "--set", f"oracle.base={base}")


def test_it_prints_the_folder_of_a_model_and_trains_it_once(call, tofu):
    done = call("oracle", "lm/tofu/npo", *tofu)
    assert done.code == 0 and "fine-tuning" in done.err
    (folder,) = done.out.splitlines()
    check_language_model(Path(folder))
    again = call("oracle", "lm/tofu/npo", *tofu)
    assert again.out == done.out and "fine-tuning" not in again.err
    assert call("oracle", "lm/tofu/npo", "--original", *tofu).out.splitlines() != [folder]


@pytest.mark.parametrize(
    ("config", "options", "complaint"),
    [
        ("lm/tofu/npo", ("oracle.base=null",), "no oracle: no model retrained without it is known: name one in"),
        ("lm/tofu/npo", ("oracle.base=/nowhere",), "'/nowhere'"),
        ("lm/tofu/npo", ("evaluate.oracle=never",), "no oracle: evaluate.oracle = never"),
        ("lm/tofu/npo", ("request.path=/nowhere",), "request.path = '/nowhere': there is no such folder"),
        ("lm/tofu/npo", ("oracle.epochs=0",), "oracle.epochs"),
        ("diffusion/lab/esd", (), "diffusion/lab/esd: domain = 'diffusion'"),
    ],
)
def test_why_there_is_none_is_said_in_one_line(call, tofu, config, options, complaint):
    given = tofu if config.startswith("lm/") else ()
    done = call("oracle", config, *given, *(part for option in options for part in ("--set", option)))
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert complaint in done.err
