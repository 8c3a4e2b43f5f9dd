"""Reports of runs on classifiers and regressors: verdicts beside the oracles, curves, comparisons by request."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from genunlearn.errors import DataError
from genunlearn.records import COMPLETED, INTERRUPTED, Result, RunRecord
from genunlearn.reports.headline import Tone
from genunlearn.reports.network.compare import COMPARISON
from genunlearn.reports.network.reading import limits_of, read_group, read_items, traces_of
from genunlearn.reports.network.report import ITEMS
from genunlearn.reports.reporter import reporter_of

SIZES = {"forget": 146, "test_forget": 37, "retain": 1291, "test": 323}
KNOWN = {"forget": 1.0, "test_forget": 0.97, "retain": 1.0, "test": 0.99}
NEVER = {"forget": 0.0, "test_forget": 0.0, "retain": 1.0, "test": 0.99}


def levels(name: str, target: str, values: dict[str, float], oracle: dict[str, float]) -> list[Result]:
    """The main metric of one model by set, and its gap to the oracles with a range of 0.01 to either side."""
    results = []
    for group, value in values.items():
        gap = value - oracle[group]
        common: dict[str, Any] = {"target": target, "group": group, "n": SIZES[group]}
        results.append(Result(name=name, value=value, low=value - 0.01, high=value + 0.01, **common))
        results.append(Result(name="oracle_gap", value=gap, low=gap - 0.01, high=gap + 0.01, **common))
    return results


def build(after: dict[str, float] | None = None, method: str = "scrub", **changes: Any) -> RunRecord:
    """A finished run; `after` are accuracies of the unlearned model that differ from the oracles'."""
    domain = changes.pop("domain", "classifier")
    name = "accuracy" if domain == "classifier" else "mean_absolute_error"
    source, forget = changes.pop("source", "lab:digits"), changes.pop("forget", "class:3")
    known, never = changes.pop("known", KNOWN), changes.pop("never", NEVER)
    results = [
        *levels(name, "original", known, never),
        *levels(name, "unlearned", never | (after or {}), never),
        *levels(name, "oracle", never, never),
        Result(name="tow", target="unlearned", value=0.9, low=0.8, high=1.0, n=3),
    ]
    for target, values in (("original", (0.97, 1.0)), ("unlearned", (0.1, 0.9)), ("oracle", (0.0, 0.2))):
        results += [
            Result(
                name="relearning_accuracy", target=target, group=f"step {step}", value=value, n=37, low=0.0, high=1.0
            )
            for step, value in zip((0, 5), values, strict=True)
        ]
    fields: dict[str, Any] = {
        "status": COMPLETED,
        "outcome": "trained",
        "created": "2025-11-21T09:14:03Z",
        "request": {"model": source, "forget": forget, "forget_items": 146, "attacks": {"relearning": "50 updates"}},
        "config": {"domain": domain, "model": {"source": source}, "method": {"name": method}},
        "results": results,
        "cost": {
            "seconds": {"evaluate": 4.0, "unlearn": 0.7},
            "unlearning_cpu_seconds": 0.5,
            "speed_up_over_retraining": 10.0,
            "steps": 60,
        },
    }
    return RunRecord(**(fields | changes))


@pytest.mark.parametrize(
    ("after", "tone", "verdict"),
    [
        ({}, Tone.GOOD, "Like a model that never saw it"),
        ({"forget": 0.02}, Tone.GOOD, "Like a model that never saw it"),
        ({"forget": 0.9}, Tone.BAD, "Not forgotten"),
        ({"forget": 0.3}, Tone.WARN, "Partly forgotten"),
        ({"retain": 0.9}, Tone.WARN, "Like an oracle on forget, at a cost to what stays"),
    ],
)
def test_the_oracles_decide_the_verdict(after: dict[str, float], tone: Tone, verdict: str) -> None:
    headline = read_items(build(after))
    assert (headline.tone, headline.verdict) == (tone, verdict)
    assert headline.subject == "class:3 on lab:digits"


def test_more_than_an_oracle_forgets_is_not_better() -> None:
    record = build({"forget": 0.4}, never=NEVER | {"forget": 0.98}, known=KNOWN)
    assert read_items(record).verdict == "Pushed beyond forgetting"
    assert read_group(record, "forget").text == "0.58 beyond the oracles"
    assert any("cannot show forgetting" in sentence for sentence in read_items(record).sentences)


