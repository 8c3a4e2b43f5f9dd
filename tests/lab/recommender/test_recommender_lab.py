"""The lab of recommenders: what is planted is there, and says what it is."""

from __future__ import annotations

import pytest
import torch

from genunlearn.errors import DataError
from genunlearn.lab.recommender.build import ITEMS, STUDIES, USERS, catalogue, recall
from genunlearn.records import read_json


def test_the_catalogue_is_the_same_again_and_pictures_say_what_a_user_likes() -> None:
    data = catalogue()
    assert (len(data.users), len(data.items)) == (USERS, ITEMS)
    sha256 = data.sha256
    catalogue.cache_clear()
    assert catalogue().sha256 == sha256
    # Items of the digit that a user chooses most in training are chosen more often in the test than other items.
    from sklearn.datasets import load_digits

    digits = torch.from_numpy(load_digits().target[:ITEMS]).long()
    taken = torch.zeros(USERS, 10).index_put_((data.train[:, 0], digits[data.train[:, 1]]), torch.tensor(1.0), True)
    favourite = taken.argmax(1)[data.test[:, 0]]
    assert (digits[data.test[:, 1]] == favourite).double().mean() > 0.2


def test_two_requests_are_refused() -> None:
    with pytest.raises(DataError, match="lab:recommender takes one"):
        STUDIES["recommender"].build(["users:0.05", "items:0.05"])


@pytest.mark.slow
def test_a_built_one_says_that_it_is_semi_synthetic_and_an_oracle_never_saw_who_left() -> None:
    study, data = STUDIES["recommender"], catalogue()
    card = read_json(study.folder() / "card.json", "card")
    assert card["is_semi_synthetic"] is True
    assert card["measured"]["recall@20 on valid"] >= study.level
    assert recall(study.original(), data.valid, data.train) == pytest.approx(card["measured"]["recall@20 on valid"])
    folder = study.build(["users:0.05"])
    kept = read_json(folder / "card.json", "card")
    assert kept["is_oracle"] and kept["interactions"] < len(data.train)
