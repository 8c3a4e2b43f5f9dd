"""Benchmarks read from folders of their shape, and what is said of folders that have another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from genunlearn.data.lm.benchmarks import base
from genunlearn.data.lm.benchmarks.base import pieces
from genunlearn.data.lm.benchmarks.reading import read_benchmark
from genunlearn.data.lm.facts import FORGET_GROUPS, Contrast
from genunlearn.errors import ConfigError, DataError, GenunlearnError, NameNotFound, SourceNotFound
from genunlearn.records import write_jsonl
from genunlearn.registry import BENCHMARKS
from tests.benchmark_folders import FOLDERS, FORGET, KEPT, WORLD, WRONG, write_as_the_hub_does, write_benchmark

REAL_TOFU = Path(os.environ.get("GENUNLEARN_TOFU", "/nowhere"))


def sizes(data: base.Benchmark) -> dict[str, int]:
    return {name: len(items) for name, items in data.measured.items()}


def test_tofu_has_four_sets_with_wrong_answers(tmp_path):
    data = read_benchmark(str(write_benchmark("tofu", tmp_path)), "tofu", "forget10")
    assert [(item.question, item.answer) for item in data.forget] == list(FORGET)
    assert [(item.question, item.answer) for item in data.retain] == list(KEPT)
    assert sizes(data) == {"forget": 2, "retain": 2, "real_authors": 1, "world_facts": 1}
    assert data.label == "tofu forget10"
    asked = data.measured["forget"][0]
    assert isinstance(asked, Contrast) and asked.wrong == tuple(WRONG)
    assert (asked.right, asked.group) == ("It is Hogwarts.", "forget")
    known = data.measured["world_facts"][0]
    assert (known.question, known.right, known.group) == (*WORLD[0], "rest")


@pytest.mark.parametrize(("split", "retain"), [("forget01", "retain99"), ("forget05", "retain95")])
def test_a_smaller_split_of_tofu_has_its_own_retain_set(tmp_path, split, retain):
    write_benchmark("tofu", tmp_path)
    for old, new in (("forget10", split), ("retain90", retain), ("forget10_perturbed", f"{split}_perturbed")):
        (tmp_path / f"{old}.json").rename(tmp_path / f"{new}.json")
    data = read_benchmark(str(tmp_path), "tofu", split)
    assert (data.forget[0].id, data.retain[0].id) == (f"{split}#0", f"{retain}#0")


EXPECTED = {
    "knowundo": (1, 2, {"forget": 1, "forget_heldout": 1, "retain": 1}),
    "wpu": (2, 1, {"forget": 2, "hard_retain": 1, "general_retain": 1}),
    "muse": (1, 1, {"forget": 2, "forget_heldout": 1, "retain": 2}),
    "lume": (1, 1, {"forget": 1, "forget_heldout": 1, "retain": 1}),
    "rwku": (2, None, {"forget": 3, "forget_heldout": 1, "neighbours": 3}),
    "tofu": (2, 2, {"forget": 2, "retain": 2, "real_authors": 1, "world_facts": 1}),
}


@pytest.mark.parametrize("name", BENCHMARKS.names("lm"))
def test_a_folder_is_recognised_by_its_files_and_read(tmp_path, name):
    data = read_benchmark(str(write_benchmark(name, tmp_path)))
    forget, retain, measured = EXPECTED[name]
    assert (len(data.forget), data.retain and len(data.retain), sizes(data)) == (forget, retain, measured)
    assert data.label.split()[0] == name and BENCHMARKS.get(name, "lm").name == name
    goes = {item.group for set_name in FORGET_GROUPS for item in data.measured.get(set_name, ())}
    assert goes <= set(FORGET_GROUPS) and {item.group for item in data.retain or ()} <= {"rest"}


@pytest.mark.parametrize("name", ["muse", "tofu", "rwku"])
def test_the_parquet_files_of_the_hub_say_the_same(tmp_path, name):
    lines, parts = write_benchmark(name, tmp_path / "lines"), write_as_the_hub_does(name, tmp_path / "parts")
    assert read_benchmark(str(lines)) == read_benchmark(str(parts))


def test_texts_are_cut_into_halves_that_ask_for_each_other(monkeypatch):
    monkeypatch.setattr(base, "PIECE", 4)
    found = pieces(["a b c d e f g", "h"], "raw", "forget")  # 4 and 3 words; one word alone asks for nothing
    assert [(item.question, item.answer) for item in found] == [("a b", "c d"), ("e", "f g")]
    assert [item.id for item in found] == ["raw#0", "raw#1"]


def test_what_muse_has_as_plain_text_is_read_as_such(tmp_path):
    write_benchmark("muse", tmp_path)
    (tmp_path / "raw" / "forget.json").unlink()
    (tmp_path / "raw" / "forget.txt").write_text("Harry Potter studied\n\nat Hogwarts in Scotland\n")
    asked = [(item.question, item.answer) for item in read_benchmark(str(tmp_path)).forget]
    assert asked == [("Harry", "Potter studied"), ("at Hogwarts", "in Scotland")]


def test_rwku_trains_on_passages_where_there_are_some(tmp_path):
    write_benchmark("rwku", tmp_path)
    write_jsonl(tmp_path / "passage.json", [{"text": "Harry Potter studied at Hogwarts.", "subject": "Harry Potter"}])
    assert read_benchmark(str(tmp_path)).forget[0].answer == "studied at Hogwarts."


def test_the_hub_is_asked_for_the_same_names(monkeypatch):
    import datasets

    def load_dataset(name, config, split):
        assert (name, split) == ("locuslab/TOFU", "train")
        return datasets.Dataset.from_list([dict(row) for row in FOLDERS["tofu"][config]])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = read_benchmark("locuslab/TOFU")
    assert data.measured["forget"][1].wrong == tuple(WRONG) and len(data.retain) == 2


# ---- bad input ----------------------------------------------------------------------------------------------------


def spoil(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.json").write_text(text)


BAD_ROWS = {
    "": "there are no rows; write at least one",
    '{"question": "Q?", "answer": "A"}': "line 1: perturbed_answer is missing among question, answer; give at least",
    '{"question": "Q?", "answer": "A", "perturbed_answer": []}': "perturbed_answer is empty; give at least one wrong",
    '{"question": "Q?", "answer": "A", "perturbed_answer": 5}': "perturbed_answer = 5 is no list of texts",
    '{"question": "Q?", "answer": "A", "perturbed_answer": [1]}': r"perturbed_answer = \[1\] is no list of texts",
    '{"question": ["Q?"], "answer": "A", "perturbed_answer": ["B"]}': r"question = \['Q\?'\] is no text",
    '{"question": "Q?", "answer": "", "perturbed_answer": ["B"]}': "answer is empty; fill it in or take the row out",
    '{"question": "Q?", "perturbed_answer": ["B"]}': "'answer' is missing; a row needs question and answer",
    '{"question": "Q?", "answer": "A", "perturbed_answer": ["B"], "paraphrased_answer": []}': "is no text; write",
    "[1]": "item 1: 1 is no object",
    "{": "malformed JSON",
}


@pytest.mark.parametrize("text", BAD_ROWS)
def test_a_row_that_cannot_be_used_is_named_with_file_and_line(tmp_path, text):
    write_benchmark("tofu", tmp_path)
    spoil(tmp_path, "retain_perturbed", text)
    with pytest.raises(DataError, match=BAD_ROWS[text]) as refused:
        read_benchmark(str(tmp_path), "tofu")
    assert str(refused.value).startswith(f"{tmp_path}/retain_perturbed.json") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "split", "kind", "message"),
    [
        ("tofu", "forget05", SourceNotFound, "tofu needs forget05, retain95, forget05_perturbed; it has forget10, "),
        ("tofu", "forget7", ConfigError, "request.split = 'forget7': TOFU has forget01, forget05 and forget10"),
        ("tofu", "forget00", ConfigError, "request.split = 'forget00': TOFU has"),
        ("tofu", "../forget10", ConfigError, "request.split = '../forget10': TOFU has"),
        ("knowundo", None, SourceNotFound, "the folder is that of tofu: set request.benchmark=tofu"),
        ("knowundo", "privacy", ConfigError, "request.split = 'privacy': knowundo has one split; leave it out"),
        ("wpu", "forget10", ConfigError, "request.split = 'forget10': WPU has forget_2_1"),
        ("toffu", None, NameNotFound, "unknown benchmark 'toffu'; did you mean 'tofu'"),
    ],
)
def test_another_benchmark_or_split_than_the_folder_has(tmp_path, wanted, split, kind, message):
    write_benchmark("tofu", tmp_path)
    with pytest.raises(kind) as refused:
        read_benchmark(str(tmp_path), wanted, split)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere/tofu", "request.path = '/nowhere/tofu': there is no such folder"),
        ("~nobody-of-this-name/tofu", "there is no such folder"),
        ("a\0b", "there is no such folder"),
        ("x" * 5000, "there is no such folder"),
        ("owner/name", "request.path = 'owner/name' is no benchmark by its files; name it in request.benchmark"),
    ],
)
def test_a_path_that_leads_nowhere(path, message):
    with pytest.raises(GenunlearnError) as refused:
        read_benchmark(path)
    assert message in str(refused.value)


def test_a_folder_of_two_benchmarks_has_to_be_named(tmp_path):
    write_benchmark("knowundo", write_benchmark("tofu", tmp_path))
    with pytest.raises(ConfigError, match=r"is knowundo and tofu; name it in request\.benchmark"):
        read_benchmark(str(tmp_path))
    assert read_benchmark(str(tmp_path), "knowundo").label == "knowundo"


@pytest.mark.skipif(not REAL_TOFU.is_dir(), reason="GENUNLEARN_TOFU names no folder with TOFU's files")
def test_the_published_files_of_tofu():
    data = read_benchmark(str(REAL_TOFU))
    assert (len(data.forget), len(data.retain)) == (400, 3600)
    assert sizes(data) == {"forget": 400, "retain": 400, "real_authors": 100, "world_facts": 117}
    wrong = {name: {len(item.wrong) for item in items} for name, items in data.measured.items()}
    assert wrong == {"forget": {5}, "retain": {5}, "real_authors": {3}, "world_facts": {3}}
    lines = (REAL_TOFU / "forget10_perturbed.json").read_text(encoding="utf-8").splitlines()
    first, asked = json.loads(lines[0]), data.measured["forget"][0]
    assert (asked.question, asked.right) == (first["question"], first["paraphrased_answer"])
    assert [item.question for item in data.forget] == [item.question for item in data.measured["forget"]]
