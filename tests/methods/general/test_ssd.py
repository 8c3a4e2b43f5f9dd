"""Selective synaptic dampening on networks of one and two weights, worked by hand, and on the digits."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from genunlearn.contracts import Domain, Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.lab.network.study import Lab
from genunlearn.methods.general.ssd import SSD
from tests.small_networks import kept_and_forgotten


def linear(*weights: float) -> Regressor:
    layer = nn.Linear(len(weights), 1, bias=False)
    layer.weight.data = torch.tensor([weights])
    return Regressor(layer)


def item(x: list[float], y: float, name: str) -> list[Item]:
    return as_items((torch.tensor([x]), torch.tensor([y])), prefix=name)


def weights(model: Regressor) -> list[float]:
    return model.module.weight.detach().flatten().tolist()


# w = (1, 1), loss (w x - y)^2, gradient 2 (w x - y) x.
# forget: x = (1, 0), y = 0: gradient (2, 0), I_f = (4, 0).   retain: x = (0, 1), y = 0: gradient (0, 2).
SPLITS = Splits(forget=item([1.0, 0.0], 0.0, "f"), retain=item([0.0, 1.0], 0.0, "r"))


def test_batches_of_one_give_the_mean_of_squares() -> None:
    # I_D = (4 / 2, 4 / 2): 4 > alpha 2 for alpha = 1, factor 2 / 4.
    model = linear(1.0, 1.0)
    report = SSD(alpha=1, batch_size=1).apply(model, SPLITS)
    assert weights(model) == pytest.approx([0.5, 1.0])
    assert report.changed == ("weight",)
    assert report.details["dampened"] == 1
    assert not report.details["is_collapsed"]


def test_the_importance_depends_on_the_batch_size_by_default() -> None:
    # One batch of both: mean gradient (1, 1), I_D = (1, 1), factor 1 / 4.
    model = linear(1.0, 1.0)
    SSD(alpha=1, batch_size=2).apply(model, SPLITS)
    assert weights(model) == pytest.approx([0.25, 1.0])


def test_the_importance_of_examples_does_not() -> None:
    for batch_size in (1, 2):
        model = linear(1.0, 1.0)
        SSD(alpha=1, batch_size=batch_size, importance="example").apply(model, SPLITS)
        assert weights(model) == pytest.approx([0.5, 1.0])


def test_strength_dampens_more() -> None:
    model = linear(1.0, 1.0)
    SSD(alpha=1, batch_size=1, strength=0.5).apply(model, SPLITS)
    assert weights(model) == pytest.approx([0.25, 1.0])


def test_what_does_not_stand_out_stays() -> None:
    model = linear(1.0, 1.0)
    report = SSD(alpha=2, batch_size=1).apply(model, SPLITS)
    assert weights(model) == [1.0, 1.0]
    assert report.changed == () and report.details["dampened"] == 0


# w = 4.  forget: x = 1, y = 0: gradient 8, I_f = 64.   retain: x = 1, y = 4: gradient 0.   I_D = 32.
# alpha = 1 halves the weight: the retain loss becomes (2 - 4)^2 = 4.   alpha = 2 selects nothing: 64 > 64 is false.
COLLAPSING = Splits(forget=item([1.0], 0.0, "f"), retain=item([1.0], 4.0, "r"))


def test_a_collapse_is_reported_with_a_safe_alpha() -> None:
    model = linear(4.0)
    details = SSD(alpha=1, batch_size=1, soften=False).apply(model, COLLAPSING).details
    assert weights(model) == [2.0]
    assert details["is_collapsed"]
    assert (details["retain_loss_before"], details["retain_loss"]) == (0.0, 4.0)
    assert (details["alpha"], details["safe_alpha"]) == (1.0, 2.0)


def test_a_collapse_is_softened_by_default() -> None:
    model = linear(4.0)
    details = SSD(alpha=1, batch_size=1).apply(model, COLLAPSING).details
    assert weights(model) == [4.0]
    assert not details["is_collapsed"]
    assert (details["alpha"], details["retain_loss"]) == (2.0, 0.0)


def test_a_domain_without_a_loss_of_one_example_is_refused() -> None:
    class Plain(Domain):
        name = "lm"
        module = nn.Linear(1, 1)

        def collate(self, items: list) -> object:
            return items

        def example_loss(self, examples: object) -> torch.Tensor:
            return self.module.weight.sum().expand(1)

        def save(self, folder: object) -> None:
            raise AssertionError("nothing is saved here")

    with pytest.raises(MismatchError, match="importance = 'example' does not fit domain 'lm'"):
        SSD(importance="example").apply(Plain(), COLLAPSING)


def test_a_lora_is_refused() -> None:
    from peft import LoraConfig, get_peft_model

    model = linear(1.0)
    model.module = get_peft_model(nn.Sequential(model.module), LoraConfig(target_modules=["0"]))
    with pytest.raises(NeedNotMet, match=r"set parameters.kind = 'full'"):
        SSD().apply(model, COLLAPSING)


@pytest.mark.slow
def test_a_digit_is_forgotten_at_a_safe_strength(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    report = SSD().apply(lab.original, lab.splits)
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.3 and retain > 0.8
    assert report.details["retain_loss"] - report.details["retain_loss_before"] <= 0.2
    assert report.details["alpha"] in (10.0, 20.0, 40.0)
