"""Who has which items, and which clients a request names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genunlearn.data.network.clients import dirichlet_split, read_clients
from genunlearn.errors import ConfigError, DataError

LABELS = torch.arange(400) % 4


def test_every_row_has_one_client_and_every_client_enough() -> None:
    parts = dirichlet_split(LABELS, 5, seed=1)
    assert sorted(row for part in parts for row in part) == list(range(400))
    assert min(map(len, parts)) >= 10
    assert parts == dirichlet_split(LABELS, 5, seed=1) != dirichlet_split(LABELS, 5, seed=2)


def test_a_small_concentration_gives_clients_few_classes_and_a_large_one_all_alike() -> None:
    def unlike(concentration: float) -> float:
        parts = dirichlet_split(LABELS, 4, concentration=concentration, least=1, seed=0)
        shares = [np.bincount(LABELS[part], minlength=4) / len(part) for part in parts]
        return float(np.mean([share.max() for share in shares]))

    assert unlike(1000) < 0.3 < 0.5 < unlike(0.1)


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match=r"^400 items for 50 clients with at least 10 each: take fewer clients$"):
        dirichlet_split(LABELS, 50)
    with pytest.raises(DataError, match=r"^no draw in 1000 gave each of 40 clients 10 items: take fewer clients, or a"):
        dirichlet_split(LABELS, 40, concentration=0.05)


def test_a_request_names_clients() -> None:
    assert read_clients("client:0", 4) == (0,)
    assert read_clients("client:3,1,3", 4) == (1, 3)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (None, "request.forget is empty: name clients that are to go"),
        ("", "request.forget is empty"),
        ("client:", "request.forget is empty"),
        ("class:3", "request.forget = 'class:3': write client:NUMBER"),
        ("client:-1", "request.forget = 'client:-1': write client:NUMBER"),
        ("client:1 2", "request.forget = 'client:1 2': write"),
        ("client:4", r"client 4 never took part: the clients of this federation are 0 to 3$"),
        ("client:0,1,2,3", "all 4 clients are to be forgotten: nobody would be left"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(request_: str | None, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{complaint}") as caught:
        read_clients(request_, 4)
    assert "\n" not in str(caught.value)
