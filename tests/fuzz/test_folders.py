"""Damaged and hostile model folders: each opens, or is refused in one line, and soon."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from genunlearn.config import ParametersConfig
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.files import read_shapes
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.network.classifier import Classifier
from genunlearn.engine import parameters
from genunlearn.errors import InputError
from tests.fuzz.budget import tries
from tests.tiny_models import build
from tests.tiny_pipelines import tiny

SECONDS = 20
"""What opening a tiny folder may take at most."""

NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 7, 2**31, 2**63, 2**64, 10**6, 10**12, 10**400]),
    st.floats(),
    st.integers(-5, 5000),
)
WORDS = st.sampled_from(["", "/", "..", "a/b", "\ud800", "\0", "{{", "x" * 5000, "evil.Evil", "F32", "BF16", "U64"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)


@contextmanager
def in_time() -> Iterator[None]:
    """Fail where the block takes longer than `SECONDS`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def opens_or_refuses(open_it: Callable[[], Any]) -> bool:
    """Whether it opened; anything but a refusal in one line fails the test."""
    try:
        with in_time():
            open_it()
    except InputError as error:
        assert "\n" not in str(error)
        return False
    return True


# ---- safetensors headers ----------------------------------------------------------------------------------------

ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "F8_E4M3", "F4", "C64", "BOOL"]) | VALUES,
        "shape": st.lists(NUMBERS | VALUES, max_size=4),
        "data_offsets": st.lists(NUMBERS | VALUES, max_size=3),
        "extra": VALUES,
    },
)
HEADERS = st.one_of(
    st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), ENTRIES | VALUES, max_size=4), VALUES
)


@tries(60)
@given(header=HEADERS, length=st.none() | NUMBERS.filter(lambda n: isinstance(n, int)), body=st.binary(max_size=40))
def test_safetensors_headers(tmp_path_factory, header, length, body):
    folder = tmp_path_factory.mktemp("header")
    text = json.dumps(header).encode()
    stated = len(text) if length is None else length % 2**64
    (folder / "model.safetensors").write_bytes(stated.to_bytes(8, "little") + text + body)
    if opens_or_refuses(lambda: read_shapes(folder / "model.safetensors")):
        load_file(folder / "model.safetensors")  # what is let through is whole
    shutil.rmtree(folder)


@tries(60)
@given(data=st.data())
def test_a_good_header_with_one_thing_changed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("header")
    path = folder / "model.safetensors"
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, path, metadata={"format": "pt"})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    place = header[data.draw(st.sampled_from(["a", "b", "__metadata__"]))]
    place[data.draw(st.sampled_from([*place, "dtype", "shape"]))] = data.draw(VALUES | st.lists(NUMBERS, max_size=3))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    if opens_or_refuses(lambda: read_shapes(path)):
        load_file(path)
    shutil.rmtree(folder)


# ---- folders ----------------------------------------------------------------------------------------------------


def language_model(folder: Path) -> Path:
    return build("llama", folder)


