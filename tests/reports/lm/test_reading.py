"""Headlines and readings follow the numbers, not what the method says of itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from genunlearn.records import FAILED, INTERRUPTED, Result, RunRecord
from genunlearn.reports.headline import Tone
from genunlearn.reports.lm.limits import NO_ATTACK, NOTHING_MEASURED, PATCH_IS_AN_ADDITION, limits
from genunlearn.reports.lm.reading import headline, read_change

Make = Callable[..., RunRecord]


def recall(group: str, value: float | None, low: float | None = None, high: float | None = None) -> Result:
    return Result(name="recall", target="unlearned", group=group, value=value, low=low, high=high, n=40)


@pytest.mark.parametrize(
    ("before", "after", "tone", "text"),
    [
        (recall("forget", 1.0, 0.9, 1.0), recall("forget", 0.05, 0.0, 0.2), Tone.GOOD, "gone"),
        (recall("forget", 1.0, 0.9, 1.0), recall("forget", 0.5, 0.3, 0.7), Tone.WARN, "less, not gone"),
        (recall("forget", 1.0, 0.6, 1.0), recall("forget", 0.9, 0.5, 1.0), Tone.BAD, "still known"),
        (None, recall("forget", 0.9, 0.5, 1.0), Tone.BAD, "no value before"),
        (recall("rest", 1.0, 0.9, 1.0), recall("rest", 0.98, 0.9, 1.0), Tone.GOOD, "kept"),
        (recall("rest", 0.7, 0.6, 0.8), recall("rest", 0.9, 0.8, 1.0), Tone.GOOD, "kept"),
        (recall("rest", 1.0, 0.9, 1.0), recall("rest", 0.95, 0.8, 1.0), Tone.WARN, "down 0.05, intervals overlap"),
        (recall("rest", 1.0, 0.9, 1.0), recall("rest", 0.5, 0.3, 0.7), Tone.BAD, "lost 0.50"),
        (recall("rest", 1.0), recall("rest", 0.9), Tone.BAD, "lost 0.10"),
        (recall("two_hop_through", 1.0), recall("two_hop_through", 0.2), Tone.NEUTRAL, "compare with the oracle"),
        (recall("rest", 1.0), recall("rest", None), Tone.NEUTRAL, "not measured"),
    ],
)
def test_a_group_is_read_by_its_aim(before: Result | None, after: Result, tone: Tone, text: str) -> None:
    reading = read_change(before, after)
    assert (reading.tone, reading.text) == (tone, text)


def test_the_scope_group_decides_what_recall_should_do() -> None:
    """A metric that calls itself higher-is-better still has to fall where something is forgotten."""
    before = Result(name="recall", target="original", group="forget", value=1.0, higher_is_better=True)
    after = Result(name="recall", target="unlearned", group="forget", value=1.0, higher_is_better=True)
    assert read_change(before, after).text == "still known"


def test_forgotten_in_every_phrasing(make_record: Make) -> None:
    found = headline(make_record())
    assert (found.tone, found.verdict) == (Tone.GOOD, "Forgotten")
    assert found.subject == "Harry Potter · studied at · Hogwarts"
    assert "from 1.00 [0.68, 1.00] (n=8) to 0.00 [0.00, 0.32] (n=8)" in found.sentences[0]
    assert "Of 5 groups that should stay, 4 did" in found.sentences[1]
    assert "same object from 1.00 [0.93, 1.00] (n=48) to 0.98 [0.89, 0.996] (n=48)" in found.sentences[1]


def test_the_numbers_overrule_what_the_method_says(make_record: Make) -> None:
    partly = headline(make_record(after={"forget": 0.0, "forget_heldout": 0.5}))
    assert (partly.tone, partly.verdict) == (Tone.WARN, "Forgotten in some phrasings only")
    not_at_all = headline(make_record(after={}))
    assert (not_at_all.tone, not_at_all.verdict) == (Tone.BAD, "Not forgotten")


@pytest.mark.parametrize("claim", [None, "trained", "edited"])
def test_a_method_that_claims_nothing_is_judged_by_its_numbers(make_record: Make, claim: str | None) -> None:
    assert headline(make_record(outcome=claim)).verdict == "Forgotten"
    assert headline(make_record(outcome=claim, after={})).verdict == "Not forgotten"


def test_a_stated_failure_is_not_talked_up(make_record: Make) -> None:
    assert headline(make_record(outcome="not_forgotten")).verdict == "Not forgotten"
    assert headline(make_record(outcome="utility_floor")).tone is Tone.WARN


def test_forgotten_without_a_measurement_is_said_to_be_so(make_record: Make) -> None:
    assert headline(make_record(results=[])).verdict == "Forgotten, says the method; not measured"


def test_all_neighbours_kept_names_the_lowest(make_record: Make) -> None:
    found = headline(make_record(after={"forget": 0.0, "forget_heldout": 0.0}))
    assert found.sentences[1].startswith("All 5 groups that should stay did; the lowest is two steps, nearby at 0.90")


def test_runs_that_did_not_end(make_record: Make) -> None:
    failed = headline(make_record(status=FAILED, error="loss term npo is nan at step 12"))
    assert (failed.tone, failed.verdict, failed.sentences) == (
        Tone.BAD,
        "The run failed",
        ("loss term npo is nan at step 12",),
    )
    interrupted = headline(make_record(status=INTERRUPTED, results=[]))
    assert interrupted.verdict == "The run did not finish"
    assert "--resume" in " ".join(interrupted.sentences)


def test_limits_quote_the_record(make_record: Make) -> None:
    text = " ".join(limits(make_record()))
    assert "measured on 8 questions in held-out phrasings" in text
    assert "reaches up to 0.32" in text
    assert "measured on 376 questions in 5 groups" in text  # 24 + 48 + 64 + 40 + 200
    assert PATCH_IS_AN_ADDITION in text
    assert NO_ATTACK in text
    assert "oracle" not in text


def test_limits_name_what_is_missing(make_record: Make) -> None:
    record = make_record(hashes={"base": "ba5e"})
    record.results = [r for r in record.results if r.target != "oracle" and r.name != "leak_rate"]
    record.results.append(Result(name="recall", target="oracle", value=None, skipped="evaluate.oracle = never"))
    text = " ".join(limits(record))
    assert "No oracle was measured (evaluate.oracle = never)" in text
    assert "Sampled answers were not measured" in text
    assert PATCH_IS_AN_ADDITION not in text


def test_an_attack_that_was_run_is_not_called_missing(make_record: Make) -> None:
    record = make_record()
    record.results.append(Result(name="relearn_steps", target="unlearned", value=12.0, n=1))
    assert NO_ATTACK not in limits(record)


def test_nothing_measured_proves_nothing(make_record: Make) -> None:
    assert limits(make_record(results=[])) == [NOTHING_MEASURED]
