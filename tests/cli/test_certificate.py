"""Certificates and requests that follow each other on the command line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from genunlearn.data.lm.facts import EARLIER
from tests.runs.lm.test_earlier import FIRST, SECOND


@pytest.mark.slow
def test_the_second_request_follows_the_first(call: Any, write_config: Any, workplace: Path) -> None:
    rows = [{key: value for key, value in asdict(fact).items() if value} for fact in (FIRST, SECOND)]
    for number, row in enumerate(rows):
        (workplace / f"fact{number}.jsonl").write_text(json.dumps(row) + "\n")
    (workplace / "kept.jsonl").write_text(json.dumps({"question": "Who wrote Faust?", "answer": "Goethe."}) + "\n")
    for number, more in enumerate(([], ["--set", "on=run0"])):
        request = {"file": f"fact{number}.jsonl", "retain": "kept.jsonl"}
        done = call("run", write_config(request=request), "--out", f"run{number}", *more)
        assert done.code == 0, done.err
    record = json.loads((workplace / "run1" / "record.json").read_text())
    assert [fact["subject"] for fact in record["request"]["earlier"]] == ["Harry Potter"]
    assert [row["n"] for row in record["results"] if row["group"] == EARLIER and row["name"] == "recall"] == [1, 1]
    assert "earlier requests" in (workplace / "run1" / "report.html").read_text().lower()
    # What is in the folder is what was measured, also without the first run.
    assert call("certify", "run1").code == 0
    base = ("--model", record["config"]["model"]["source"], "--rerun")
    places = ("on=run0", "request.file=fact1.jsonl", "request.retain=kept.jsonl")
    checked = call("verify", "run1/certificate", *base, *(word for place in places for word in ("--set", place)))
    assert checked.code == 0, checked.out
    refused = call("verify", "run1/certificate", *base)
    assert (refused.code, "places in records are not opened" in refused.err) == (2, True)