def classifier(folder: Path) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    shape = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic", "num_labels": 3}
    ResNetForImageClassification(ResNetConfig(**shape)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


def pipeline(folder: Path) -> Path:
    tiny("sd1").save_pretrained(folder)
    return folder


def patch(folder: Path) -> Path:
    model = open_language_model(build("llama", folder.parent / "base"))
    parameters.attach(model, ParametersConfig(rank=2), seed=0)
    parameters.save_patch(model, folder)
    return folder


def open_language_model(folder: Path) -> LanguageModel:
    return LanguageModel.load(str(folder), device="cpu")


def open_patch(folder: Path) -> None:
    parameters.load_patch(open_language_model(folder.parent / "base"), folder, force=True)


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "language model": (language_model, open_language_model),
    "classifier": (classifier, lambda folder: Classifier.load(str(folder), device="cpu")),
    "pipeline": (pipeline, lambda folder: Diffusion.load(str(folder), device="cpu")),
    "patch": (patch, open_patch),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of a kind, made once; not to be written to."""
    root = tmp_path_factory.mktemp("whole")

    def whole(kind: str) -> Path:
        place = root / kind.replace(" ", "_")
        if not place.exists():
            place.mkdir()
            KINDS[kind][0](place / "folder")
        return place / "folder"

    return whole


def damage_json(path: Path, data: st.DataObject) -> None:
    """Put something else in one place of a JSON file."""
    content = json.loads(path.read_text())
    place, key = content, data.draw(st.sampled_from(sorted(content) or ["new"]), label="key")
    while isinstance(place.get(key), dict) and place[key] and data.draw(st.booleans(), label="deeper"):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)), label="key")
    if data.draw(st.integers(0, 5)) == 0:
        place.pop(key, None)
    else:
        place[key] = data.draw(VALUES, label="value")
    path.write_text(json.dumps(content))


def damage_file(path: Path, data: st.DataObject) -> None:
    """Put something else where a file lay."""
    content = path.read_bytes()
    choice = data.draw(st.sampled_from(["cut", "bytes", "value", "deep", "pipe", "folder", "loop", "memory", "gone"]))
    path.unlink()
    if choice == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    elif choice == "bytes":
        path.write_bytes(data.draw(st.binary(max_size=30)))
    elif choice == "value":
        path.write_text(json.dumps(data.draw(VALUES)))
    elif choice == "deep":
        path.write_text("[" * data.draw(st.sampled_from([50, 900, 100_000])))
    elif choice == "pipe":
        os.mkfifo(path)
    elif choice == "folder":
        path.mkdir()
    elif choice == "loop":
        path.symlink_to(path)
    elif choice == "memory":  # a regular file that cannot be read
        path.symlink_to("/proc/self/mem")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@tries(12)
@given(data=st.data())
def test_damaged_folders(tmp_path_factory, whole, kind, data):
    source = whole(kind)
    place = tmp_path_factory.mktemp("damaged", numbered=True)
    folder = Path(shutil.copytree(source, place / "folder"))
    if (source.parent / "base").is_dir():
        (place / "base").symlink_to(source.parent / "base")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    path = data.draw(st.sampled_from(paths), label="file")
    (damage_json if path.suffix == ".json" and data.draw(st.integers(0, 3)) else damage_file)(path, data)
    opens_or_refuses(lambda: KINDS[kind][1](folder))
    shutil.rmtree(place)


LAYERS = "num_hidden_layers"


@pytest.mark.parametrize(
    "entries",
    [
        {LAYERS: 1_000_000},
        {LAYERS: 10**12},
        {LAYERS: float("inf")},
        {"vocab_size": 10**12},
        {"max_position_embeddings": 10**15},
        {"num_labels": 10**9},
        {"text_config": {LAYERS: 1_000_000}},
    ],
    ids=repr,
)
def test_a_configuration_without_measure_is_refused_at_once(tmp_path, tiny_folder, entries):
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))
    with in_time(), pytest.raises(InputError, match="but the weight files beside it hold"):
        open_language_model(folder)


HOSTILE = {
    "a list": "[]",
    "a number": "3",
    "deeply nested": "[" * 100_000,
    "nested in objects": '{"a":' * 400 + "1" + "}" * 400,
    "an endless number": '{"a": ' + "1" * 5000 + "}",
    "half a surrogate pair": '{"model_type": "\\ud800"}',
    "nothing": "",
}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_json_files_of_every_wrong_kind_are_refused_in_one_line(tmp_path, tiny_folder, name, text):
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    (folder / name).write_text(text)
    if opens_or_refuses(lambda: open_language_model(folder)):
        assert name in ("tokenizer_config.json", "generation_config.json")  # what they need not say is left out


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json", "x"])
def test_a_pipe_in_a_folder_is_refused_and_not_waited_for(tmp_path, tiny_folder, name):
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert not opens_or_refuses(lambda: open_language_model(folder))


@pytest.mark.parametrize("source", ["x" * 5000, "a/" + "x" * 5000, "\ud800", "a\0b", "~nobody/model", "a/b\n", "\n"])
def test_names_that_no_folder_can_have_are_refused(source):
    with in_time(), pytest.raises(InputError):
        LanguageModel.load(source, device="cpu")
    with in_time(), pytest.raises(InputError):
        Diffusion.load(source, device="cpu")


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": []},
        {"weight_map": {}},
        {"weight_map": {"a": "../model.safetensors"}},
        {"weight_map": {"a": 3}},
    ],
    ids=repr,
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, tiny_folder, index):
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="weight_map must name safetensors files beside it"):
        open_language_model(folder)