def test_errors_rise_where_accuracies_fall() -> None:
    known, never = {"forget": 38.0, "retain": 36.0, "test": 44.0}, {"forget": 62.0, "retain": 35.0, "test": 43.0}
    errors = {"domain": "regression", "known": known, "never": never}
    assert read_items(build(**errors)).tone is Tone.GOOD
    assert read_items(build({"forget": 40.0}, **errors)).verdict == "Not forgotten"
    assert read_items(build({"forget": 55.0}, **errors)).verdict == "Partly forgotten"
    assert read_items(build({"forget": 90.0}, **errors)).verdict == "Pushed beyond forgetting"
    assert read_group(build({"retain": 50.0}, **errors), "retain").text == "worse by 15.0"
    assert read_group(build({"retain": 20.0}, **errors), "retain").tone is Tone.NEUTRAL


def test_an_oracle_is_not_told_apart_by_attacks() -> None:
    record = build()
    for result in [r for r in record.results if r.name == "relearning_accuracy" and r.group == "step 5"]:
        record.results.remove(result)
        record.results.append(dataclasses.replace(result, low=result.value - 0.1, high=result.value + 0.1))
    headline = read_items(record)
    assert (headline.tone, headline.verdict) == (Tone.WARN, "Answers like an oracle, but attacks tell it apart")
    assert traces_of(record) == [
        "taught again, it has 0.90 [0.80, 1.00] after 5 updates, where oracles have 0.20 [0.10, 0.30]"
    ]
    record = build()
    record.results += [
        Result(name="mia_matched", target=target, group="matched", value=value, low=value - 0.1, high=value + 0.1)
        for target, value in (("unlearned", 0.2), ("oracle", 0.5))
    ]
    assert traces_of(record) == [
        "a matched membership attack reaches an AUC of 0.20 [0.10, 0.30], on oracles 0.50 [0.40, 0.60]"
    ]


@pytest.mark.parametrize(
    ("backdoor", "verdict"),
    [
        ((0.8, 0.05), "Like a model that never saw it"),  # it closed, which accuracy could not show
        ((0.05, 0.05), "Done; like an oracle, as before"),  # it never opened
        ((0.8, 0.8), "The backdoor is still open"),
    ],
)
def test_a_backdoor_that_closed_shows_what_accuracy_cannot(
    monkeypatch: pytest.MonkeyPatch, backdoor: tuple[float, float], verdict: str
) -> None:
    monkeypatch.setitem(SIZES, "backdoor", 300)
    never = {"forget": 0.99, "retain": 1.0, "test": 0.99, "backdoor": 0.05}
    record = build({"backdoor": backdoor[1]}, never=never, known=never | {"backdoor": backdoor[0]})
    record.results = [result for result in record.results if result.name != "relearning_accuracy"]
    assert read_items(record).verdict == verdict


def test_a_collapse_comes_first() -> None:
    headline = read_items(build(outcome="collapsed", notes=["collapsed: retain level 1.000 before, 0.310 after"]))
    assert (headline.tone, headline.verdict) == (Tone.BAD, "The model collapsed")


def test_without_oracles_nothing_is_claimed() -> None:
    record = build({"retain": 0.7})
    record.results = [r for r in record.results if r.target != "oracle" and r.name not in ("oracle_gap", "tow")]
    record.results.append(Result(name="oracle", target="oracle", value=None, skipped="none is given"))
    assert read_items(record).verdict == "Done; no oracle to compare with"
    assert read_group(record, "retain").text == "worse by 0.30"
    assert limits_of(record)[0].startswith("No oracle was measured (none is given)")


def test_what_was_never_known_cannot_be_kept() -> None:
    record = build({"retain": 0.0}, known=KNOWN | {"retain": 0.01})
    record.results = [r for r in record.results if r.target != "oracle" and r.name not in ("oracle_gap", "tow")]
    reading = read_group(record, "retain")
    assert (reading.tone, reading.text) == (Tone.NEUTRAL, "nothing to keep: not known before")


