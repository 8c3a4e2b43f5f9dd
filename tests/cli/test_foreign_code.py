"""The command line neither runs code out of a folder nor asks whether it may."""

from __future__ import annotations

import io
import json
import shutil

import pytest

from tests.small_classifiers import write_data, write_model


@pytest.fixture
def answering_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))


def plant(folder, ran) -> None:
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil:\n    pass\n")
    config = json.loads((folder / "config.json").read_text())
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForImageClassification")
    config |= {"model_type": "evil", "auto_map": dict.fromkeys(classes, "evil.Evil")}
    (folder / "config.json").write_text(json.dumps(config))


def test_ask_and_run_on_a_language_model_with_code(
    refused, write_config, model_folder, workplace, tmp_path, answering_yes
):
    shutil.copytree(model_folder, workplace / "planted")
    plant(workplace / "planted", tmp_path / "it ran")
    assert "cannot open it as a language model" in refused("ask", "--model", "planted", "Who?")
    assert "planted" in refused("run", write_config(model={"source": "planted"}), "--out", "out")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("command", [("check",), ("run", "--out", "out")], ids=["check", "run"])
def test_check_and_run_on_a_classifier_with_code(refused, write_config, workplace, tmp_path, answering_yes, command):
    write_model(workplace / "planted")
    write_data(workplace / "data")
    plant(workplace / "planted", tmp_path / "it ran")
    config = write_config(
        domain="classifier",
        model={"source": "planted"},
        request={"data": "data", "forget": "class:1"},
        method={"name": "fine_tune"},
        parameters={"kind": "full"},
        train=None,
        evaluate=None,
    )
    name, *options = command
    assert "cannot open it as a model ResNetForImageClassification" in refused(name, config, *options)
    assert not (tmp_path / "it ran").exists()
