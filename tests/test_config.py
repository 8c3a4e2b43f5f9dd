"""Configurations: what they may say, and the one line that answers when they say something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from genunlearn.config import build_config, config_text, list_configs, load_config, parse_config, place_of
from genunlearn.config.lm import LMConfig
from genunlearn.errors import ConfigError, SourceNotFound

GOOD = """\
# a comment
domain: lm
model:
  source: lab:lm
request:
  facts: ["Harry Potter | studied at | Hogwarts"]
train:
  learning_rate: 1e-5
  max_steps: 30
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def complaint(source: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- what is read ---------------------------------------------------------------------------------------------


def test_a_file_is_read_and_defaults_are_filled_in(write):
    config = load_config(write(GOOD))
    assert config.request.facts == ("Harry Potter | studied at | Hogwarts",)
    assert config.train.max_steps == 30
    assert config.train.batch_size == 8
    assert config.method.name == "unstar"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("1E-5", 1e-5), ("2e3", 2000.0), ("1.", 1.0), (".5", 0.5), ("1", 1.0), ("+3e-4", 3e-4)],
)
def test_numbers_are_numbers_in_every_spelling(text, value):
    rate = parse_config(f"train:\n  learning_rate: {text}\n").train.learning_rate
    assert rate == value
    assert type(rate) is float


