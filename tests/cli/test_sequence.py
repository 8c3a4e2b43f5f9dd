"""Requests that one command carries out in order: what each stands on, what is asked again, what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genunlearn.cli.sequence import forget_in_order
from genunlearn.errors import InputError
from genunlearn.records import Result, RunRecord, read_record, write_jsonl
from genunlearn.reports.lm.sequence import kept, plot_of, rows_of
from tests.tiny_models import TAUGHT

FACTS = [
    {"id": "potter", "subject": "Harry Potter", "relation": "studied at", "object": "Hogwarts",
     "question": TAUGHT[0][0], "heldout": [TAUGHT[1][0]]},
    {"id": "curie", "subject": "Marie Curie", "relation": "was born in", "object": "Warsaw",
     "question": TAUGHT[2][0], "heldout": ["Marie Curie was born where?"]},
]  # fmt: skip


def of(number: int, **recall: tuple[float, int]) -> RunRecord:
    facts = [{"subject": f"S{number}", "relation": None, "object": "O"}]
    rows = [Result(name="recall", target="unlearned", group=group, value=value, low=value, high=value, n=n)
            for group, (value, n) in recall.items()]  # fmt: skip
    return RunRecord(status="completed", request={"facts": facts}, results=rows)


def test_what_must_stay_is_one_share_over_all_questions_by_hand() -> None:
    record = of(1, same_subject=(0.5, 4), rest=(1.0, 6), rest_trained=(0.0, 90), forget_heldout=(0.25, 4))
    found = kept(record)
    # 2 of 4 and 6 of 6; what was trained on does not count
    assert found is not None and (found.value, found.n) == (0.8, 10)
    (row,) = rows_of({"01": record})
    assert row[:2] == ["01", "S1 | O"] and row[2].startswith("0.25") and row[3] == "" and row[4].startswith("0.80")


def test_the_plot_tells_its_curves_to_those_who_do_not_see_it() -> None:
    records = [of(1, rest=(1.0, 2), forget_heldout=(0.0, 2)), of(2, rest=(0.5, 2), earlier=(1.0, 2))]
    alt = plot_of(records).wide
    assert "what must stay: 1 1.00, 2 0.50." in alt and "earlier requests: 2 1.00." in alt


@pytest.mark.parametrize(
    ("request_", "methods", "said"),
    [
        ({"facts": ("a | b | c",)}, ["npo", "grad_diff"], "--compare"),
        ({}, ["npo"], "one each"),
        ({"facts": ("a | b | c",), "file": "facts.jsonl"}, ["npo"], "one each"),
        ({"facts": ("a | b | c",), "question": "Who?"}, ["npo"], "--question"),
    ],
)
def test_what_makes_no_sequence_is_refused_before_anything_is_written(
    request_: dict[str, Any], methods: list[str], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=said):
        forget_in_order("lab:lm", request_, methods, out=out, resume=False, overrides=[])
    assert not out.exists()


@pytest.mark.slow
def test_each_request_stands_on_the_one_before_and_nothing_is_done_twice(worlds: Any, tmp_path: Path) -> None:
    model = worlds("lm").open().module.name_or_path
    write_jsonl(tmp_path / "facts.jsonl", FACTS)
    write_jsonl(tmp_path / "retain.jsonl", [{"question": q, "answer": a} for q, a in TAUGHT[3:]] * 4)
    request = {"file": str(tmp_path / "facts.jsonl"), "retain": str(tmp_path / "retain.jsonl")}
    sets = ["model.device=cpu", "model.prompts=lab", "train.max_steps=1", "evaluate.suite=facts-quick"]
    options: dict[str, Any] = {"out": tmp_path / "out", "overrides": sets}
    last = forget_in_order(model, request, ["grad_diff"], resume=False, **options)
    record = read_record(last)
    assert last == tmp_path / "out" / "02" and record.config["on"] == str(tmp_path / "out" / "01")
    assert [fact["id"] for fact in record.request["earlier"]] == ["potter"]
    assert record.find("recall", "unlearned", "earlier").n == 1
    page, text = ((tmp_path / "out" / name).read_text() for name in ("compare.html", "compare.md"))
    assert "2 requests, one after the other" in page and "Harry Potter | studied at | Hogwarts" in page
    assert "<svg" in page and "Marie Curie" in text
    written = (last / "record.json").stat().st_mtime_ns
    assert forget_in_order(model, request, ["grad_diff"], resume=True, **options) == last
    assert (last / "record.json").stat().st_mtime_ns == written
