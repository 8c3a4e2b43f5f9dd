"""What a request means in a catalogue, and which requests are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genunlearn.data.recommender.requests import choose
from genunlearn.data.recommender.shards import balanced_shards, user_shards
from genunlearn.errors import DataError, SourceNotFound
from tests.small_recommenders import CHOSEN, USERS, small_catalogue

DATA = small_catalogue()


def test_users_and_items_go_with_all_their_interactions() -> None:
    users = choose(DATA, "users:u3,u7")
    assert DATA.train[users.marked][:, 0].unique().tolist() == [3, 7] == users.users.tolist()
    assert int(users.marked.sum()) == 2 * CHOSEN and not len(users.items)
    items = choose(DATA, "items:i0")
    assert torch.equal(items.marked, DATA.train[:, 1] == 0)
    assert items.items.tolist() == [0] and not len(items.users)


def test_a_share_is_drawn_by_the_seed() -> None:
    first, again, other = (choose(DATA, "users:0.25", seed=seed) for seed in (1, 1, 2))
    assert len(first.users) == USERS // 4
    assert torch.equal(first.marked, again.marked) and not torch.equal(first.marked, other.marked)
    assert int(choose(DATA, "pairs:0.5").marked.sum()) == len(DATA.train) // 2


def test_pairs_are_named_by_user_and_item_also_in_a_file(tmp_path: Path) -> None:
    user, item = DATA.train[5].tolist()
    named = choose(DATA, f"pairs:u{user}/i{item}")
    assert named.marked.nonzero().flatten().tolist() == [5]
    path = tmp_path / "gone.tsv"
    path.write_text(f"u{user}\ti{item}\n\n")
    assert torch.equal(choose(DATA, f"pairs:@{path}").marked, named.marked)


BAD = {
    "": "write KIND:VALUE",
    "users": "write KIND:VALUE",
    "people:u1": "write KIND:VALUE",
    "users:": "write KIND:VALUE",
    "users:,": "marks none of the 72 training interactions",
    "users:u33": "no user 'u33' among the 12 of the data; did you mean 'u3'",
    "items:zzz": "no item 'zzz' among the 24 of the data, such as 'i0'",
    "pairs:u1": "write USER/ITEM",
    "users:0.0": "must lie between 0 and 1",
    "users:1.0": "must lie between 0 and 1",
    "users:0.001": "is less than one",
    "users:0.99": "marks all 72 training interactions",
    "users:" + ",".join(DATA.users): "marks all 72 training interactions",
}


@pytest.mark.parametrize(("request_", "message"), BAD.items())
def test_a_request_that_cannot_be_met_is_one_line(request_: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        choose(DATA, request_)
    assert "\n" not in str(caught.value)


def test_a_pair_that_was_never_learnt_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    user, item = DATA.test[0].tolist()
    with pytest.raises(DataError, match=f"user 'u{user}' has no training interaction with item 'i{item}'"):
        choose(DATA, f"pairs:u{user}/i{item}")
    with pytest.raises(SourceNotFound, match="no such file"):
        choose(DATA, f"users:@{tmp_path / 'none'}")


def test_shards_have_one_size_and_hold_users_who_choose_alike() -> None:
    shards = user_shards(DATA, 2)
    assert shards.bincount().tolist() == [USERS // 2, USERS // 2]
    assert len({int(shards[user]) for user in range(0, USERS, 2)}) == 1  # even users share their items
    assert balanced_shards(torch.zeros(7, 2), 3).bincount().tolist() == [3, 3, 1]
    with pytest.raises(DataError, match="13 shards of 12 users"):
        user_shards(DATA, 13)
