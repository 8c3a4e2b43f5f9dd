"""SalUn with random labels: the mask by hand, what it holds still, and the digits."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from genunlearn.contracts import Splits
from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import NeedNotMet
from genunlearn.lab.network.study import Lab
from genunlearn.methods.general.salun import MaskedRelabelling, SalUnLabels
from tests.small_networks import kept_and_forgotten, unlearn


def sums() -> tuple[Regressor, Splits]:
    """y = w1 x1 + w2 x2 with w = (1, 1); the forget items depend on x1 far more than on x2."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.ones(1, 2)
    forget = as_items((torch.tensor([[2.0, 0.5], [2.0, -0.5]]), torch.tensor([0.0, 0.0])), prefix="f")
    retain = as_items((torch.tensor([[0.0, 1.0]]), torch.tensor([5.0])), prefix="r")
    return Regressor(layer), Splits(forget=forget, retain=retain)


def test_gradients_are_summed_with_their_signs() -> None:
    # 2 (w x - y) x: 2 * 2.5 * (2, 0.5) = (10, 2.5) and 2 * 1.5 * (2, -0.5) = (6, -1.5); together (16, 1).
    model, splits = sums()
    for batch_size in (1, 2):
        method = SalUnLabels(batch_size=batch_size)
        gradients = method._gradients(model, dict(model.module.named_parameters()), splits)
        assert gradients["weight"].tolist() == [[16.0, 1.0]]


def test_only_the_salient_weight_moves() -> None:
    model, splits = sums()
    outcome = unlearn(model, SalUnLabels(share=0.5), splits, rate=0.1, steps=5, batch=2)
    assert model.module.weight[0, 1] == 1.0
    assert model.module.weight[0, 0] != 1.0
    assert outcome.reason == "relabelled on 1 of 2 weights"
    model, splits = sums()
    unlearn(model, SalUnLabels(share=1.0), splits, rate=0.1, steps=5, batch=2)
    assert (model.module.weight != 1.0).all()


def test_the_loss_is_that_of_random_labels() -> None:
    calls = []

    def train(objective: MaskedRelabelling, splits: Splits) -> None:
        calls.append((objective, splits))

    model, splits = sums()
    SalUnLabels(gamma=2, alpha=3, always_wrong=True).run(train, model, splits, FileJournal(None))
    ((objective, relabelled),) = calls
    assert (objective.gamma, objective.alpha) == (2, 3)
    assert [item.target.item() for item in relabelled.forget] == [5.0, 5.0]
    assert relabelled.retain == splits.retain


def test_a_lora_is_refused() -> None:
    from peft import LoraConfig, get_peft_model

    model, splits = sums()
    model.module.requires_grad_(False)
    model.module = get_peft_model(nn.Sequential(model.module), LoraConfig(target_modules=["0"]))
    with pytest.raises(NeedNotMet, match=r"set parameters.kind = 'full'"):
        SalUnLabels().run(None, model, splits, FileJournal(None))


@pytest.mark.slow
def test_a_digit_is_forgotten_on_half_of_the_weights(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    before = torch.cat([weight.detach().flatten().clone() for weight in lab.original.module.parameters()])
    unlearn(lab.original, SalUnLabels(), lab.splits, rate=1e-3, steps=60)
    after = torch.cat([weight.detach().flatten() for weight in lab.original.module.parameters()])
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.3 and retain > 0.95
    assert (before != after).float().mean() == pytest.approx(0.5, abs=0.01)
