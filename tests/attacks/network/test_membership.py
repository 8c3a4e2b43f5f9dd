"""Membership attacks: the published arithmetic, and that context and kind of non-members matter."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.membership import (
    RMIA,
    EntropyMembership,
    LossMembership,
    MatchedMembership,
    share_called_members,
    split_accuracy,
)
from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor


class Told(nn.Module):
    """Answers with its input."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.zero


def sure_of_0(probabilities: list[float], prefix: str, label: int = 0) -> list[Item]:
    """Items of which `Told` gives class 0 these probabilities."""
    odds = torch.tensor([[p, 1 - p] for p in probabilities]).log()
    return as_items((odds, torch.full((len(odds),), label)), prefix=prefix)


def test_published_svc_by_hand() -> None:
    # Members at 0, others at 4: rbf with gamma 1 keeps them apart, so that 0.1 and 0.2 are called members, 3.9 is not.
    retain, test = torch.zeros(20), torch.full((20,), 4.0)
    assert share_called_members(retain, test, torch.tensor([0.1, 3.9, 0.2, 4.0])) == 0.5


def test_logistic_form_is_the_published_multinomial_one() -> None:
    generator = torch.Generator().manual_seed(0)
    retain, test = torch.randn(60, generator=generator), torch.randn(20, generator=generator) + 1
    forget = torch.linspace(-1, 2, 4001)
    assert share_called_members(retain, test, forget, "logistic") == pytest.approx(
        published_logistic(retain.numpy(), test.numpy(), forget.numpy()), abs=3 / 4001
    )


def published_logistic(retain: np.ndarray, test: np.ndarray, forget: np.ndarray) -> float:
    """Multinomial regression at C = 1 with balanced classes: two weight vectors, both penalised."""
    features, labels = np.concatenate([retain, test]), np.repeat([1, 0], [len(retain), len(test)])
    weights = np.where(labels == 1, len(labels) / 2 / len(retain), len(labels) / 2 / len(test))

    def objective(parameters: np.ndarray) -> float:
        logits = features[:, None] * parameters[:2] + parameters[2:]
        chosen = logits[np.arange(len(labels)), labels]
        losses = np.logaddexp(logits[:, 0], logits[:, 1]) - chosen
        return float((weights * losses).sum() + (parameters[:2] ** 2).sum() / 2)

    w0, w1, b0, b1 = minimize(objective, np.zeros(4), tol=1e-10).x
    return float((forget * (w1 - w0) + b1 - b0 > 0).mean())


def test_entropy_attack_end_to_end() -> None:
    # Sure of retain, unsure of test; three of four forget items look like retain, whichever class is sure.
    splits = Splits(
        forget=sure_of_0([0.999, 0.001, 0.998, 0.5], "f"),
        retain=sure_of_0([0.999, 0.998, 0.001, 0.002], "r"),
        context=AttackContext(test=sure_of_0([0.5, 0.45, 0.55, 0.5], "t")),
    )
    (result,) = EntropyMembership().run(Classifier(Told()), splits, "unlearned")
    assert (result.name, result.target, result.group, result.value, result.n) == (
        "mia_entropy", "unlearned", "forget", 0.75, 4,
    )  # fmt: skip
    assert 0 < result.low < 0.75 < result.high < 1 and result.higher_is_better is None
    # By loss the item that is surely called the wrong class is nothing like a member.
    (result,) = LossMembership(learner="logistic").run(
        Classifier(Told()),
        Splits(forget=splits.forget, retain=sure_of_0([0.999] * 8, "r"), context=splits.context),
        "x",
    )
    assert result.value == 0.5


def test_loss_attack_of_a_regressor_is_on_the_absolute_error() -> None:
    def numbers(errors: list[float], prefix: str) -> list[Item]:
        return as_items((torch.tensor(errors)[:, None], torch.zeros(len(errors))), prefix=prefix)

    # Squared or scaled, the errors 0.5 and 1.5 would lie elsewhere; as they are, 1.3 is nearer to the test's.
    splits = Splits(
        forget=numbers([0.5, -0.5, 1.3, -1.5], "f"),
        retain=numbers([0.5, -0.5] * 8, "r"),
        context=AttackContext(test=numbers([1.5, -1.5] * 8, "t")),
    )
    (result,) = LossMembership().run(Regressor(Told(), scale=100.0), splits, "x")
    assert result.value == 0.5
    assert "not for regression" in EntropyMembership().run(Regressor(Told()), splits, "x")[0].skipped


def test_most_items_limits_both_sides(clouds, monkeypatch) -> None:
    seen: list[int] = []
    predict = Classifier.predict
    monkeypatch.setattr(Classifier, "predict", lambda self, items: seen.append(len(items)) or predict(self, items))
    attack = EntropyMembership(most_items=7)
    attack.run(clouds.original, clouds.splits, "x")
    assert seen == [7, 7, len(clouds.splits.forget)]
    assert "at most 7 retain" in attack.budget


