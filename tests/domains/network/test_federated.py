"""Rounds of a federation by hand: the mean, what the server remembers, and who is to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from genunlearn.domains.network.federated.adapter import FederatedClassifier, in_process, state_of, train_client, twin
from genunlearn.domains.network.federated.server import History, Reply, Server, Since, average
from genunlearn.errors import DataError, NeedNotMet
from tests.world import World


def state(*values: float, count: int = 0) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values), "count": torch.tensor(count)}


def close(server: Server, before: dict[str, torch.Tensor], replies: list[Reply]) -> dict[str, torch.Tensor]:
    return dict(server.close(before, replies))


FIRST = [Reply(0, state(1.0, 0.0, count=4), 1), Reply(1, state(0.0, -2.0, count=2), 3)]
SECOND = [Reply(1, state(0.0, 0.0), 3)]


def test_clients_count_by_their_items_or_each_the_same() -> None:
    # (1 * 1 + 3 * 0) / 4 and (1 * 0 + 3 * -2) / 4; the counter (4 + 3 * 2) / 4 = 2.5 is rounded to even.
    by_items = close(Server(state(0.0, 0.0)), state(0.0, 0.0), FIRST)
    assert by_items["w"].tolist() == [0.25, -1.5] and by_items["count"].tolist() == 2
    alike = close(Server(state(0.0, 0.0), weighting="equal"), state(0.0, 0.0), FIRST)
    assert alike["w"].tolist() == [0.5, -1.0] and alike["count"].tolist() == 3


@pytest.mark.parametrize(
    ("since", "moved"),
    [
        # Client 1 moves by (0, 2), then from (0.25, -1.5) to (0, 0): by (0.25, 1.5); from the first weights: by 0.
        ("round_start", {0: [1.0, 0.0], 1: [0.25, 3.5]}),
        ("initial", {0: [1.0, 0.0], 1: [0.0, 2.0]}),
    ],
)
def test_movements_are_summed_by_client(since: Since, moved: dict[int, list[float]]) -> None:
    server = Server(state(0.0, 0.0), since=(since,))
    middle = close(server, state(0.0, 0.0), FIRST)
    close(server, middle, SECOND)
    found = server.history.moved[since]
    assert {client: own["w"].tolist() for client, own in found.items()} == moved
    assert all("count" not in own for own in found.values())  # a counter is not moved


def test_the_order_of_replies_does_not_matter() -> None:
    forth, back = Server(state(0.0, 0.0), since=("initial",)), Server(state(0.0, 0.0), since=("initial",))
    assert torch.equal(close(forth, state(0.0, 0.0), FIRST)["w"], close(back, state(0.0, 0.0), FIRST[::-1])["w"])


def test_memory_does_not_grow_with_rounds_unless_they_are_kept() -> None:
    bare, keeping = Server(state(0.0, 0.0), since=("initial",)), Server(state(0.0, 0.0), keep_every=2)
    for _ in range(5):
        close(bare, state(0.0, 0.0), FIRST)
        close(keeping, state(0.0, 0.0), FIRST)
    assert (len(bare.history.kept), len(bare.history.last), len(bare.history.moved["initial"])) == (0, 0, 2)
    assert len(keeping.history.kept) == 3  # rounds 0, 2 and 4
    assert keeping.history.kept[0].states[1]["w"].tolist() == [0.0, -2.0]


def test_what_is_remembered_comes_back_from_its_file(tmp_path: Path) -> None:
    server = Server(state(0.0, 0.0), since=("round_start", "initial"), keeps_last=True, keep_every=1)
    close(server, close(server, state(0.0, 0.0), FIRST), SECOND)
    server.history.save(tmp_path)
    found = History.load(tmp_path)
    assert found.moved.keys() == {"round_start", "initial"}
    assert found.moved["round_start"][1]["w"].tolist() == [0.25, 3.5]
    assert found.last[0]["w"].tolist() == [1.0, 0.0] and found.last[1]["w"].tolist() == [0.0, 0.0]
    assert [sorted(one.states) for one in found.kept] == [[0, 1], [1]]
    assert found.kept[1].start["w"].tolist() == [0.25, -1.5] and found.initial["w"].tolist() == [0.0, 0.0]


def test_one_state_is_its_own_mean() -> None:
    assert average([state(0.1, 0.2)], [3])["w"].tolist() == state(0.1, 0.2)["w"].tolist()


# ---- clients ----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(worlds: Callable[[str], World]) -> FederatedClassifier:
    return worlds("federated").open()


def test_a_round_is_the_mean_of_what_each_client_makes_of_the_weights(model: FederatedClassifier) -> None:
    federation, start = model.federation, state_of(model)
    plan = federation.plan(start, (1, 2), rounds=1, seed=5)
    taught = [train_client(twin(model), federation.clients[client], start, plan, 0, client) for client in (1, 2)]
    by_hand = average(taught, [len(federation.clients[client]) for client in (1, 2)])
    found = in_process(model, federation.clients, plan, Server(start))
    assert all(torch.equal(found[name], tensor) for name, tensor in by_hand.items())
    assert all(torch.equal(start[name], tensor) for name, tensor in state_of(model).items())


def test_clients_outside_the_plan_are_never_asked(model: FederatedClassifier) -> None:
    start = state_of(model)
    clients = {client: items for client, items in model.federation.clients.items() if client != 0}
    server = Server(start, since=("round_start",))
    federation = replace(model.federation, clients=clients)  # client 0 is not even there
    federation.teach(model, federation.plan(start, (1, 2, 3), rounds=1, seed=0), server)
    assert sorted(server.history.moved["round_start"]) == [1, 2, 3]


def test_no_round_changes_nothing(model: FederatedClassifier) -> None:
    start = state_of(model)
    model.federation.teach(model, model.federation.plan(start, (1, 2), rounds=0, seed=0), Server(start))
    assert all(torch.equal(start[name], tensor) for name, tensor in state_of(model).items())


def test_the_clients_that_go_are_those_whose_items_do(model: FederatedClassifier) -> None:
    federation = model.federation
    assert federation.going(federation.clients[2]) == (2,)
    assert federation.going([*federation.clients[3], *federation.clients[0]]) == (0, 3)
    assert federation.staying((0, 3)) == (1, 2)


def test_parts_of_clients_strangers_and_everybody_are_refused(model: FederatedClassifier) -> None:
    federation = model.federation
    own = federation.clients[2]
    with pytest.raises(DataError, match=r"^no client is to be forgotten: give the items of at least one$"):
        federation.going([])
    with pytest.raises(
        DataError, match=r"^client 2 has 5 items, and 1 of them are to be forgotten: a federation forgets"
    ):
        federation.going(own[:1])
    with pytest.raises(
        DataError, match=r"^item 'other' belongs to no client: forget the items that clients have taught$"
    ):
        federation.going([*own, replace(own[0], id="other")])  # type: ignore[type-var]
    with pytest.raises(
        DataError, match=r"^all 4 clients are to be forgotten: nobody would be left whose model to keep$"
    ):
        federation.going([item for items in federation.clients.values() for item in items])


def test_a_federation_that_nobody_recorded_remembers_nothing(model: FederatedClassifier) -> None:
    with pytest.raises(NeedNotMet, match=r"^method 'conda' needs what the server has recorded in training"):
        replace(model.federation, history=None).remembered("conda")
