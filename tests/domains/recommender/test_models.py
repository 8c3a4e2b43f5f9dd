"""Networks of recommenders against values worked by hand, and what the service holds and deletes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genunlearn.data.recommender.interactions import Interaction
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.domains.recommender.models import nearest
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.ops.sampling import draw_unknown
from tests.small_recommenders import ITEMS, USERS, small_catalogue, small_recommender

KINDS = ("bpr", "lightgcn", "vbpr", "knn_fusion")


def two_by_two(kind: str, known: list[list[int]], **options) -> Recommender:
    """Users 1 and 2, items 3 and 4, by the only number of their vectors."""
    model = Recommender(kind, (2, 2), torch.tensor(known), width=1, **options)
    with torch.no_grad():
        model.module.users.weight.copy_(torch.tensor([[1.0], [2.0]]))
        model.module.items.weight.copy_(torch.tensor([[3.0], [4.0]]))
    return model


def test_the_loss_and_its_gradient_are_those_of_bpr() -> None:
    model = two_by_two("bpr", [[0, 1]])
    model.l2 = 0.1
    examples = model.collate([Interaction(0, 1, negative=0)])
    # x_ui - x_uj = 1*4 - 1*3 = 1; the squares are (1 + 16 + 9) / 2 = 13.
    loss = model.example_loss(examples)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)) + 0.1 * 13)
    loss.sum().backward()
    # d/dd -log s(d) = -s(-d) = -1 / (1 + e); d has gradients i - j = 1, u = 1 and -u = -1. Squares add 0.1 each vector.
    slope = -1 / (1 + math.e)
    assert model.module.users.weight.grad[0].item() == pytest.approx(slope * 1 + 0.1 * 1)
    assert model.module.items.weight.grad[1].item() == pytest.approx(slope * 1 + 0.1 * 4)
    assert model.module.items.weight.grad[0].item() == pytest.approx(slope * -1 + 0.1 * 3)
    assert model.reverse_loss(examples).item() == pytest.approx(math.log(1 + math.e) + 0.1 * 13)


def test_lightgcn_averages_over_its_layers() -> None:
    # Edges: user 0 with items 0 and 1, user 1 with item 1. Degrees: users 2, 1; items 1, 2.
    model = two_by_two("lightgcn", [[0, 0], [0, 1], [1, 1]], layers=1)
    users, items = model.module.propagated()
    half = math.sqrt(0.5)
    assert users[:, 0].tolist() == pytest.approx([(1 + half * 3 + 0.5 * 4) / 2, (2 + half * 4) / 2])
    assert items[:, 0].tolist() == pytest.approx([(3 + half * 1) / 2, (4 + 0.5 * 1 + half * 2) / 2])
    model.drop(torch.tensor([[0, 1]]))
    # Without the edge the degrees are all 1: user 0 with item 0, user 1 with item 1.
    users, _ = model.module.propagated()
    assert users[:, 0].tolist() == pytest.approx([(1 + 3) / 2, (2 + 4) / 2])


def test_a_user_without_interactions_keeps_the_own_factors() -> None:
    model = two_by_two("lightgcn", [[0, 0]], layers=1)
    users, _ = model.module.propagated()
    assert users[1].item() == pytest.approx(2 / 2)
    assert model.scores(torch.arange(2)).isfinite().all()


def test_neighbours_are_the_nearest_by_angle_and_empty_rows_have_none() -> None:
    rows = torch.tensor([[1.0, 0.0], [5.0, 0.5], [0.0, 1.0], [0.0, 0.0]])
    matrix = nearest(rows, count=1).to_dense()
    assert matrix.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_comes_back_from_a_folder_and_ranks_what_is_held_out(kind: str, tmp_path: Path) -> None:
    data, model = small_catalogue(), small_recommender(kind)
    scores = model.scores(torch.arange(USERS))
    own = scores[data.train[:, 0], data.train[:, 1]].mean()
    assert own > scores.mean() + 0.5
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", device="cpu")
    assert torch.equal(again.scores(torch.arange(USERS)), scores)
    assert again.sizes == (USERS, ITEMS) and again.base_sha256


def test_a_sharded_one_keeps_users_of_other_shards_apart(tmp_path: Path) -> None:
    shards = torch.arange(USERS) % 3
    model = small_recommender("lightgcn", shards=shards)
    every = model.scores(torch.arange(USERS))
    for number in range(3):  # asked for one shard, or for all at once
        users = (shards == number).nonzero().flatten()
        assert torch.allclose(model.scores(users), every[users], atol=1e-5)
    with torch.no_grad():
        for weight in model.module.parts[0].parameters():
            weight.zero_()
    changed = (model.scores(torch.arange(USERS)) != every).any(1)
    assert torch.equal(changed, shards == 0)
    model.save(tmp_path / "model")
    assert torch.equal(Recommender.load(tmp_path / "model", device="cpu").shards, shards)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_deleted_is_in_no_file(kind: str, tmp_path: Path) -> None:
    model = small_recommender(kind)
    gone = model.known[:5].clone()
    model.drop(gone)
    model.withdraw(torch.tensor([2]))
    model.save(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "model.safetensors")
    left = {tuple(pair) for pair in saved["known_interactions"].tolist()}
    assert not left & {tuple(pair) for pair in gone.tolist()} and len(left) == len(small_catalogue().train) - 5
    assert not any(rows[2].any() for name, rows in saved.items() if name.startswith("item_features."))
    again = Recommender.load(tmp_path / "model", device="cpu")
    assert torch.allclose(again.scores(torch.arange(USERS)), model.scores(torch.arange(USERS)), atol=1e-6)


def test_negatives_are_unknown_depend_on_the_pair_and_the_seed_alone_and_are_drawn_evenly() -> None:
    user = torch.arange(4000) % 4
    item = torch.arange(4000)
    known = torch.tensor(sorted(u * 10 + i for u in range(4) for i in range(u, u + 3)))
    drawn = draw_unknown(user, item, known, 10, seed=5)
    assert torch.equal(drawn, draw_unknown(user.flip(0), item.flip(0), known, 10, seed=5).flip(0))
    assert not torch.equal(drawn, draw_unknown(user, item, known, 10, seed=6))
    assert not torch.isin(user * 10 + drawn, known).any()
    counts = drawn[user == 0].bincount(minlength=10)[3:]  # 1000 draws among 7 items
    assert (counts - 1000 / 7).abs().max() < 5 * math.sqrt(1000 / 7)


def test_folders_that_are_none_or_do_not_fit_together_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no recommender at"):
        Recommender.load(tmp_path)
    small_recommender("bpr").save(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    faults = {
        "users.weight": torch.zeros(3, 8),
        "known_interactions": torch.tensor([[0, ITEMS]]),
        "other.weight": torch.zeros(2),
        "item_features.image": torch.zeros(2, 4),
    }
    for name, tensor in faults.items():
        save_file({**whole, name: tensor}, path)
        with pytest.raises(MismatchError) as caught:
            Recommender.load(tmp_path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"\x08garbage")
    with pytest.raises(MismatchError, match="do not fit together"):
        Recommender.load(tmp_path)


def test_kinds_that_are_none_or_lack_features_are_refused() -> None:
    known = torch.tensor([[0, 0]])
    with pytest.raises(MismatchError, match="'mgcn': a recommender is one of bpr, lightgcn"):
        Recommender("mgcn", (1, 1), known)
    with pytest.raises(MismatchError, match="'vbpr' needs features"):
        Recommender("vbpr", (1, 1), known)
    with pytest.raises(MismatchError, match="image features of 3 items for a recommender of 1"):
        Recommender("vbpr", (1, 1), known, features={"image": torch.zeros(3, 2)})
