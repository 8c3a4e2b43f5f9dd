"""Metrics of classifiers and regressors on networks whose answers can be read off."""

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.evaluation.network.metrics import (
    CLASSIFIER_SUITE,
    ZRF,
    Accuracy,
    ActivationDistance,
    MeanAbsoluteError,
    MeanSquaredError,
    OracleGap,
    ToW,
    Wasserstein,
    ZRFAuthors,
)
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.ops.randomness import zero_retrain_forgetting, zero_retrain_forgetting_authors
from genunlearn.records import Result


class Told(nn.Module):
    """Answers with its input, shifted: items are their own logits."""

    def __init__(self, shift: list[float]) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.calls = 0

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.shift


def items(name: str, probabilities: list[list[float]], labels: list[int]) -> list[Item]:
    return as_items((torch.tensor(probabilities).log(), torch.tensor(labels)), prefix=name)


DATA = {
    "forget": items("f", [[0.75, 0.25], [0.6, 0.4]], [0, 0]),
    "retain": items("r", [[0.25, 0.75], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8]], [1, 1, 0, 0]),
    "test": items("t", [[0.75, 0.25], [0.25, 0.75]], [0, 0]),
}
# The log odds of class 0 are log 3 and log 1.5 on forget, so that a shift of -log 2 turns the second item over alone.
ORIGINAL, HALF, NONE = [0.0, 0.0], [-math.log(2), 0.0], [-math.log(20), 0.0]


def predictions(*shifts: list[float], data=DATA, adapter: type[NetworkDomain] = Classifier) -> list[Predictions]:
    """One for each shift; those after the first are the first one's oracles."""
    oracles = [Predictions(adapter(Told(shift)), data) for shift in shifts[1:]]
    return [Predictions(adapter(Told(shifts[0])), data, oracles=oracles), *oracles]


def by_group(results: list[Result]) -> dict[str | None, float | None]:
    return {result.group: result.value for result in results}


def test_accuracy_with_exact_intervals() -> None:
    results = Accuracy().measure(predictions(ORIGINAL)[0], "original")
    assert by_group(results) == {"forget": 1.0, "retain": 0.75, "test": 0.5}
    forget, retain, _ = results
    assert (forget.n, forget.target, forget.higher_is_better, retain.higher_is_better) == (2, "original", None, True)
    assert forget.low == pytest.approx(0.025**0.5) and forget.high == 1.0  # Clopper-Pearson, 2 of 2


def test_answers_are_computed_once() -> None:
    (probes,) = predictions(ORIGINAL)
    CLASSIFIER_SUITE.measure(probes, "original")
    CLASSIFIER_SUITE.measure(probes, "original")
    assert probes.model.module.calls == 3  # one batch a group; the untrained is another network


def test_gap_to_the_oracles_is_zero_within_their_spread() -> None:
    # Forget accuracies of the oracles: 0.5, 0, 0.5; mean 1/3, deviation 0.288675. The network has 1: gap 2/3.
    probes = predictions(ORIGINAL, HALF, NONE, HALF)[0]
    results = {result.group: result for result in OracleGap().measure(probes, "x")}
    half = 4.302653 * 0.288675 * math.sqrt(4 / 3)
    forget = results["forget"]
    assert (forget.value, forget.low, forget.high) == pytest.approx((2 / 3, 2 / 3 - half, 2 / 3 + half), abs=1e-5)
    assert forget.higher_is_better is None
    # Retain: 3/4 against 3/4, then all called 1 but the third unless its odds 9 beat the shift: HALF 3/4, NONE 1/2.
    # Gap 3/4 - (3/4 + 1/2 + 3/4) / 3 = 1/12. Test: 1/2 against 1/2 (odds 3 beat 2), 0, 1/2: gap 1/6.
    assert results["retain"].value == pytest.approx(1 / 12)
    assert results["test"].value == pytest.approx(1 / 6)
    assert results["mean"].value == pytest.approx((2 / 3 + 1 / 12 + 1 / 6) / 3)
    assert results["mean"].higher_is_better is False


def test_gap_to_fewer_than_three_oracles_is_no_number() -> None:
    (result,) = OracleGap().measure(predictions(ORIGINAL, HALF, HALF)[0], "x")
    assert result.value is None and "3 oracles or more, 2 given" in result.skipped


def test_an_oracle_is_compared_with_the_others() -> None:
    oracles = predictions(HALF, NONE, HALF)
    probes = Predictions(oracles[0].model, DATA, oracles=oracles)
    assert [other.model.module.shift.tolist() for other in probes.others] == [
        pytest.approx(NONE),
        pytest.approx(HALF),
    ]
    # Forget: 0.5 less the mean of 0 and 0.5.
    assert by_group(OracleGap().measure(probes, "oracle"))["forget"] == pytest.approx(0.25)


