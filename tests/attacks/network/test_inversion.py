"""Model inversion on networks whose typical members are known."""

import pytest
import torch
from torch import Tensor, nn

from genunlearn.attacks.network.inversion import ModelInversion, correlation
from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor

PICTURE = torch.tensor([[1.0, -1.0], [0.0, 2.0]])


def linear(weight: Tensor) -> Classifier:
    """Two classes told apart along `weight`."""
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.stack([weight.flatten(), -weight.flatten()])
    return Classifier(nn.Sequential(nn.Flatten(), layer))


@pytest.fixture
def splits() -> Splits:
    forget = as_items((torch.stack([PICTURE + 1, PICTURE - 1]), torch.tensor([0, 0])))
    return Splits(forget=forget, retain=as_items((torch.stack([-PICTURE, -PICTURE]), torch.tensor([1, 1]))))


def test_correlation_by_hand() -> None:
    # Against (1, 2, 3): (2, 4, 6) gives 1, its negative -1, (1, 0, 1) gives 0, and so does a constant.
    rows = torch.tensor([[2.0, 4, 6], [-2, -4, -6], [1, 0, 1], [5, 5, 5]])
    assert correlation(rows, torch.tensor([1.0, 2, 3])).tolist() == pytest.approx([1, -1, 0, 0], abs=1e-9)
    assert correlation(rows, torch.zeros(3)).tolist() == [0, 0, 0, 0]


def test_a_linear_network_paints_its_weights(splits: Splits) -> None:
    # The gradient is along w and the norm shrinks the rest away, so every picture ends up along w.
    attack = ModelInversion(pictures=3, steps=600, l2_weight=0.1)
    painted = attack.paint(linear(PICTURE), 0, splits.forget[0])
    assert painted.shape == (3, 2, 2)
    (result,) = attack.run(linear(PICTURE), splits, "original")
    assert (result.name, result.group, result.n) == ("inversion_likeness", "class 0", 3)
    assert result.value == pytest.approx(1.0, abs=1e-3)
    (turned,) = attack.run(linear(-PICTURE), splits, "unlearned")
    assert turned.value == pytest.approx(-1.0, abs=1e-3)


def test_the_network_stays_and_the_seed_decides(splits: Splits) -> None:
    model, attack = linear(PICTURE), ModelInversion(pictures=2, steps=3)
    weights = model.module[1].weight.clone()
    first, again = (attack.paint(model, 0, splits.forget[0]) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, ModelInversion(pictures=2, steps=3, seed=1).paint(model, 0, splits.forget[0]))
    assert torch.equal(model.module[1].weight, weights) and model.module[1].weight.grad is None


def test_one_result_a_class(splits: Splits) -> None:
    both = Splits(forget=[*splits.forget, *(splits.retain or ())])
    results = ModelInversion(pictures=1, steps=1).run(linear(PICTURE), both, "x")
    assert [result.group for result in results] == ["class 0", "class 1"]
    assert len(ModelInversion(pictures=1, steps=1, most_classes=1).run(linear(PICTURE), both, "x")) == 1


def test_words_have_no_picture() -> None:
    words = [Item(id="a", inputs={"input_ids": torch.tensor([1, 2])}, target=torch.tensor(0))]
    (result,) = ModelInversion().run(linear(PICTURE), Splits(forget=words), "x")
    assert result.value is None and "input_ids" in result.skipped
    (result,) = ModelInversion().run(Regressor(nn.Linear(1, 1)), Splits(forget=words), "x")
    assert result.value is None and "not for regression" in result.skipped
