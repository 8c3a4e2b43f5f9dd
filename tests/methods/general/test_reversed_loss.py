"""Gradient ascent and gradient difference against sums worked by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from genunlearn.contracts import Batch, Examples
from genunlearn.errors import NeedNotMet
from genunlearn.methods.general.grad_ascent import GradAscent
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.registry import DOMAINS


class Coin:
    """The smallest classifier: the first of two logits is the input times one weight, the second is 0."""

    def __init__(self) -> None:
        self.weight = torch.tensor(math.log(3.0), requires_grad=True)

    def example_loss(self, examples: Examples) -> torch.Tensor:
        logits = torch.stack([examples["x"] * self.weight, torch.zeros_like(examples["x"])], dim=-1)
        return F.cross_entropy(logits, examples["y"], reduction="none")


def examples(x: list[float], y: list[int], weight: list[float] | None = None) -> Examples:
    ids = tuple(f"e{i}" for i in range(len(x)))
    return Examples(ids, torch.tensor(weight or [1.0] * len(x)), {"x": torch.tensor(x), "y": torch.tensor(y)})


# With w = log 3, an input of 1 has the odds 3 to 1: CE = log(4/3) for class 0 and log 4 for class 1.
# An input of 0 has even odds: CE = log 2 for both.
FORGET = examples([1.0, 1.0], [0, 1])
RETAIN = examples([0.0], [0])


def test_grad_ascent_is_minus_the_sum_over_the_forget_side() -> None:
    terms = GradAscent().loss(Batch(FORGET, RETAIN), Coin(), None)
    assert list(terms) == ["forget"]
    assert terms["forget"].sum.item() == pytest.approx(math.log(4 / 3) + math.log(4))
    assert terms["forget"].coefficient == -1.0
    assert terms["forget"].side == "forget"


def test_grad_ascent_gradient_by_hand() -> None:
    # d CE / d w = x (p0 - 1) for class 0 and x p0 for class 1: (3/4 - 1) + 3/4 = 1/2; its sign turns.
    coin = Coin()
    term = GradAscent().loss(Batch(FORGET), coin, None)["forget"]
    (term.coefficient * term.sum).backward()
    assert coin.weight.grad.item() == pytest.approx(-0.5)


def test_grad_diff_weighs_each_side() -> None:
    terms = GradDiff(gamma=0.5, alpha=2).loss(Batch(FORGET, RETAIN), Coin(), None)
    assert terms["forget"].coefficient == -0.5
    assert terms["retain"].coefficient == 2.0
    assert terms["retain"].sum.item() == pytest.approx(math.log(2))
    loss = sum(term.coefficient * term.sum / {"forget": 2, "retain": 1}[term.side] for term in terms.values())
    assert loss.item() == pytest.approx(-0.5 * (math.log(4 / 3) + math.log(4)) / 2 + 2 * math.log(2))


def test_examples_of_weight_zero_do_not_count() -> None:
    padded = examples([1.0, 1.0, 1.0], [0, 1, 1], [1.0, 1.0, 0.0])
    term = GradAscent().loss(Batch(padded), Coin(), None)["forget"]
    assert term.sum.item() == pytest.approx(math.log(4 / 3) + math.log(4))


@pytest.mark.parametrize("kind", [GradAscent, GradDiff])
def test_over_tokens_an_example_counts_once_for_each(kind: type) -> None:
    # Mean losses log(4/3) over 3 tokens and log 4 over one; an example of weight 0 has none that count.
    padded = examples([1.0, 1.0, 1.0], [0, 1, 1], [1.0, 1.0, 0.0])
    tokens = torch.tensor([3, 1, 5])
    side = Examples(padded.ids, padded.weight, {**padded.tensors, "tokens": tokens})
    term = kind(reduction="tokens").loss(Batch(side), Coin(), None)["forget"]
    assert term.sum.item() == pytest.approx(3 * math.log(4 / 3) + math.log(4))
    assert side.weights(term.reduction).sum().item() == 4
    assert kind().loss(Batch(side), Coin(), None)["forget"].reduction == "examples"


def test_defaults_are_the_published_ones() -> None:
    assert (GradDiff().gamma, GradDiff().alpha) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [{"gamma": -1}, {"alpha": "much"}, {"beta": 1}, {"reduction": "words"}])
def test_bad_hyperparameters_are_refused(bad: dict) -> None:
    with pytest.raises(ValidationError):
        GradDiff(**bad)


def test_retain_data_is_needed_only_by_the_difference() -> None:
    GradAscent().check(DOMAINS.get("lm"), retain=False)
    with pytest.raises(NeedNotMet, match="'grad_diff' needs retain"):
        GradDiff().check(DOMAINS.get("lm"), retain=False)
