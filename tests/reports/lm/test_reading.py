"""Headlines and readings follow the numbers, not what the method says of itself."""

from __future__ import annotations

import dataclasses
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
        (recall("forget", 1.0, 0.9, 1.0), recall("forget", 0.05, 0.0, 0.2), Tone.WARN, "not told, at most 0.20"),
        (recall("forget", 1.0, 0.9, 1.0), recall("forget", 0.0, 0.0, 0.04), Tone.GOOD, "not told, at most 0.04"),
        (recall("forget", 0.0, 0.0, 0.6), recall("forget", 0.0, 0.0, 0.6), Tone.NEUTRAL, "not known before"),
        (
            recall("rest", 0.0, 0.0, 0.6),
            recall("rest", 0.0, 0.0, 0.6),
            Tone.NEUTRAL,
            "nothing to keep: not known before",
        ),
        (recall("forget", 1.0, 0.9, 1.0), recall("forget", 0.5, 0.3, 0.7), Tone.WARN, "told less"),
        (recall("forget", 1.0, 0.6, 1.0), recall("forget", 0.9, 0.5, 1.0), Tone.BAD, "still told"),
        (None, recall("forget", 0.9, 0.5, 1.0), Tone.BAD, "no value before"),
        (recall("rest", 1.0, 0.9, 1.0), recall("rest", 0.98, 0.9, 1.0), Tone.GOOD, "kept, at most 0.10 lost"),
        (
            recall("rest", 1.0, 0.2, 1.0),
            recall("rest", 1.0, 0.2, 1.0),
            Tone.WARN,
            "as before, too few questions to tell",
        ),
        (recall("rest", 0.7, 0.6, 0.8), recall("rest", 0.9, 0.8, 1.0), Tone.GOOD, "kept, at most 0.00 lost"),
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
    assert read_change(before, after).text == "still told"


FEW = "Not told in 8 new phrasings (at most 0.32); not audited"


def many(record: RunRecord) -> RunRecord:
    """The record with so many questions on the fact that 0 of them is at most 0.04 (rule of three: 3 / 100)."""
    record.results = [
        dataclasses.replace(r, n=100, high=0.04)
        if r.target == "unlearned" and r.group in ("forget", "forget_heldout") and r.name in ("recall", "leak_rate")
        else r
        for r in record.results
    ]
    return record


def test_a_few_questions_do_not_make_a_mark(make_record: Make) -> None:
    """0 of 8 leaves open a share of up to 0.32 (Wilson): that is no evidence of 0.05."""
    found = headline(make_record())
    assert (found.tone, found.verdict) == (Tone.WARN, FEW)
    kept = {"forget": 0.0, "forget_heldout": 0.0}
    enough = headline(many(make_record(after=kept)))
    assert (enough.tone, enough.verdict) == (Tone.GOOD, "Not told in 100 new phrasings (at most 0.04); not audited")


def test_a_good_mark_never_stands_above_what_was_lost(make_record: Make) -> None:
    found = headline(many(make_record(after={"forget": 0.0, "forget_heldout": 0.0, "rest": 0.2})))
    assert found.tone is Tone.WARN and "at a cost to what stays" in found.verdict


def test_a_sampled_leak_is_in_the_verdict(make_record: Make) -> None:
    record = many(make_record())
    record.results = [
        dataclasses.replace(r, value=0.5, high=0.6)
        if (r.name, r.target, r.group) == ("leak_rate", "unlearned", "forget_heldout")
        else r
        for r in record.results
    ]
    found = headline(record)
    assert (found.tone, found.verdict) == (
        Tone.BAD,
        "Not told at first, but in samples (leak rate 0.50); not audited",
    )


def test_an_oracle_that_knows_the_fact_is_called_out(make_record: Make) -> None:
    record = make_record()
    warning = "It is not seen to know less than the original: it cannot serve as an oracle for this."
    assert warning not in headline(record).sentences
    record.results = [
        dataclasses.replace(r, value=1.0, low=0.68, high=1.0) if (r.name, r.target) == ("recall", "oracle") else r
        for r in record.results
    ]
    assert warning in headline(record).sentences


def test_four_questions_tell_an_oracle_from_the_original(make_record: Make) -> None:
    """0 of 4 against 4 of 4: the exact intervals overlap, [0, 0.60] and [0.40, 1], but Fisher's test has p = 1/70."""
    record = make_record()
    ends = {"oracle": (0.0, 0.0, 0.6), "original": (1.0, 0.4, 1.0)}
    for row, r in enumerate(record.results):
        if r.name == "recall" and r.group == "forget_heldout" and r.target in ends:
            value, low, high = ends[r.target]
            record.results[row] = dataclasses.replace(r, value=value, low=low, high=high, n=4)
    assert not any("cannot serve as an oracle" in text for text in headline(record).sentences)


