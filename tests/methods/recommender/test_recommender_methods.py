"""Methods made for recommenders: the sign of the reversed loss, what is turned round, which shards are taught anew."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Batch, Splits
from genunlearn.data.recommender.interactions import Interaction, as_interactions
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.recommender.amun import AmUn
from genunlearn.methods.recommender.mmrecun import MMRecUN
from genunlearn.methods.recommender.rec_eraser import RecEraser
from genunlearn.runs.unlearning import carry_out
from tests.domains.recommender.test_models import two_by_two
from tests.small_recommenders import USERS, small_catalogue, small_recommender

TRAIN = small_catalogue().train
FORGET, RETAIN = TRAIN[TRAIN[:, 0] == 3], TRAIN[TRAIN[:, 0] != 3]
SPLITS: Splits = Splits(forget=as_interactions(FORGET), retain=as_interactions(RETAIN))


def run(method, model, steps: int) -> None:
    settings = TrainConfig(learning_rate=0.02, batch_size=64, max_steps=steps)
    trainer = Trainer(model, settings, ParametersConfig(kind="full"), seed=0)
    carry_out(method, trainer, SPLITS, FileJournal(None), seed=0)


def margin(model) -> float:
    """How far forgotten items stand above the others, on average."""
    scores = model.scores(FORGET[:, 0])
    return float((scores.gather(1, FORGET[:, 1:])[:, 0] - scores.mean(1)).mean())


def test_the_loss_is_the_weighted_sum_of_forward_and_reverse_bpr() -> None:
    model = two_by_two("bpr", [[0, 1]])
    model.l2 = 0.0
    batch = Batch(
        forget=model.collate([Interaction(0, 1, negative=0)]), retain=model.collate([Interaction(1, 1, negative=0)])
    )
    terms = MMRecUN(forget_weight=0.25).loss(batch, model, None)
    # Margins: user 0 has 4 - 3 = 1, user 1 has 8 - 6 = 2.
    assert terms["forget"].coefficient == 0.25 and terms["retain"].coefficient == 0.75
    assert terms["forget"].sum.item() == pytest.approx(math.log(1 + math.exp(1)))
    assert terms["retain"].sum.item() == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize("kind", ["bpr", "lightgcn", "vbpr", "knn_fusion"])
def test_one_step_on_forget_pairs_lowers_their_mean_margin(kind: str) -> None:
    # With a second minus in front of the logarithm the step would go the other way.
    model = small_recommender(kind)
    before = margin(model)
    run(MMRecUN(forget_weight=1.0), model, steps=1)
    assert margin(model) < before


def test_amun_prefers_an_unknown_item_to_each_forgotten_one() -> None:
    prepared = AmUn().prepare(SPLITS, seed=0)
    assert prepared.forget == ()
    turned, kept = prepared.retain[: len(FORGET)], prepared.retain[len(FORGET) :]
    assert kept == SPLITS.retain
    known = {tuple(pair) for pair in TRAIN.tolist()}
    for before, after in zip(SPLITS.forget, turned, strict=True):
        assert (after.user, after.negative) == (before.user, before.item)
        assert (after.user, after.item) not in known


def test_only_touched_shards_are_taught_anew() -> None:
    shards = torch.arange(USERS) % 3
    model = small_recommender("lightgcn", shards=shards)
    before = [{n: w.clone() for n, w in part.named_parameters()} for part in model.module.parts]
    run(RecEraser(), model, steps=3)
    for number, part in enumerate(model.network.parts):
        same = all(torch.equal(weight, before[number][name]) for name, weight in part.named_parameters())
        assert same == (number != 0)  # user 3 is of shard 0


def test_a_model_of_one_network_is_one_shard() -> None:
    model = small_recommender("bpr")
    before = margin(model)
    model.drop(FORGET)
    run(RecEraser(), model, steps=60)
    assert margin(model) < before / 2
