"""Membership of clients: shadow models rank methods, and the attack that ConDa is published with does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.conda import CondaMembership
from genunlearn.attacks.network.shadow import ShadowMembership
from genunlearn.contracts import ORIGINAL, UNLEARNED, Beside, Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.federated.adapter import FederatedClassifier, Federation, state_of
from genunlearn.domains.network.federated.server import Server
from genunlearn.domains.network.fitting import FitConfig

FEATURES, EACH = 24, 20


def points(count: int, seed: int, prefix: str) -> list[Item]:
    """Points whose labels are noise: they can only be learnt by heart."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return as_items((inputs, torch.randint(0, 2, (count,), generator=generator)), prefix=prefix)


@pytest.fixture(scope="module")
def world() -> tuple[FederatedClassifier, FederatedClassifier, Splits, Beside]:
    """A model that four clients have taught by heart, an oracle that the first never taught, and what attacks get."""
    items = points(4 * EACH, 0, "taught-")
    clients = {client: items[client * EACH : (client + 1) * EACH] for client in range(4)}
    local = FitConfig(epochs=8, learning_rate=0.02, batch_size=EACH, warm_share=None)
    models = []
    for taking_part in (range(4), range(1, 4)):
        federation = Federation(clients=clients, rounds=10, local=local)
        net = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 2))
        model = FederatedClassifier(net, federation=federation)
        model.reinitialise(1)
        plan = federation.plan(state_of(model), tuple(taking_part), rounds=federation.rounds, seed=0)
        federation.teach(model, plan, Server(plan.start))
        models.append(model)
    test = points(4 * EACH, 1, "test-")
    splits = Splits(
        forget=clients[0],
        retain=[item for client in (1, 2, 3) for item in clients[client]],
        holdout=points(2 * EACH, 2, "held-"),
        context=AttackContext(test=test),
    )
    original, oracle = models
    return original, oracle, splits, Beside(lambda: original, lambda: (oracle,))


def value(
    attack: ShadowMembership | CondaMembership, model: FederatedClassifier, splits: Splits, beside: Beside
) -> float:
    (result,) = attack.run(model, splits, UNLEARNED, beside)
    assert result.value is not None and result.low is not None and result.high is not None
    assert result.low <= result.value <= result.high
    return result.value


def softened(model: FederatedClassifier) -> FederatedClassifier:
    """A model that has forgotten nothing: the same answers, each a little less sure."""
    other = model.fresh(0)
    other.network.load_state_dict(model.network.state_dict())
    with torch.no_grad():
        other.network[-1].weight.mul_(0.9)
        other.network[-1].bias.mul_(0.9)
    return other


def test_shadow_models_tell_what_was_learnt_from_what_was_not(world) -> None:
    original, oracle, splits, beside = world
    attack = ShadowMembership(shadows=1)
    assert value(attack, original, splits, beside) > 0.75
    assert value(attack, oracle, splits, beside) < 0.65


def test_shadow_models_see_that_nothing_was_forgotten_and_the_published_attack_does_not(world) -> None:
    original, oracle, splits, beside = world
    unchanged, published = softened(original), CondaMembership(trees=50)
    forget = splits.forget
    assert torch.equal(unchanged.predict(forget).argmax(1), original.predict(forget).argmax(1))
    shadow = ShadowMembership(shadows=1)
    before, after, never = (value(shadow, model, splits, beside) for model in (original, unchanged, oracle))
    assert after == pytest.approx(before, abs=0.05) and after - never > 0.1
    before, after, never = (value(published, model, splits, beside) for model in (original, unchanged, oracle))
    # It knows the original by heart. Of the model that has forgotten nothing it says what it says of the oracle.
    assert before > 0.9
    assert abs(after - never) < 0.15 and before - after > 0.25


def test_without_what_they_need_they_are_skipped_with_the_reason(world) -> None:
    original, _, splits, beside = world
    (result,) = ShadowMembership().run(original, replace(splits, holdout=None), ORIGINAL, beside)
    assert result.skipped == "needs retain items, and held-out ones of the clients"
    (result,) = CondaMembership().run(original, splits, ORIGINAL, Beside())
    assert result.skipped == "needs the original"
    (result,) = CondaMembership().run(original, replace(splits, context=None), ORIGINAL, beside)
    assert result.skipped == "needs test items"
