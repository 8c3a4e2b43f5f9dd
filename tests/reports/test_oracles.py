"""Planted wrecks: what would make a verdict beside oracles false is said, in every family that has oracles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from genunlearn.records import COMPLETED, Result, RunRecord
from genunlearn.reports import oracles
from genunlearn.reports.graph.reading import read_graph_run, read_row
from genunlearn.reports.headline import Headline, Tone
from genunlearn.reports.network.reading import read_group as read_items_group
from genunlearn.reports.network.reading import read_items
from genunlearn.reports.recommender.reading import read_group as read_rankings_group
from genunlearn.reports.recommender.reading import read_rankings

TARGETS = ("original", "unlearned", "oracle")
FAMILIES: dict[str, tuple[str, str, str, Callable[[RunRecord], Headline], Callable[[RunRecord, str], Any]]] = {
    # metric, name of the group as `oracle_gap` has it -> of the metric, what must stay, verdict, mark of the forget set
    "graph": ("accuracy", "", "retain", read_graph_run, lambda record, group: read_row(record, ("accuracy", group))),
    "network": ("accuracy", "", "retain", read_items, read_items_group),
    "recommender": ("recall", "@20", "valid", read_rankings, read_rankings_group),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def levels(forget: tuple[float, float, float], stay: tuple[float, float, float], spread: float = 0.02) -> dict:
    """Levels of original, unlearned and oracles on what was to go and on what must stay; how far oracles lie apart."""
    return {"forget": forget, "stay": stay, "spread": spread}


def build(family: str, planted: dict, n: int = 40) -> RunRecord:
    """A finished run with these levels; its oracles' prediction interval has a half width of `spread`."""
    metric, suffix, stays, _, _ = FAMILIES[family]
    results = []
    for group, key in (("forget", "forget"), (stays, "stay")):
        for target, value in zip(TARGETS, planted[key], strict=True):
            gap, half = value - planted[key][2], planted["spread"]
            common: dict[str, Any] = {"target": target, "n": n}
            low, high = max(0.0, value - 0.05), min(1.0, value + 0.05)
            results.append(Result(name=metric, group=f"{group}{suffix}", value=value, low=low, high=high, **common))
            results.append(Result(name="oracle_gap", group=group, value=gap, low=gap - half, high=gap + half, **common))
    config = {"domain": "classifier" if family == "network" else family, "method": {"name": "retrain"}}
    return RunRecord(status=COMPLETED, outcome="trained", request={"task": "node"}, config=config, results=results)


def with_membership(family: str, record: RunRecord, original: float) -> RunRecord:
    """The same with an attack that finds `original` in the original, and chance in the two others."""
    name, group = {
        "graph": ("membership", None),
        "network": ("mia_matched", "matched"),
        "recommender": ("choice_membership", "pairs"),
    }[family]
    attacked = [
        Result(name=name, group=group, target=target, value=value, low=value - 0.05, high=value + 0.05, n=80)
        for target, value in zip(TARGETS, (original, 0.5, 0.5), strict=True)
    ]
    return dataclasses.replace(record, results=[*record.results, *attacked])


@every_family
def test_forgetting_that_can_be_seen_is_called_so(family: str) -> None:
    _, _, _, verdict, mark = FAMILIES[family]
    record = build(family, levels((0.95, 0.31, 0.30), (0.9, 0.9, 0.9)))
    assert verdict(record).tone is Tone.GOOD and mark(record, "forget") == oracles.LIKE


@every_family
@pytest.mark.parametrize(
    ("planted", "n", "reading"),
    [
        (levels((0.95, 0.95, 0.95), (0.9, 0.9, 0.9)), 40, oracles.AS_BEFORE),  # the oracles saw the forget set
        (levels((0.95, 0.40, 0.60), (0.9, 0.9, 0.9), spread=0.5), 40, oracles.AS_BEFORE),  # one of three did
        (levels((0.95, 0.31, 0.30), (0.9, 0.9, 0.9)), 5, oracles.TOO_FEW),
        (levels((0.95, 0.31, 0.30), (0.9, 0.9, 0.35)), 40, oracles.UNSOUND),  # the oracles were ruined
        (levels((0.95, 0.31, 0.30), (0.9, 0.35, 0.35)), 40, oracles.UNSOUND),  # and the unlearned one with them
    ],
)
def test_what_could_not_have_shown_otherwise_is_no_success(
    family: str, planted: dict, n: int, reading: oracles.Reading
) -> None:
    _, _, _, verdict, mark = FAMILIES[family]
    record = build(family, planted, n)
    headline = verdict(record)
    assert mark(record, "forget") == reading and reading.tone is Tone.NEUTRAL
    assert (headline.tone, headline.verdict) == (Tone.NEUTRAL, f"Done; {reading.text}")
    is_said = any("no measure of never having learnt" in sentence for sentence in headline.sentences)
    assert is_said == (reading == oracles.UNSOUND)


