"""The comparison of several runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genunlearn.errors import DataError
from genunlearn.records import INTERRUPTED, Result, RunRecord
from genunlearn.reports.lm.compare import cautions, with_neighbours, write_comparison

Make = Callable[..., RunRecord]
Read = Callable[[Path], Any]
DAMAGED = {"forget": 0.0, "forget_heldout": 0.5, "same_subject": 0.5, "same_object": 0.5}


@pytest.fixture
def runs(make_record: Make) -> dict[str, RunRecord]:
    return {"UnSTAR": make_record(), "NPO <b>": make_record("npo", DAMAGED)}


def test_methods_stand_between_original_and_oracle(runs: dict[str, RunRecord], tmp_path: Path, read_page: Read) -> None:
    path = write_comparison(runs, tmp_path)
    assert path == tmp_path / "compare.html"
    page = read_page(path)
    rows = re.findall(r'<th scope="row">(.*?)</th>', page.html)
    assert rows[:4] == ["original", "UnSTAR", "NPO &lt;b&gt;", "oracle"]
    for shown in ("✗ 0.50 [0.36, 0.64] n=48", "~ 0.00 [0.00, 0.32] n=8", "9.8 s", "913.4 MiB", "3.44"):
        assert shown in page.text


def test_the_page_stands_alone(runs: dict[str, RunRecord], tmp_path: Path, read_page: Read) -> None:
    page = read_page(write_comparison(runs, tmp_path))
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "img"})
    assert not re.search(r"https?:|@import", page.html)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    (alt, _) = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert "UnSTAR: 0.97 [0.93, 0.99] (n=176) against 0.00 [0.00, 0.32] (n=8)." in alt


def test_markdown_holds_the_same_numbers(runs: dict[str, RunRecord], tmp_path: Path) -> None:
    write_comparison(runs, tmp_path)
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert "| NPO &lt;b> | 0.00 [0.00, 0.32] (n=8) | 0.50 [0.22, 0.78] (n=8) |" in text
    assert "| UnSTAR | Not told in 8 new phrasings (at most 0.32); not audited | 9.8 s | 17.3 s |" in text
    assert "did not forget to the same degree" in text


def test_neighbours_pool_questions_not_groups() -> None:
    """24 of 24 and 24 of 48 are 48 of 72: 0.667, where the mean of the groups would be 0.75; the rest stays out."""
    results = [
        Result(name="recall", target="unlearned", group="same_subject", value=1.0, n=24),
        Result(name="recall", target="unlearned", group="same_object", value=0.5, n=48),
        Result(name="recall", target="unlearned", group="rest", value=0.0, n=500),
        Result(name="recall", target="unlearned", group="two_hop", value=None, skipped="no such question"),
    ]
    pooled = with_neighbours(RunRecord(results=results)).find("recall", "unlearned", "neighbours")
    assert pooled is not None and pooled.value == pytest.approx(48 / 72) and pooled.n == 72
    # Clopper-Pearson for 48 of 72: quantiles of Beta(48, 25) and Beta(49, 24).
    assert (pooled.low, pooled.high) == pytest.approx((0.5457, 0.7734), abs=1e-3)
    assert with_neighbours(RunRecord()).results == []


def test_runs_that_cannot_be_compared_carry_a_warning(make_record: Make) -> None:
    same = {"a": make_record(), "b": make_record("grad_diff")}
    assert cautions(same, "recall") == []
    other = make_record(status=INTERRUPTED, request={"facts": [{"subject": "Marie Curie"}]}, hashes={"base": "x"})
    other.config["model"]["source"] = "lab:other"
    found = " ".join(cautions({"a": make_record(), "b": other}, "recall"))
    for part in (
        "The runs differ in the model: lab:lm (a); lab:other (b).",
        "The runs differ in the request: Harry Potter · studied at · Hogwarts (a); Marie Curie (b).",
        "Not finished: b.",
    ):
        assert part in found


def test_many_runs_are_counted_in_a_warning(make_record: Make) -> None:
    other = make_record()
    other.config["model"]["source"] = "lab:other"
    runs = {f"runs/table/{number}": make_record() for number in range(4)} | {"b": other}
    assert cautions(runs, "recall") == ["The runs differ in the model: lab:lm (4 runs); lab:other (b)."]
    del runs["runs/table/3"]
    assert "lab:lm (runs/table/0, runs/table/1, runs/table/2)" in cautions(runs, "recall")[0]


def test_the_same_name_for_other_weights_is_not_the_same_model(make_record: Make) -> None:
    runs = {"a": make_record(), "b": make_record(hashes={"base": "f00d" * 16}), "c": make_record(hashes={})}
    assert cautions(runs, "recall") == [
        "The runs differ in the model, by its hash (SHA-256): ba5eba5eba5e (a); f00df00df00d (b)."
    ]


def test_runs_of_different_requests_are_never_pooled_as_one(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    """Both originals know everything, so that their numbers are the same; the facts are not."""
    other = make_record("npo", request={"facts": [{"subject": "Marie Curie"}]})
    page = read_page(write_comparison({"a": make_record(), "b": other}, tmp_path))
    rows = re.findall(r'<th scope="row">(.*?)</th>', page.html)
    assert rows[:6] == ["original of a", "original of b", "a", "b", "oracle of a", "oracle of b"]
    assert "Comparison: 2 requests" in page.text and "The runs differ in the request" in page.text


def test_a_run_without_results_is_a_row_of_reasons(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    runs = {"done": make_record(), "dead": make_record("npo", status=INTERRUPTED, results=[], cost={})}
    text = read_page(write_comparison(runs, tmp_path)).text
    assert "Not measured: the record holds no such result" in text
    assert "The run did not finish" in text


def test_one_run_is_enough(make_record: Make, tmp_path: Path, read_page: Read) -> None:
    assert "Comparison of 1 run " in read_page(write_comparison({"only": make_record()}, tmp_path)).text


def test_nothing_to_compare_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        write_comparison({}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