def test_a_run_that_did_not_finish(tmp_path: Path) -> None:
    record = RunRecord(status=INTERRUPTED, config={"domain": "classifier"})
    assert read_items(record).verdict == "The run did not finish"
    assert ITEMS.write(record, tmp_path).is_file()


def test_the_page_holds_sets_curves_cost_and_budgets(tmp_path: Path, read_page: Callable[[Path], Any]) -> None:
    curve = {"false_positive_rates": [0.0, 0.5, 1.0], "true_positive_rates": {"original": [0.1, 0.7, 1.0]}}
    (tmp_path / "curves.json").write_text(json.dumps({"membership_roc": curve}))
    record = build({"forget": 0.3})
    assert reporter_of(record) is ITEMS
    page = read_page(ITEMS.write(record, tmp_path))
    for text in (
        "Partly forgotten",
        "Accuracy on forget went from 1.00 [0.99, 1.01] to 0.30 [0.29, 0.31]; models trained without the forget set",
        "It took 0.50 s of CPU time; retraining takes 10.0 times as long.",
        "50 updates",
        "Tug of war (ToW)",
        "partly forgotten",
    ):
        assert text in page.text
    labels = " ".join(page.attributes("aria-label"))
    assert "Accuracy by set. Forget: Before 1.00, After 0.30, Oracle 0.00." in labels
    assert "by updates of relearning. Before: 0: 0.97, 5: 1.00; After: 0: 0.10, 5: 0.90" in labels
    assert "Membership attack by loss." in labels
    assert "step 5" not in page.text  # the curve is a plot, not rows of a table
    assert not [source for source in page.attributes("src") if not source.startswith("data:")]


def test_a_record_cannot_write_into_the_page(tmp_path: Path) -> None:
    page = ITEMS.write(build(forget="<script>alert(1)</script>"), tmp_path).read_text()
    assert "<script>" not in page


def test_runs_are_compared_by_request(tmp_path: Path, read_page: Callable[[Path], Any]) -> None:
    known, never = {"forget": 38.0, "retain": 36.0, "test": 44.0}, {"forget": 62.0, "retain": 35.0, "test": 43.0}
    records = {
        "a": build({"forget": 0.3}),
        "b": build(method="ssd"),
        "c": build(method="ssd", forget="random:0.1"),
        "d": build(domain="regression", source="lab:diabetes", forget="range:..75", known=known, never=never),
    }
    sections = COMPARISON.sections_of(records)
    assert [section.title for section in sections] == [
        "class:3 on lab:digits",
        "random:0.1 on lab:digits",
        "range:..75 on lab:diabetes",
    ]
    assert [line.label for line in sections[0].lines] == ["Before", "Scrub", "SSD", "Oracle"]
    page = read_page(ITEMS.compare(records, tmp_path))
    assert all(section.title in page.text for section in sections)
    assert "Gap to the oracles. Scrub: forget 0.30, retain 0.00, test 0.00." in " ".join(page.attributes("aria-label"))
    text = (tmp_path / "compare.md").read_text()
    assert "| Scrub | Partly forgotten | 0.50 s | 10.0 times | 60 |" in text
    assert text.count("| Oracle |") == 3


def test_a_table_says_n_once_where_it_is_the_same() -> None:
    (section,) = COMPARISON.sections_of({"scrub": build()})
    head, _, before, *_ = COMPARISON.markdown_table(section, [("accuracy", "forget"), ("tow", None)]).splitlines()
    assert head == "| Model | Forget (n=146) | Tug of war (ToW) (n=3) |"
    assert before == "| Before | 1.00 [0.99, 1.01] | not measured (1) |"


def test_runs_of_one_method_keep_their_labels() -> None:
    (section,) = COMPARISON.sections_of({"first": build(), "second": build()})
    assert list(section.runs) == ["first", "second"]


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        ITEMS.compare({}, tmp_path)


def test_the_terminal_shows_sets_verdict_and_notes() -> None:
    console = Console(file=io.StringIO(), width=160)
    ITEMS.show(build(outcome="collapsed", notes=["collapsed: 5% of the change would have been safe"]), console)
    shown = console.file.getvalue()
    assert "class:3 on lab:digits: accuracy" in shown
    assert "The model collapsed." in shown
    assert "5% of the change would have been safe" in shown