@pytest.mark.parametrize("name", list_configs())
def test_a_resolved_configuration_is_itself_a_configuration(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "again.yaml"
    YAML().dump(config.resolved(), path)
    again = load_config(path)
    assert again.resolved() == config.resolved()
    assert again.sha256 == config.sha256


def test_nested_mappings_are_a_configuration():
    data = {"train": {"max_steps": 3}, "request": {"facts": ["a | b | c"]}}
    config = build_config(data, ["train.max_steps=4"])
    assert (config.train.max_steps, config.request.facts) == (4, ("a | b | c",))
    assert data["train"] == {"max_steps": 3}


def test_an_empty_file_is_all_defaults(write):
    assert load_config(write("# nothing\n")) == LMConfig()


def test_a_configuration_does_not_change():
    config = parse_config(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValueError, match="frozen"):
        config.train.max_steps = 1


def test_the_hash_follows_what_is_said_and_not_how(write):
    first = parse_config("seed: 1\ntrain: {max_steps: 3}\n")
    assert first.sha256 == parse_config("# other words\ntrain:\n  max_steps: 3\nseed: 1\n").sha256
    assert first.sha256 == parse_config("seed: 1\n", ["train.max_steps=3"]).sha256
    assert first.sha256 != parse_config("seed: 2\ntrain: {max_steps: 3}\n").sha256


# ---- which file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lm/lab/unstar", "lm/lab/unstar.yaml", "configs/lm/lab/unstar.yaml"])
def test_a_shipped_configuration_goes_by_its_name(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_config(name).method.name == "unstar"


def test_a_method_without_a_file_has_its_own_defaults_in_its_suite():
    config, other = load_config("lm/tofu/random_labels"), load_config("lm/tofu/npo")
    assert (config.method.name, config.method.hyperparameters) == ("random_labels", {})
    assert (config.model, config.train) == (other.model, other.train)


def test_a_configuration_is_shown_whole(tmp_path):
    (tmp_path / "mine.yaml").write_text(config_text("lm/lab/unstar"))
    assert load_config(tmp_path / "mine.yaml") == load_config("lm/lab/unstar")


def test_an_unknown_configuration_gets_the_nearest():
    with pytest.raises(SourceNotFound) as caught:
        load_config("lm/lab/unstr")
    assert str(caught.value) == (
        "no configuration 'lm/lab/unstr'; did you mean 'lm/lab/unstar'? (genunlearn ls configs lists what is shipped)"
    )


@pytest.mark.parametrize("name", ["../pyproject", "lm/lab", "", "/etc/nothing.yaml"])
def test_no_path_is_followed_out_of_what_is_shipped(name):
    with pytest.raises(SourceNotFound, match="no configuration"):
        load_config(name)


# ---- wrong keys -----------------------------------------------------------------------------------------------


def test_an_unknown_key_names_file_line_and_the_nearest(write):
    path = write(GOOD.replace("max_steps", "max_step"))
    assert complaint(path) == f"{path}:9: unknown key 'train.max_step'; did you mean 'max_steps'?"


def test_a_key_that_cannot_be_printed_is_escaped_in_the_message(write):
    with pytest.raises(ConfigError, match=r"run\.yaml:1: attacks\.\\x1f  = None: ") as caught:
        load_config(write('{task: audit, domain: diffusion, attacks: {"\\x1f\\n": null}}'))
    assert str(caught.value).isprintable()


def test_an_unknown_section(write):
    path = write(GOOD + "trian:\n  seed: 1\n")
    assert complaint(path) == f"{path}:10: unknown key 'trian'; did you mean 'train'?"


def test_an_unknown_key_far_from_all_lists_them(write):
    path = write("request:\n  zzz: 1\n")
    message = complaint(path)
    assert message.startswith(f"{path}:2: unknown key 'request.zzz'; known keys: answers, benchmark, columns, facts, ")


def test_no_oracle_is_called_never(write):
    path = write("evaluate:\n  oracle: none\n")
    assert complaint(path) == f"{path}:2: evaluate.oracle = 'none': never goes without an oracle"
    audit = write("task: audit\ndomain: lm\noracle: off\n")
    assert "oracle" in complaint(audit)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [("seed: 1\nseed: 2\n", 2, "seed"), ("train:\n  max_steps: 1\n  batch_size: 2\n  max_steps: 3\n", 4, "max_steps")],
)
def test_a_duplicate_key_names_file_and_line(write, text, line, key):
    path = write(text)
    assert complaint(path) == f'{path}:{line}: found duplicate key "{key}": keep one of the two'


# ---- wrong values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("train", "max_steps", "ten", "'ten': input should be a valid integer"),
        ("train", "max_steps", "3.5", "3.5: input should be a valid integer"),
        ("train", "max_steps", "yes", "'yes': input should be a valid integer"),
        ("train", "max_steps", "true", "True: input should be a valid integer"),
        ("train", "max_steps", "0", "0: input should be greater than or equal to 1"),
        ("train", "max_steps", "", "None: input should be a valid integer"),
        ("train", "learning_rate", "'1e-5'", "'1e-5': input should be a valid number"),
        ("train", "learning_rate", "-1e-5", "-1e-05: input should be greater than 0"),
        ("train", "learning_rate", ".nan", "nan: input should be a finite number"),
        ("train", "learning_rate", ".inf", "inf: input should be a finite number"),
        ("train", "schedule", "cosin", "'cosin': input should be 'constant', 'linear' or 'cosine'"),
        ("train", "stop_recall", "1.5", "1.5: input should be less than or equal to 1"),
        ("model", "dtype", "float8", "'float8': input should be 'float32', 'bfloat16', 'float16' or 'auto'"),
        ("model", "source", "5", "5: input should be a valid string"),
        ("request", "force", "maybe", "'maybe': input should be a valid boolean"),
        ("request", "facts", "one fact", "'one fact': input should be a valid tuple"),
    ],
)
def test_a_wrong_value_names_file_line_value_and_what_is_allowed(write, section, key, value, reason):
    path = write(f"# first line\n{section}:\n  {key}: {value}\n")
    assert complaint(path).startswith(f"{path}:3: {section}.{key} = {reason}")


def test_a_wrong_item_of_a_list_names_its_place(write):
    path = write("request:\n  facts:\n    - a | b | c\n    - 7\n")
    assert complaint(path) == f"{path}:2: request.facts.1 = 7: input should be a valid string"


@pytest.mark.parametrize("value", ["unstar", "[npo]", ""])
def test_a_section_that_is_a_value(write, value):
    path = write(f"seed: 1\ntrain: {value}\n")
    assert complaint(path).startswith(f"{path}:2: train")


