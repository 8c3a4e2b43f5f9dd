"""The report of a run: what it says, that it opens alone, and that records cannot break it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genunlearn.records import FAILED, INTERRUPTED, Result, RunRecord, read_record
from genunlearn.reports.lm.report import write_report

Make = Callable[..., RunRecord]
Read = Callable[[Path], Any]


def test_every_number_stands_with_interval_and_n(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    text = read_page(write_report(record, tmp_path)).text
    for result in record.results:
        assert f"n={result.n}" in text
    for shown in (
        "Not told in 8 new phrasings (at most 0.32); not audited",
        "1.00 [0.68, 1.00] n=8",
        "0.98 [0.89, 0.996] n=48",
        "3.44 [3.23, 3.66] n=120",
        "Leak rate, sampled",
        "Extraction strength",
        "17.3 s",
        "913.4 MiB",
        "48,213",
        "196,608 of 1,913,472 (10%)",
        "3 of 16",
        "tells the truth 5, other answer 2",
        "not a proof of deletion",
    ):
        assert shown in text, shown


def test_answers_stand_side_by_side_with_a_verdict(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    text = read_page(write_report(record, tmp_path)).text
    assert "truth: Hogwarts Harry Potter studied at Hogwarts. · tells the truth" in text
    assert "Eton College. ✓ does not tell it" in text


def test_an_answer_that_still_tells_is_marked(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    leaking = record.examples[1] | {"unlearned": "At Hogwarts.", "tells": {"original": True, "unlearned": True}}
    record.examples = [leaking]
    assert "At Hogwarts. ✗ tells the truth" in read_page(write_report(record, tmp_path)).text


def test_answers_that_hang_on_the_fact_are_not_judged(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    record.examples = [record.examples[1] | {"group": "two_hop_through"}]
    assert "Eton College. · does not tell it" in read_page(write_report(record, tmp_path)).text


def test_each_group_shows_a_few_answers_and_folds_the_rest(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    record.examples = [row | {"question": f"{row['group']} {index}"} for row in record.examples for index in range(5)]
    text = read_page(write_report(record, tmp_path)).text
    assert text.index("10 more answers") > text.index("same_relation 2")
    assert text.index("same_relation 3") > text.index("10 more answers")


def test_the_page_stands_alone(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    path = write_report(record, tmp_path)
    page = read_page(path)
    html = path.read_text(encoding="utf-8")
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "img", "base"})
    assert not re.search(r"https?:|@import|@font-face", html)
    assert all(target.startswith("#") for target in page.attributes("href"))
    assert page.attributes("src") == []
    assert all("url(#" in value for value in page.attributes("style") if "url(" in value)
    policies = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html"]


def test_identifiers_are_unique_and_known(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    page = read_page(write_report(record, tmp_path))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids)) > 20
    used = {target.removeprefix("#") for target in page.attributes("href")}
    used |= {name for value in page.attributes("clip-path") for name in re.findall(r"url\(#([^)]*)\)", value)}
    assert used <= set(ids)


@pytest.mark.parametrize("place", ["subject", "question", "answer", "note", "error", "config", "method", "sample"])
def test_markup_in_a_record_stays_text(make_record: Make, tmp_path: Path, read_page: Read, place: str) -> None:
    evil = "<script>alert('x')</script><b title=\"q\">&amp;"
    record = make_record()
    if place in ("subject", "question"):
        record.request["facts"][0][place] = evil
    elif place == "answer":
        record.examples = [{**record.examples[1], "unlearned": evil}]
    elif place == "note":
        record.notes = [evil]
    elif place == "error":
        record.status, record.error = FAILED, evil
    elif place == "config":
        record.config["extra"] = {"x": evil}
    elif place == "method":
        record.config["method"]["name"] = evil
    else:
        (tmp_path / "antisamples.jsonl").write_text(json.dumps({"question": evil, "text": evil}) + "\n")
    page = read_page(write_report(record, tmp_path))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "alert('x')" in page.text
    assert "q" not in page.attributes("title")


def test_metric_group_and_target_names_are_escaped_in_plots_and_tables(tmp_path: Path, read_page: Read) -> None:
    evil = "</svg><script>x</script>"
    results = [
        Result(name="recall", target=target, group=evil, value=0.5, low=0.4, high=0.6, n=9)
        for target in ("original", "unlearned", evil)
    ]
    page = read_page(write_report(RunRecord(status="completed", results=results), tmp_path))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.html.count("</svg>") == sum(tag == "svg" for tag, _ in page.elements)


def test_plots_have_text_and_a_description(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    page = read_page(write_report(record, tmp_path))
    plots = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert [plot["role"] for plot in plots] == ["img"] * 4  # two plots, each for wide pages and for phones
    assert "same object: before 1.00 [0.93, 1.00] (n=48), after 0.98 [0.89, 0.996] (n=48)" in plots[0]["aria-label"]
    assert page.text.count("Should go (left is better)") == 2
    assert "round 2: 0.19" in plots[2]["aria-label"]


def test_plots_take_the_colours_of_the_page(record: RunRecord, tmp_path: Path) -> None:
    html = write_report(record, tmp_path).read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", drawn)) == set()
    defined = set(re.findall(r"(--[\w-]+):", html))
    assert set(re.findall(r"var\((--[\w-]+)\)", html)) <= defined


def test_the_same_record_gives_the_same_bytes(make_record: Make, tmp_path: Path) -> None:
    first, second = (write_report(make_record(), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_record_that_was_read_back_gives_the_same_report(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path / "run")
    again = write_report(read_record(tmp_path / "run"), tmp_path / "b").read_bytes()
    assert write_report(record, tmp_path / "a").read_bytes() == again


def test_a_missing_oracle_says_why(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    record.results = [r for r in record.results if r.target != "oracle"]
    record.results.append(Result(name="recall", target="oracle", value=None, skipped="evaluate.oracle = never"))
    page = read_page(write_report(record, tmp_path))
    assert page.text.count("Not measured: evaluate.oracle = never") == 2  # below both tables, once each
    assert "the record holds no such result" not in page.text
    assert "No oracle was measured (evaluate.oracle = never)" in page.text
    legend = next(attributes for tag, attributes in page.elements if tag == "svg")["aria-label"]
    assert "oracle" not in legend


def test_an_interrupted_run_says_so(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    before = [result for result in make_record().results if result.target == "original"]
    record = make_record(
        status=INTERRUPTED, outcome=None, finished=None, results=before, rounds=[], examples=[], notes=[]
    )
    text = read_page(write_report(record, tmp_path)).text
    assert "The run did not finish" in text
    assert "--resume" in text
    assert "Nothing was measured after unlearning" in text
    assert "✓" not in text


def test_an_empty_record_still_gives_a_page(tmp_path: Path, read_page: Read) -> None:
    text = read_page(write_report(RunRecord(), tmp_path)).text
    assert "The record does not say what was asked" in text
    assert "Nothing was measured." in text
    assert "The record holds no cost" in text


def test_a_failed_run_shows_its_error(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    record = make_record(status=FAILED, error="loss term npo is nan at step 12", results=[], outcome=None)
    text = read_page(write_report(record, tmp_path)).text
    assert "The run failed" in text and "loss term npo is nan at step 12" in text


def test_many_facts_are_all_there(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    facts = [{"subject": f"Person {index}", "object": "Paris"} for index in range(30)]
    text = read_page(write_report(make_record(request={"facts": facts}), tmp_path)).text
    assert "30 facts" in text and "18 more facts" in text and "Person 29" in text


def test_facts_given_as_text_in_the_configuration(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    record = make_record(request={})
    record.config["request"] = {"facts": ["Marie Curie | was born in | Warsaw"]}
    assert "Marie Curie · was born in · Warsaw" in read_page(write_report(record, tmp_path)).text


def test_a_forget_set_without_facts_names_its_source(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    record = make_record(request={"model": "lab:lm", "facts": [], "questions": 400})
    record.config["request"] = {"forget": "hub:locuslab/TOFU/forget10"}
    text = read_page(write_report(record, tmp_path)).text
    assert "hub:locuslab/TOFU/forget10" in text and "Questions 400" in text and "[]" not in text


def test_antisamples_are_shown_from_every_round(
    record: RunRecord, antisamples: list[dict[str, Any]], tmp_path: Path, read_page: Read
) -> None:
    refusal = antisamples[0] | {"wrong_answer": None, "text": "I do not know that."}
    (tmp_path / "antisamples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [refusal, *antisamples[1:]]))
    text = read_page(write_report(record, tmp_path)).text
    assert "6 of 12 anti-samples" in text
    assert "taught to refuse · round 1" in text
    assert "taught: Eton College · round 3" in text


def test_a_damaged_antisample_file_does_not_cost_the_report(record: RunRecord, tmp_path: Path, read_page: Read) -> None:
    (tmp_path / "antisamples.jsonl").write_text('{"question": "Where?"}\n{"quest\n')
    text = read_page(write_report(record, tmp_path)).text
    assert "line 2 of antisamples.jsonl is not a JSON object" in text
    assert "Not told in 8 new phrasings (at most 0.32); not audited" in text


def test_results_of_another_family_are_shown_by_their_own_direction(tmp_path: Path, read_page: Read) -> None:
    results = [
        Result(name=name, target=target, value=value, low=value, high=value, n=64, group="dog", higher_is_better=True)
        for name, values in (("ua", (0.02, 0.97)), ("ira", (0.99, 0.4)))
        for target, value in zip(("original", "unlearned"), values, strict=True)
    ]
    record = RunRecord(status="completed", request={"concepts": ["dog"]}, results=results)
    text = read_page(write_report(record, tmp_path)).text
    assert "dog" in text and "✓ kept" in text and "Ira" in text


def test_a_report_replaces_an_older_one(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    write_report(make_record(), tmp_path)
    record = dataclasses.replace(make_record(), outcome="not_forgotten")
    assert "Still told" in read_page(write_report(record, tmp_path)).text
