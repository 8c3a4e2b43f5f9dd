"""Bad teaching, DELETE and SCRUB: divergences from teachers by hand, and what they do to the digits."""

import math
from collections.abc import Callable

import pytest
import torch

from genunlearn.contracts import Batch, Splits
from genunlearn.data.extras import with_extras
from genunlearn.engine.reference import FrozenCopy
from genunlearn.lab.network.study import Lab
from genunlearn.methods.general.delete import Delete
from genunlearn.methods.network.bad_teaching import BadTeaching
from genunlearn.methods.network.scrub import TEACHER, MaxPass, MinPass, Scrub
from genunlearn.ops.divergences import kl_divergence
from tests.small_networks import kept_and_forgotten, tabled, unit_items, unlearn, values

FORGET, RETAIN = unit_items([0], 2), unit_items([0], 2, start=1)
# KL(half || quarter) = 1/2 log(4/3), see the test of divergences.
KL = 0.5 * math.log(4 / 3)


def test_bad_teaching_shows_each_item_to_its_own_teacher() -> None:
    original = tabled([[0.75, 0.25], [0.5, 0.5]])
    reference = FrozenCopy(original)
    student = tabled([[0.25, 0.75], [0.25, 0.75]])
    batch = Batch(student.collate(FORGET), student.collate(RETAIN))
    terms = values(BadTeaching(retain_weight=3).loss(batch, student, reference))
    untrained = original.fresh(0).output_logits(batch.forget)
    by_hand = kl_divergence(untrained, torch.tensor([[0.25, 0.75]]).log()).item()
    assert terms == pytest.approx({"forget": by_hand, "retain": 3 * KL}, rel=1e-5)
    authors = values(BadTeaching(reduction="mean").loss(batch, student, reference))
    assert authors == pytest.approx({"forget": by_hand / 2, "retain": KL / 2}, rel=1e-5)


def test_bad_teaching_rehearses_a_share_of_the_retain_set() -> None:
    items = unit_items([0] * 20, 20)
    splits = Splits(forget=items[:5], retain=items[5:15])
    prepared = BadTeaching().prepare(splits, seed=1)
    assert len(prepared.retain) == 3 and len(prepared.forget) == 5
    assert BadTeaching().prepare(splits, seed=1).retain == prepared.retain
    assert len(BadTeaching(retain_share=1).prepare(splits, seed=1).retain) == 10
    assert (BadTeaching().retain_share, BadTeaching().temperature) == (0.3, 1.0)


def test_teachers_are_asked_once_per_item() -> None:
    assert BadTeaching.reference_scores == (("forget", "untrained_logits"), ("retain", "output_logits"))
    assert Delete.reference_scores == (("forget", "output_logits"),)


def test_scrub_passes_by_hand() -> None:
    student = tabled([[0.25, 0.75], [0.25, 0.75]])
    half = torch.tensor([[0.5, 0.5]]).log()
    batch = Batch(
        student.collate(with_extras(FORGET, **{TEACHER: half})), student.collate(with_extras(RETAIN, **{TEACHER: half}))
    )
    assert values(MaxPass(temperature=1).loss(batch, student, None)) == pytest.approx({"forget": -KL})
    terms = values(MinPass(gamma=2, alpha=0.5, temperature=1).loss(batch, student, None))
    assert terms == pytest.approx({"retain": 2 * math.log(4), "distance": 0.5 * KL})
    # At T = 2 the odds 1 : 3 become 1 : sqrt 3, and the divergence counts T^2 = 4 times.
    p = 1 / (1 + math.sqrt(3))
    warm = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert values(MaxPass(temperature=2).loss(batch, student, None)) == pytest.approx({"forget": -4 * warm}, rel=1e-5)


def test_scrub_takes_turns() -> None:
    calls = []

    def train(objective: object, splits: Splits, *, steps: int) -> None:
        calls.append((objective.name, len(splits.forget), len(splits.retain or ()), steps))

    model = tabled([[0.75, 0.25], [0.5, 0.5]])
    method = Scrub(rounds=3, max_rounds=2, max_steps=5, min_steps=7)
    outcome = method.run(train, model, Splits(forget=FORGET, retain=RETAIN), None)
    turns = [("scrub_max", 1, 0, 5), ("scrub_min", 0, 1, 7)]
    assert calls == [*turns, *turns, turns[1]]
    assert outcome.reason == "3 rounds, the first 2 with a max pass"


RUNS = [(BadTeaching(), 1e-3, 60, 0.45), (Delete(), 1e-3, 20, 0.1), (Scrub(), 1e-3, 1, 0.1)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rate", "steps", "left"), RUNS, ids=[run[0].name for run in RUNS])
def test_a_digit_is_forgotten_and_the_others_stay(
    open_study: Callable[..., Lab], method: object, rate: float, steps: int, left: float
) -> None:
    lab = open_study()
    unlearn(lab.original, method, lab.splits, rate=rate, steps=steps)
    retain, forget = kept_and_forgotten(lab)
    assert forget <= left
    assert retain > 0.95