# ---- not a configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\ntrain: {max_steps: 3\n", 3),
        ("seed: 1\n\ttrain: 2\n", 2),
        ("a: b: c\n", 1),
        ("seed: 1\n---\nseed: 2\n", 2),
    ],
)
def test_what_is_not_yaml_names_the_line(write, text, line):
    path = write(text)
    assert complaint(path).startswith(f"{path}:{line}: not YAML: ")


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b\n", "CommentedSeq"), ("just words\n", "str"), ("12\n", "int")])
def test_what_is_no_mapping(write, text, kind):
    path = write(text)
    assert complaint(path) == f"{path}:1: a configuration is a mapping of sections, got {kind}"


def test_what_is_not_text(write):
    path = write(b"seed: 1\nmodel: {source: caf\xe9}\n")
    assert complaint(path) == f"{path}:2: not UTF-8: save the file with that encoding"
    assert complaint(write(b"seed: \x00\n")).startswith(f"{path}: not YAML: ")


def test_a_byte_order_mark_is_no_error(write):
    assert load_config(write(b"\xef\xbb\xbfseed: 4\n")).seed == 4


# ---- overrides ------------------------------------------------------------------------------------------------


def test_overrides_are_yaml_and_later_ones_win():
    config = parse_config(
        GOOD,
        [
            "train.learning_rate=2e-4",
            "seed=1",
            "seed=2",
            'request.facts=["x | y | z"]',
            "method.name=npo",
            "method.beta=0.5",
        ],
    )
    assert config.train.learning_rate == 2e-4
    assert config.train.max_steps == 30
    assert config.seed == 2
    assert config.request.facts == ("x | y | z",)
    assert (config.method.name, config.method.hyperparameters) == ("npo", {"beta": 0.5})


def test_an_override_may_hold_an_equals_sign():
    assert parse_config("", ["request.question=Is 1 = 1?"]).request.question == "Is 1 = 1?"


@pytest.mark.parametrize("override", ["seed", "=1", ".seed=1", "train.=1", "train..max_steps=1"])
def test_an_override_of_another_form(override):
    with pytest.raises(ConfigError, match=re.escape(f"--set {override!r}: write it as section.key=value")):
        parse_config(GOOD, [override])


def test_an_override_below_a_value():
    with pytest.raises(ConfigError, match=re.escape("--set 'seed.x=1': 'seed' is a value, not a section")):
        parse_config("seed: 3\n", ["seed.x=1"])


def test_an_override_that_is_not_yaml():
    with pytest.raises(ConfigError, match=re.escape("--set 'seed=[1': not YAML: ")):
        parse_config(GOOD, ["seed=[1"])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.max_step=3", "unknown key 'train.max_step'; did you mean 'max_steps'?"),
        ("train.max_steps=ten", "train.max_steps = 'ten': input should be a valid integer"),
        ("modle.source=x", "unknown key 'modle'; did you mean 'model'?"),
        ("train=3", "train = 3: input should be a valid dictionary or instance of TrainConfig"),
    ],
)
def test_what_an_override_says_wrongly_is_its_own_fault(write, override, reason):
    assert complaint(write(GOOD), override).startswith(f"--set {override!r}: {reason}")


def test_where_a_key_is_given(write):
    path = write(GOOD)
    assert place_of(("train", "max_steps"), path) == f"{path}:9"
    assert place_of(("train", "max_steps"), path, ["train.max_steps=1"]) == "--set 'train.max_steps=1'"
    assert place_of(("train", "batch_size"), path) == f"{path}:7"
    assert place_of(("evaluate", "samples"), path) == str(path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("request.forget=nodes:", None),
        ("request.forget=class: 3", "request.forget is read as a mapping: write class:3 without a blank"),
    ],
)
def test_a_request_is_a_word_although_yaml_reads_a_mapping(override: str, said: str | None) -> None:
    if said is None:
        assert load_config("graph/cora/d2dgn", [override]).request.forget == "nodes:"
        return
    with pytest.raises(ConfigError, match=said):
        load_config("graph/cora/d2dgn", [override])