def test_tow_by_hand() -> None:
    # Gaps to HALF are 1/2, 0, 0: 1/2. To NONE 1, 1/4, 1/2: 0. Mean 1/4.
    (result,) = ToW().measure(predictions(ORIGINAL, HALF, NONE)[0], "x")
    assert (result.value, result.n) == (pytest.approx(0.25), 2)
    assert (result.low, result.high) == (0.0, 1.0)  # a t-interval over two is wider than the scale
    assert ToW().measure(predictions(HALF, HALF)[0], "x")[0].value == 1.0


def test_tow_names_what_is_missing() -> None:
    probes = predictions(ORIGINAL, HALF, data={"forget": DATA["forget"]})[0]
    assert "retain, test" in ToW().measure(probes, "x")[0].skipped


def test_activation_distance_by_hand() -> None:
    # Shifted by -log 3, odds 3 become 1: (3/4, 1/4) to (1/2, 1/2) is 1/4 sqrt 2. Odds 1.5 become 1/2: 3/5 to 1/3.
    probes = predictions(ORIGINAL, [-math.log(3), 0.0])[0]
    results = {result.group: result for result in ActivationDistance().measure(probes, "x")}
    expected = (1 / 4 + (3 / 5 - 1 / 3)) / 2 * math.sqrt(2)
    assert results["forget"].value == pytest.approx(expected, abs=1e-6)
    assert results["forget"].higher_is_better is False


@pytest.mark.parametrize("metric", [ActivationDistance, ToW])
def test_without_an_oracle_there_is_no_distance(metric: type) -> None:
    (result,) = metric().measure(predictions(ORIGINAL)[0], "x")
    assert result.value is None and "needs an oracle" in result.skipped


def test_zrf_compares_with_an_untrained_network() -> None:
    # `Told` starts from shift 0, so its untrained self answers with the inputs.
    logits = torch.stack([item.inputs["x"] for item in DATA["forget"]])
    shifted = logits + torch.tensor(NONE)
    (probes,) = predictions(NONE)
    for metric, score in ((ZRF, zero_retrain_forgetting), (ZRFAuthors, zero_retrain_forgetting_authors)):
        (result,) = metric().measure(probes, "x")
        assert result.value == pytest.approx(float(score(shifted, logits).mean()), abs=1e-6)
        assert (result.group, result.n, result.higher_is_better) == ("forget", 2, None)
    assert ZRF().measure(predictions(ORIGINAL)[0], "x")[0].value == pytest.approx(1.0)


NUMBERS = {
    "forget": as_items((torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 4.0])), prefix="f"),
    "retain": as_items((torch.tensor([[0.0]]), torch.tensor([3.0])), prefix="r"),
    "test": as_items((torch.tensor([[5.0], [5.0]]), torch.tensor([5.0, 7.0])), prefix="t"),
}


def test_errors_are_in_the_targets_unit_whatever_the_training_loss() -> None:
    probes = Predictions(Regressor(Told([0.0]), error="huber", scale=10.0), NUMBERS)
    assert by_group(MeanAbsoluteError().measure(probes, "x")) == {"forget": 0.5, "retain": 3.0, "test": 1.0}
    assert by_group(MeanSquaredError().measure(probes, "x")) == {"forget": 0.5, "retain": 9.0, "test": 2.0}


def test_gap_of_a_regressor_is_in_its_error() -> None:
    # Shifted by 1, errors on forget are 0 and 1, on retain 2, on test 1 and 1; the network's are 1/2, 3, 1.
    probes = predictions([0.0], [1.0], [1.0], [1.0], data=NUMBERS, adapter=Regressor)[0]
    assert by_group(OracleGap().measure(probes, "x")) == {
        "forget": 0.0, "retain": 1.0, "test": 0.0, "mean": pytest.approx(1 / 3),
    }  # fmt: skip


def test_wasserstein_is_the_published_one() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 1, generator=generator)
    data = {"forget": as_items((values, values[:, 0]))}
    model, oracle = Regressor(Told([0.0])), Regressor(nn.Linear(1, 1))
    probes = Predictions(model, data, oracles=[Predictions(oracle, data)])
    expected = wasserstein_distance(values[:, 0].numpy(), oracle.predict(data["forget"])[:, 0].numpy())
    (result,) = Wasserstein().measure(probes, "x")
    assert result.value == pytest.approx(expected, abs=1e-6)
    assert (result.low, result.high) == (None, None)  # one oracle has no spread


def test_wasserstein_by_hand_over_oracles() -> None:
    # Predictions 1 and 4; shifted by 2 they move by 2, by -1 they move by 1: mean 1.5.
    probes = predictions([0.0], [2.0], [-1.0], data=NUMBERS, adapter=Regressor)[0]
    assert by_group(Wasserstein().measure(probes, "x"))["forget"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("metric", "adapter", "data"),
    [(Accuracy, Regressor, NUMBERS), (Wasserstein, Classifier, DATA), (ZRF, Regressor, NUMBERS)],
)
def test_a_metric_of_the_other_domain_is_skipped(metric: type, adapter: type[NetworkDomain], data: dict) -> None:
    (result,) = metric().measure(Predictions(adapter(Told([0.0])), data), "x")
    assert result.value is None and "not for" in result.skipped
