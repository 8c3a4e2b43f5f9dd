"""Configurations of any content: taken, and fit to be written down again, or refused in one line, and soon."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genunlearn.config import RunConfig, build_config, config_text, load_config
from genunlearn.errors import InputError
from tests.fuzz.budget import tries
from tests.fuzz.hostile import TEXTS, VALUES, damaged, damaged_bytes

SHIPPED = ("lm/lab/unstar", "diffusion/lab/esd", "classifier/digits/scrub", "diffusion/audit/quick")
YAML = {name: config_text(name).encode() for name in SHIPPED}
SOUND = {name: load_config(name).model_dump(mode="json") for name in SHIPPED}
KEYS = st.sampled_from(["train.max_steps", "model.source", "method.name", "seed", "request.facts", "task", "", "a..b"])
MARKS = st.sampled_from(["- ", ": ", "\n", "  ", "&a ", "*a", "!!python/object:os.system ", "? ", "|\n", "{", "]", "#"])

WORDS = st.lists(MARKS | TEXTS, max_size=6).map(lambda words: "".join(words).encode("utf-8", "replace"))


def taken(content: bytes, *overrides: str) -> RunConfig | None:
    """What a file gives with overrides; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        path.write_bytes(content)
        try:
            config = load_config(path, overrides)
        except InputError as error:
            assert str(error).isprintable(), error
            return None
    resolved = config.model_dump(mode="json")
    json.dumps(resolved, allow_nan=False, ensure_ascii=False).encode()  # as the record writes it
    assert build_config(resolved) == config
    return config


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_damaged_here_is_sound(name: str) -> None:
    assert taken(YAML[name]) == taken(json.dumps(SOUND[name]).encode()) == load_config(name)


@tries(60)
@given(data=st.sampled_from(SHIPPED).flatmap(lambda name: damaged(SOUND[name])))
def test_a_configuration_with_wrong_values_is_refused_or_taken(data: object) -> None:
    taken(json.dumps(data).encode())


@tries(40)
@given(content=st.sampled_from(SHIPPED).flatmap(lambda name: damaged_bytes(YAML[name])))
def test_a_configuration_with_damaged_bytes_is_refused_or_taken(content: bytes) -> None:
    taken(content)


@tries(100)
@given(content=st.binary(max_size=40) | WORDS)
def test_any_bytes_are_refused_or_taken(content: bytes) -> None:
    taken(content)


@tries(60)
@given(key=KEYS | TEXTS, value=TEXTS | VALUES.map(json.dumps) | st.lists(MARKS, max_size=4).map("".join))
def test_any_override_is_refused_or_taken(key: str, value: str) -> None:
    taken(b"domain: lm\n", f"{key}={value}")


@tries(60)
@given(name=TEXTS)
def test_a_name_that_no_configuration_has_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(name)
    assert str(caught.value).isprintable()


HOSTILE = {
    "lists within lists": "model: " + "[" * 5000,
    "mappings within mappings": "model: " + "{a: " * 3000,
    "one level a line": "\n".join(" " * depth + "a:" for depth in range(500)),
    "an alias of itself": "model: &a [*a]",
    "aliases that explode": "a: &a0 [x]\n" + "".join(f"b{n}: &a{n + 1} [{f'*a{n}, ' * 9}]\n" for n in range(9)),
    "a date that is none": "seed: 2020-99-99",
    "a number without end": "seed: " + "1" * 5000,
    "an unhashable key": "? [a, b]\n: 1",
    "a merge of no mapping": "<<: 3",
    "a merge of itself": "a: &a\n  <<: *a",
    "an object": "model: !!python/object/apply:os.system [ls]",
    "an endless directive": "%YAML " + "9" * 5000 + ".1\n---\na: 1",
    "two documents": "a: 1\n---\nb: 2",
    "bytes that are no base64": "model: !!binary '?'",
    "half of a surrogate pair": 'model: {source: "\\ud800"}',
    "half of a pair in a setting": 'evaluate: {judge: "\\ud800"}',
    "a set": "model: !!set {a, b}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_yaml_of_every_wrong_kind_is_refused_in_one_line(text: str) -> None:
    assert taken(text.encode()) is None
    assert taken(b"", f"model={text.partition(': ')[2]}") is None