@every_family
def test_an_attack_that_found_it_before_and_finds_it_no_more_shows_forgetting(family: str) -> None:
    verdict, known = FAMILIES[family][3], levels((0.95, 0.95, 0.95), (0.9, 0.9, 0.9))
    assert verdict(with_membership(family, build(family, known), original=0.9)).tone is Tone.GOOD
    assert verdict(with_membership(family, build(family, known), original=0.52)).tone is Tone.NEUTRAL


@every_family
def test_the_silence_of_an_attack_that_was_not_made_says_nothing(family: str) -> None:
    verdict, known = FAMILIES[family][3], levels((0.95, 0.95, 0.95), (0.9, 0.9, 0.9))
    attacked = with_membership(family, build(family, known), original=0.9)
    *before, after, never = attacked.results
    assert after.target == "unlearned"
    unheard = dataclasses.replace(after, value=None, low=None, high=None, skipped="too few items")
    for results in ([*before, never], [*before, unheard, never]):
        assert verdict(dataclasses.replace(attacked, results=results)).tone is Tone.NEUTRAL


@every_family
def test_fewer_than_three_oracles_give_no_verdict(family: str) -> None:
    _, _, _, verdict, mark = FAMILIES[family]
    record = build(family, levels((0.95, 0.31, 0.30), (0.9, 0.9, 0.9)))
    skipped = {"value": None, "low": None, "high": None, "skipped": "needs the distribution of 3 oracles, 2 given"}
    results = [dataclasses.replace(one, **skipped) if one.name == "oracle_gap" else one for one in record.results]
    few = dataclasses.replace(record, results=results)
    assert mark(few, "forget") == oracles.NONE
    assert (verdict(few).tone, verdict(few).verdict) == (Tone.NEUTRAL, f"Done; {oracles.NONE.text}")


@pytest.mark.parametrize(
    ("deleted", "after", "reading"),
    [
        (0.31, 0.30, "like an oracle, by deletion alone"),  # 0.95 -> 0.31 without any unlearning
        (0.90, 0.30, "like an oracle"),
        (0.60, 0.46, "still known"),  # of 0.30 too much 0.16 are left: of 0.65 it would be less than half
        (0.60, 0.42, "partly forgotten"),
    ],
)
def test_what_deleting_records_does_is_no_work_of_a_method(deleted: float, after: float, reading: str) -> None:
    record = build("recommender", levels((0.95, after, 0.30), (0.9, 0.9, 0.9)))
    record.results.append(Result(name="recall_deleted", target="original", group="forget@20", value=deleted, n=40))
    assert read_rankings_group(record, "forget").text == reading
    assert (read_rankings(record).tone is Tone.GOOD) is (reading == "like an oracle")
    assert f"without any unlearning, leaves {deleted:.2f}" in " ".join(read_rankings(record).sentences)


@every_family
def test_a_ruined_model_is_no_success_beside_sound_oracles(family: str) -> None:
    _, _, stays, verdict, mark = FAMILIES[family]
    record = build(family, levels((0.95, 0.31, 0.30), (0.9, 0.35, 0.9)))
    assert verdict(record).tone is Tone.WARN and mark(record, stays).tone is Tone.BAD


def test_six_elements_are_the_fewest_that_intervals_tell_apart() -> None:
    from genunlearn.ops.intervals import share

    for n, is_apart in ((5, False), (6, True)):
        assert (share(n, n)[1] > share(0, n)[2]) is is_apart
        assert (oracles.among_oracles(n, was_before=False) == oracles.LIKE) is is_apart
