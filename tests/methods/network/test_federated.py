"""Methods on federations: dampening, ascent in a ball, calibrated rounds, by hand and on a little federation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from genunlearn.contracts import Splits
from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of
from genunlearn.domains.network.federated.server import History, KeptRound, Reply, State
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import ConfigError, NeedNotMet
from genunlearn.methods.network.conda import ConDa, compared
from genunlearn.methods.network.fed_eraser import Calibrator, FedEraser, calibrated
from genunlearn.methods.network.fed_retrain import FedRetrain
from genunlearn.methods.network.pga import PGA, project, squared_distance
from tests.world import World

Made = tuple[FederatedClassifier, Splits]


@pytest.fixture
def made(worlds: Callable[[str], World]) -> Made:
    world = worlds("federated")
    return world.open(), world.splits


def weights(model: FederatedClassifier) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.network.named_parameters()}


def same(one: State, other: State) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def remembering(model: FederatedClassifier, **changes: Any) -> FederatedClassifier:
    """The same model, whose server remembers other things."""
    history = model.federation.history
    assert history is not None
    model.federation = replace(model.federation, history=replace(history, **changes))
    return model


# ---- contribution dampening -------------------------------------------------------------------------------------


def test_groups_of_clients_are_compared_as_text_and_code_say() -> None:
    moved = {client: {"w": torch.tensor([value])} for client, value in enumerate([8.0, 4.0, 2.0, 2.0])}
    forget, others = compared(moved, (0, 1), "others_over_forget")
    assert (float(forget["w"]), float(others["w"])) == (6.0, 4.0)  # (8 + 4) / 2, and (8 + 4 + 2 + 2) / 4
    # The code's "others" leave out the first client that goes, so that the second leaks in: (4 + 2 + 2) / 3; swapped.
    forget, others = compared(moved, (0, 1), "released")
    assert (float(forget["w"]), float(others["w"])) == (pytest.approx(8 / 3), 6.0)


def test_weights_that_the_client_alone_has_moved_are_dampened_most(made: Made) -> None:
    model, splits = made
    before = weights(model)
    name = next(iter(before))
    moved = {client: {key: torch.ones_like(tensor) for key, tensor in before.items()} for client in range(4)}
    moved[0][name] = torch.full_like(before[name], 5.0)
    remembering(model, moved={"round_start": moved})
    report = ConDa(alpha=0.5, strength=0.5).apply(model, splits)
    # Everywhere else r = 1. Here it is (5 + 1 + 1 + 1) / 4 / 5 = 0.4, and the factor 0.5 * 0.4.
    assert report.changed == (name,)
    assert report.details == {
        "dampened": before[name].numel(),
        "weights": sum(map(torch.numel, before.values())),
        "clients": [0],
    }
    after = weights(model)
    assert torch.allclose(after.pop(name), 0.2 * before.pop(name))
    assert same(after, before)


def test_lambda_0_sets_exactly_what_is_selected_to_0(made: Made) -> None:
    model, splits = made
    before = weights(model)
    count = ConDa(alpha=0.95, strength=0).apply(model, splits).details["dampened"]
    changed = sum(int((after != before[name]).sum()) for name, after in weights(model).items())
    assert all(bool(((after == before[name]) | (after == 0)).all()) for name, after in weights(model).items())
    assert 0 < changed <= count


@pytest.mark.parametrize("alpha", [0.3, 0.4])
def test_as_printed_with_the_published_settings_it_is_the_identity(made: Made, alpha: float) -> None:
    model, splits = made
    before = state_of(model)
    report = ConDa(rule="printed", alpha=alpha).apply(model, splits)
    assert report.changed == () and same(state_of(model), before)


def test_the_released_direction_dampens_what_the_client_has_moved_least(made: Made) -> None:
    model, splits = made
    before = weights(model)
    name = next(iter(before))
    moved = {client: {key: torch.ones_like(tensor) for key, tensor in before.items()} for client in range(4)}
    moved[0][name] = torch.full_like(before[name], 0.1)
    remembering(model, moved={"round_start": moved})
    assert ConDa(alpha=0.5, direction="released").apply(model, splits).changed == (name,)
    assert torch.allclose(weights(model)[name], 0.1 * before[name], atol=1e-6)


def test_statistics_are_dampened_where_that_is_asked_for_and_counters_never(made: Made) -> None:
    model, splits = made
    before = state_of(model)
    history = model.federation.remembered("conda")
    moved = {client: dict(state) for client, state in history.moved["round_start"].items()}
    for client, state in moved.items():
        moved[client] = {name: torch.full_like(t, 9.0 if client == 0 else 1.0) for name, t in state.items()}
    remembering(model, moved={"round_start": moved})
    ConDa(alpha=0.5, buffers=True).apply(model, splits)
    buffers = {name for name, _ in model.network.named_buffers()}
    changed = {name for name in buffers if not torch.equal(before[name], state_of(model)[name])}
    assert changed == {name for name in buffers if not name.endswith("num_batches_tracked")}


def test_what_it_cannot_work_on_is_refused_in_one_line(made: Made) -> None:
    model, splits = made
    with pytest.raises(
        ConfigError, match=r"^method.alpha = 0.25 selects nothing: where 1 of 4 clients go, no ratio is"
    ):
        ConDa(alpha=0.25).apply(model, splits)
    history = model.federation.remembered("conda")
    absent = {client: state for client, state in history.moved["round_start"].items() if client != 0}
    remembering(model, moved={"round_start": absent})
    with pytest.raises(ConfigError, match=r"^client 0 never took part: the clients of this federation are 1 to 3$"):
        ConDa().apply(model, splits)
    with pytest.raises(ConfigError, match=r"^no client is to be forgotten: name at least one$"):
        ConDa().forget(model, history, ())
    with pytest.raises(
        ConfigError, match=r"^all 4 clients are to be forgotten: nobody would be left whose model to keep$"
    ):
        ConDa().forget(model, history, (0, 1, 2, 3))
    with pytest.raises(NeedNotMet, match=r"^method 'conda' needs movements since 'initial', which the server has not"):
        ConDa(since="initial").apply(model, splits)


def test_a_client_that_moved_nothing_leaves_the_weights_alone(made: Made) -> None:
    model, splits = made
    before = state_of(model)
    history = model.federation.remembered("conda")
    idle = {name: torch.zeros_like(tensor) for name, tensor in history.moved["round_start"][0].items()}
    remembering(model, moved={"round_start": {**history.moved["round_start"], 0: idle}})
    assert ConDa().apply(model, splits).changed == () and same(state_of(model), before)


# ---- projected gradient ascent ----------------------------------------------------------------------------------


def test_weights_outside_the_ball_come_back_to_its_surface() -> None:
    inside, outside = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([4.0, 4.0])}
    reference = {"w": torch.tensor([1.0, 0.0])}
    project(inside, reference, 1.0)
    project(outside, reference, 1.0)
    assert inside["w"].tolist() == [1.0, 0.0]
    assert outside["w"].tolist() == pytest.approx([1.6, 0.8])  # (3, 4) has length 5, and becomes (0.6, 0.8)
    assert squared_distance({"w": torch.tensor([4.0, 4.0])}, reference) == 25.0


def test_without_ascent_it_is_what_the_others_made_of_the_last_round(made: Made) -> None:
    model, splits = made
    last = {client: {n: torch.full_like(t, float(client)) for n, t in state_of(model).items()} for client in range(4)}
    remembering(model, last=last)
    # Steps too small to be seen: clients 1, 2 and 3 have five items each, so that the reference is their mean, 2.
    PGA(learning_rate=1e-30, stop_distance=None, rounds=0, epochs=1).run(None, model, splits, FileJournal(None))  # type: ignore[arg-type]
    assert all(float(weight.mean()) == pytest.approx(2.0) for weight in weights(model).values())


def test_ascent_stops_far_from_the_clients_own_model_and_without_its_weights_it_is_refused(made: Made) -> None:
    model, splits = made
    run = PGA(rounds=0, batch_size=2, stop_distance=1e-9).run(None, model, splits, FileJournal(None))  # type: ignore[arg-type]
    assert run.details["ascent_steps"] == [1]
    history = model.federation.remembered("pga")
    remembering(model, last={client: state for client, state in history.last.items() if client != 0})
    with pytest.raises(
        NeedNotMet, match=r"^method 'pga' needs every client's last weights, and those of client 0 were"
    ):
        PGA().run(None, model, splits, FileJournal(None))  # type: ignore[arg-type]


# ---- FedEraser and retraining -----------------------------------------------------------------------------------


def test_a_calibrated_step_has_the_new_direction_and_the_old_length() -> None:
    found = calibrated(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.5]), torch.tensor([3.0, 4.0]))
    assert found.tolist() == [1.0, 6.0]  # a length of 5 along (0, 1)
    still = calibrated(torch.tensor([1.0, 1.0]), torch.zeros(2), torch.tensor([3.0, 4.0]))
    assert still.tolist() == [1.0, 1.0]


def test_a_kept_round_gives_the_length_and_the_replies_the_direction() -> None:
    def state(weight: float, mean: float) -> State:
        return {"weight": torch.tensor([weight]), "running_mean": torch.tensor([mean])}

    kept = KeptRound(start=state(0.0, 0.0), states={0: state(100.0, 100.0), 1: state(1.0, 0.0), 2: state(3.0, 0.0)})
    server = Calibrator(state(0.0, 0.0), [kept], frozenset({"weight"}), "equal")
    found = server.close(state(10.0, 0.0), [Reply(2, state(9.0, 4.0), 1), Reply(1, state(9.5, 2.0), 1)])
    # Clients 1 and 2 once moved by (1 + 3) / 2 = 2 and now go down: 10 - 2. Client 0 does not count. Statistics: mean.
    assert found["weight"].tolist() == [8.0] and found["running_mean"].tolist() == [3.0]


def test_without_kept_rounds_there_is_nothing_to_go_through(made: Made) -> None:
    model, splits = made
    with pytest.raises(NeedNotMet, match=r"kept none: set federation.keep_every$"):
        FedEraser().run(None, remembering(model, kept=[]), splits, FileJournal(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [FedEraser(), FedRetrain(rounds=2)], ids=["fed_eraser", "fed_retrain"])
def test_nothing_of_the_client_that_goes_is_looked_at(made: Made, method: Any) -> None:
    model, splits = made
    method.run(None, model, splits, FileJournal(None))
    found = state_of(model)
    other = made_with_other_items(model, method, splits)
    assert same(found, other)


def made_with_other_items(model: FederatedClassifier, method: Any, splits: Splits) -> State:
    """What comes of the method where the client that goes has had other items, and has sent other weights."""
    history = model.federation.remembered("a test")
    kept = [
        KeptRound(one.start, {**one.states, 0: {name: tensor * 0 for name, tensor in one.states[0].items()}})
        for one in history.kept
    ]
    clients = {**model.federation.clients, 0: [replace(item, target=(item.target + 1) % 4) for item in splits.forget]}
    history = History(history.initial, history.moved, history.last, kept)
    other = FederatedClassifier(model.network, federation=replace(model.federation, clients=clients, history=history))
    method.run(None, other, splits, FileJournal(None))
    return state_of(other)
