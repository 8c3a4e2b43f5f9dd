"""Attacks on recommenders: what they find in one that was taught, and in one that never was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genunlearn.attacks.recommender.membership import ChoiceMembership
from genunlearn.attacks.recommender.relearning import ChoiceRelearning
from genunlearn.contracts import Splits
from genunlearn.data.recommender.interactions import as_interactions
from tests.small_recommenders import small_catalogue, small_recommender

DATA = small_catalogue()
GOES = DATA.train[:, 0] < 4
HELD = torch.cat([DATA.valid, DATA.test])
SPLITS: Splits = Splits(
    forget=as_interactions(DATA.train[GOES]),
    retain=as_interactions(DATA.train[~GOES]),
    holdout=as_interactions(HELD[HELD[:, 0] < 4]),
)


@pytest.fixture(scope="module")
def models():
    return small_recommender("bpr"), small_recommender("bpr", pairs=DATA.train[~GOES])


def test_what_was_learnt_stands_above_what_was_held_out_and_not_so_for_an_oracle(models) -> None:
    taught, never = ({r.group: r for r in ChoiceMembership().run(m, SPLITS, "original")} for m in models)
    assert taught["pairs"].value > 0.8 and taught["pairs"].n == len(SPLITS.forget) + len(SPLITS.holdout)
    assert taught["users"].value > 0.8 and taught["users"].n == 8
    assert abs(never["pairs"].value - 0.5) < 0.3


def test_relearning_shows_one_half_after_updates_on_the_other(models) -> None:
    attack = ChoiceRelearning(steps=10, cutoff=5, learning_rate=0.05)
    taught, never = (attack.run(m, SPLITS, "original") for m in models)
    assert [result.group for result in taught] == [f"step {step}" for step in (0, 1, 2, 5, 10)]
    assert taught[0].value > never[0].value


def test_too_little_to_attack_says_so(models) -> None:
    model, _ = models
    alone = replace(SPLITS, forget=SPLITS.forget[:1], holdout=None)
    (found,) = ChoiceMembership().run(model, alone, "original")
    assert found.skipped == "needs held-out interactions of the same users or items"
    (found,) = ChoiceRelearning().run(model, alone, "original")
    assert found.skipped == "needs two forgotten interactions: one to teach, one to ask for"