def test_matched_attack_by_hand() -> None:
    # Losses of forget: below both of the others, or above; 3 of 4 pairs are in order.
    splits = Splits(forget=sure_of_0([0.9, 0.6], "f"), holdout=sure_of_0([0.7, 0.5], "h"))
    area, accuracy = MatchedMembership().run(Classifier(Told()), splits, "x")
    assert (area.name, area.group, area.value, area.n) == ("mia_matched", "matched", 0.75, 4)
    assert accuracy.name == "mia_matched_accuracy"
    assert accuracy.value is None and "10 items of both sides, 2 there" in accuracy.skipped


def test_split_accuracy_is_the_starter_kits() -> None:
    # Sets that do not overlap are told apart always; two halves of one set never better than chance on average.
    apart = split_accuracy(torch.zeros(30), torch.ones(50) * 9)
    same = torch.arange(400.0)
    assert apart == 1.0
    assert split_accuracy(same[::2], same[1::2]) == pytest.approx(0.5, abs=0.12)
    assert split_accuracy(same[::2], same[1::2], seed=1) == split_accuracy(same[::2], same[1::2], seed=1)


def test_matched_nonmembers_take_the_kind_out_of_the_attack(clouds) -> None:
    # An oracle never saw the third cloud. Against all test items the attack "finds" it; against its own kind it cannot.
    splits = clouds.splits
    matched = MatchedMembership().run(clouds.oracles[0], splits, "oracle")[0]
    unmatched = MatchedMembership(nonmembers="test").run(clouds.oracles[0], splits, "oracle")[0]
    assert matched.low < 0.5 < matched.high
    assert unmatched.group == "unmatched" and unmatched.high < 0.35  # far above others' losses: AUC near 0


def test_the_control_is_the_mean_over_oracles(clouds) -> None:
    splits, attack, beside = clouds.splits, MatchedMembership(), clouds.beside()
    single = [attack.run(oracle, splits, "oracle", beside)[0].value for oracle in clouds.oracles]
    control = attack.control(splits, beside)[0]
    assert (control.target, control.name) == ("oracle", "mia_matched")
    assert control.value == pytest.approx(sum(single) / 2)
    half = 12.7062 * abs(single[0] - single[1]) / 2  # t(0.975, 1) s / sqrt 2, and s = |a - b| / sqrt 2
    assert control.high == pytest.approx(min(1.0, control.value + half), abs=1e-4)


def test_a_missing_control_is_said(clouds) -> None:
    (control,) = MatchedMembership().control(clouds.splits, clouds.beside(oracles=()))
    assert control.target == "oracle" and control.value is None and "no control" in control.skipped


def test_rmia_by_hand() -> None:
    # One reference says 1/2 of everything; a = 1, so p(x) = 1/2 and ratios are twice the network's probability.
    # Population 0.3 and 0.6 (gamma 1): 0.9 reaches both, 0.5 one, 0.2 none. Forget 0.9, 0.5; holdout 0.5, 0.2.
    class Half(Told):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x + self.zero

    held = sure_of_0([0.5, 0.2], "h")
    splits = Splits(
        forget=sure_of_0([0.9, 0.5], "f"),
        holdout=held,
        context=AttackContext(test=[*held, *sure_of_0([0.3, 0.6], "t")], references=(Classifier(Half()),)),
    )
    area, found = RMIA(gamma=1.0, offset=1.0).run(Classifier(Told()), splits, "x")
    assert (area.name, area.value, area.n) == ("rmia", (1 + 1 + 0.5 + 1) / 4, 4)
    assert found.value is None and "needs 100 holdout items for a rate of 0.01, 2 there" in found.skipped
    (_, found) = RMIA(gamma=1.0, offset=1.0, false_positives=0.5).run(Classifier(Told()), splits, "x")
    assert (found.name, found.value, found.n) == ("rmia_tpr", 1.0, 2)  # one of two others allowed: above 0 are both


def test_rmia_takes_oracles_for_references_but_never_the_attacked_one(clouds) -> None:
    area = RMIA().run(clouds.oracles[0], clouds.splits, "oracle", clouds.beside())[0]
    assert area.value is not None and math.isfinite(area.value)
    (alone,) = RMIA().run(clouds.oracles[0], clouds.splits, "oracle", clouds.beside(clouds.oracles[:1]))
    assert alone.value is None and "needs a reference network" in alone.skipped


@pytest.mark.parametrize(
    ("attack", "needed"),
    [
        (EntropyMembership(), "needs retain and test items"),
        (LossMembership(), "needs retain and test items"),
        (MatchedMembership(), "needs matched items"),
        (MatchedMembership(nonmembers="test"), "needs test items"),
        (RMIA(), "needs a reference network|needs holdout items"),
    ],
)
def test_what_is_missing_is_said_and_no_number_given(attack, needed: str) -> None:
    (result,) = attack.run(Classifier(Told()), Splits(forget=sure_of_0([0.9], "f")), "x")
    assert result.value is None
    assert any(part in result.skipped for part in needed.split("|"))