def test_what_was_attacked_is_not_called_unaudited(make_record: Make) -> None:
    record = make_record()
    record.results.append(Result(name="relearn_steps", target="unlearned", value=12.0, n=1))
    assert headline(record).verdict == "Not told in 8 new phrasings (at most 0.32)"


def test_what_was_never_known_cannot_be_kept(make_record: Make) -> None:
    record = make_record()
    record.results = [
        dataclasses.replace(r, value=0.0, low=0.0, high=0.1) if (r.name, r.group) == ("recall", "rest") else r
        for r in record.results
    ]
    text = " ".join(headline(record).sentences)
    assert "1 of 5 groups that should stay were not known before: there was nothing to keep." in text
    assert "Of 4 groups that should stay, 1 fell" in text


@pytest.mark.parametrize("claim", ["forgotten", "trained", None])
def test_what_was_never_known_cannot_be_forgotten(make_record: Make, claim: str | None) -> None:
    """0 of 100 before and 0 of 100 after: no mark, however narrow the interval."""
    record = many(make_record(outcome=claim, after={"forget": 0.0, "forget_heldout": 0.0}))
    assert headline(record).tone is Tone.GOOD
    record.results = [
        dataclasses.replace(r, value=0.0, low=0.0, high=0.04)
        if (r.name, r.target) == ("recall", "original") and r.group in ("forget", "forget_heldout")
        else r
        for r in record.results
    ]
    found = headline(record)
    assert (found.tone, found.verdict) == (Tone.NEUTRAL, "Not known before: nothing to forget; not audited")


def test_the_headline_says_what_was_asked(make_record: Make) -> None:
    found = headline(make_record())
    assert found.subject == "Harry Potter · studied at · Hogwarts"
    assert "from 1.00 [0.68, 1.00] (n=8) to 0.00 [0.00, 0.32] (n=8)" in found.sentences[0]
    assert "told by any of several sampled answers is 0.00 [0.00, 0.32] (n=8)" in found.sentences[1]
    assert "Of 5 groups that should stay, 1 fell" in found.sentences[2]
    assert "same object from 1.00 [0.93, 1.00] (n=48) to 0.98 [0.89, 0.996] (n=48)" in found.sentences[2]


def test_the_numbers_overrule_what_the_method_says(make_record: Make) -> None:
    partly = headline(make_record(after={"forget": 0.0, "forget_heldout": 0.5}))
    assert (partly.tone, partly.verdict) == (Tone.WARN, "Told in some phrasings; not audited")
    not_at_all = headline(make_record(after={}))
    assert (not_at_all.tone, not_at_all.verdict) == (Tone.BAD, "Still told; not audited")


@pytest.mark.parametrize("claim", [None, "trained", "edited"])
def test_a_method_that_claims_nothing_is_judged_by_its_numbers(make_record: Make, claim: str | None) -> None:
    assert headline(make_record(outcome=claim)).verdict == FEW
    assert headline(make_record(outcome=claim, after={})).verdict == "Still told; not audited"


def test_a_stated_failure_is_not_talked_up(make_record: Make) -> None:
    assert headline(make_record(outcome="not_forgotten")).verdict == "Still told"
    assert headline(make_record(outcome="utility_floor")).tone is Tone.WARN


def test_a_run_that_only_leaks_in_samples_is_said_to_do_so(make_record: Make) -> None:
    record = make_record(outcome="not_forgotten")
    record.results = [
        dataclasses.replace(r, value=0.5, high=0.6) if (r.name, r.target) == ("leak_rate", "unlearned") else r
        for r in record.results
    ]
    found = headline(record)
    assert (found.tone, found.verdict) == (Tone.BAD, "Not told at first, but in samples (leak rate 0.50)")


@pytest.mark.parametrize("outcome", ["forgotten", "not_forgotten", "trained", "utility_floor", "collapsed"])
def test_no_headline_says_forgotten(make_record: Make, outcome: str) -> None:
    found = headline(make_record(outcome=outcome))
    assert "forgotten" not in " ".join((found.verdict, *found.sentences)).lower()


def test_what_was_trained_on_is_no_evidence_of_what_stayed(make_record: Make) -> None:
    record = make_record()
    before = headline(record).sentences
    for target in ("original", "unlearned"):
        result = Result(name="recall", target=target, group="rest_trained", value=1.0, low=0.9, high=1.0, n=40)
        record.results.append(result)
    assert headline(record).sentences == before
    assert any(text.startswith("40 questions of what should stay were asked as the retain") for text in limits(record))


def test_forgotten_without_a_measurement_is_said_to_be_so(make_record: Make) -> None:
    assert headline(make_record(results=[])).verdict == "Not measured: only the method's own probes were asked"


def test_all_neighbours_kept_names_the_lowest(make_record: Make) -> None:
    found = headline(make_record(after={"forget": 0.0, "forget_heldout": 0.0}))
    assert found.sentences[2].startswith(
        "None of the 5 groups that should stay fell; the lowest is two steps, nearby at 0.90"
    )


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
