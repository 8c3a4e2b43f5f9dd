"""What texts begin with is read once: their scores and gradients are those of single texts."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig
from genunlearn.domains.lm import beginnings
from genunlearn.domains.lm.beginnings import Sharing, find_sharing
from genunlearn.domains.lm.packed_attention import _attention, _by_products
from genunlearn.domains.lm.packing import answer_scores, pack
from genunlearn.engine import parameters
from tests.tiny_models import FAMILIES

OPEN = [2, 7, 1]
TEMPLATE = [([*OPEN, 8], [2, 8]), ([*OPEN, 8, 1, 8], [2]), ([*OPEN, 4, 5], [9, 0, 4])]
"""Different questions behind the same instructions."""
CHOICES = [([3, 1, 4], [1, 5]), ([2, 7], [1, 8, 2]), ([3, 1, 4], [1, 6, 9]), ([2, 7], [1]), ([6], [6, 2])]
"""Several answers to the same questions, and a question with one."""


@pytest.fixture
def always(monkeypatch):
    """Share however little it saves."""
    monkeypatch.setitem(beginnings.WORTHWHILE, "cpu", 1)


def test_a_row_worked_by_hand():
    pairs = [([1, 2, 3], [4]), ([1, 2, 5, 6], [7, 8])]
    packing = pack(pairs, torch.device("cpu"), Sharing([0, 0], [2], [0]))
    assert packing.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert packing.positions.tolist() == [[0, 1, 2, 3, 2, 3, 4, 5]]
    assert packing.predicting.tolist() == [2, 5, 6]
    assert packing.targets.tolist() == [4, 7, 8]
    assert packing.visible[0, 0].int().tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0],
                                                    [1, 1, 1, 1, 1, 1]]  # fmt: skip


def test_an_answer_may_begin_within_what_is_shared():
    packing = pack([([1], [2, 3]), ([1], [2, 4])], torch.device("cpu"), Sharing([0, 0], [2], [0]))
    assert packing.input_ids.tolist() == [[1, 2, 3, 4]]
    assert packing.predicting.tolist() == [0, 1, 0, 1]  # both first tokens from the same place


def test_what_saves_most_is_shared(tiny, always):
    network = tiny("llama").module
    assert find_sharing(TEMPLATE, network) == Sharing([0, 0, 0], [3], [0])
    assert find_sharing(CHOICES, network) == Sharing([0, 1, 0, 1, 2], [4, 2, 0], [0, 1, 4])
    assert find_sharing(TEMPLATE, network).saved == 6
    assert find_sharing(CHOICES, network).saved == 6


def test_nothing_is_shared_where_it_does_not_pay_or_dropout_is_on(tiny, monkeypatch):
    network = tiny("llama").module
    assert find_sharing(TEMPLATE, network) is None
    monkeypatch.setitem(beginnings.WORTHWHILE, "cpu", 1)
    assert find_sharing(TEMPLATE[:1], network) is None
    assert find_sharing([([1], [2]), ([3], [4])], network) is None
    network.config.attention_dropout = 0.1
    assert find_sharing(TEMPLATE, network.eval()) is not None
    assert find_sharing(TEMPLATE, network.train()) is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pairs", [TEMPLATE, CHOICES], ids=["template", "choices"])
def test_scores_and_gradients_are_those_of_single_texts(tiny, always, family, pairs):
    model = tiny(family)
    parameters.attach(model, ParametersConfig(kind="lora", rank=4), seed=0)
    weights = [*parameters.trainable(model.module).values()]
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.linspace(-0.02, 0.02, weight.numel()).view_as(weight))
    together, is_best = answer_scores(model.module, model.network, pairs, wants_best=True)
    apart = [answer_scores(model.module, model.network, [pair], wants_best=True) for pair in pairs]
    expected = torch.cat([scores for scores, _ in apart])
    assert torch.allclose(together, expected, atol=1e-5)
    assert is_best.tolist() == torch.cat([best for _, best in apart]).tolist()
    slopes = torch.linspace(-1, 1, len(expected))
    found, wanted = (torch.autograd.grad((values * slopes).sum(), weights) for values in (together, expected))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("is_causal", [True, False])
def test_plain_products_are_the_fused_attention(is_causal):
    """They stand in for the CPU's slow gradient in bfloat16; compared in float32, where both are exact enough."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 5, 8, requires_grad=True) for heads in (6, 2, 2))
    visible = None if is_causal else (torch.rand(2, 1, 5, 5) > 0.5) | torch.eye(5, dtype=torch.bool)
    pair = (
        _attention(query, key, value, visible, dropout=0.0, scale=None),
        _by_products(query, key, value, visible, None),
    )
    assert torch.allclose(*pair, atol=1e-6)
    slopes = [torch.autograd.grad(each.square().sum(), [query, key, value]) for each in pair]
    assert all(torch.allclose(*each, atol=1e-5) for each in zip(*slopes, strict=True))
