"""The training loop: one process, one step at a time, against arithmetic by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Domain, Examples, Objective, Splits, Term
from genunlearn.engine import parameters
from genunlearn.engine.batches import PairedBatches
from genunlearn.engine.loop import Loop, every
from genunlearn.engine.updates import update_of
from genunlearn.errors import NeedNotMet, NonFiniteLoss
from genunlearn.methods.general.grad_diff import GradDiff


class Line(Domain):
    """The smallest domain: an item x has the loss w x."""

    name = "line"

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.module.weight.fill_(2.0)

    def collate(self, items):
        ids = tuple(str(x) for x in items)
        return Examples(ids, torch.ones(len(items)), {"x": torch.tensor(items).unsqueeze(-1)})

    def example_loss(self, examples):
        return self.module(examples["x"]).squeeze(-1)

    def save(self, folder):
        raise AssertionError("nothing is saved here")


class Probe(Objective):
    """A loss that the test hands in."""

    name: ClassVar[str] = "probe"
    domains: ClassVar[frozenset[str]] = frozenset({"line", "lm"})

    def __init__(self, loss: Callable) -> None:
        self.loss = loss

    def loss(self, batch, model, reference):
        raise NotImplementedError


def make_loop(domain, objective, splits, *, optimizer=torch.optim.SGD, seed=0, **settings) -> Loop:
    train = TrainConfig(**{"learning_rate": 0.5, "max_grad_norm": 1e6, **settings})
    weights = [p for p in domain.module.parameters() if p.requires_grad]
    stepper = optimizer(weights, lr=train.learning_rate)
    batches = PairedBatches(splits, train.batch_size, train.accumulation, seed)
    accelerator = Accelerator()
    update = update_of(domain, stepper, accelerator, train.max_grad_norm)
    return Loop(domain, objective, None, batches, update, train, accelerator, seed)


LINE = Splits(forget=[1.0, 3.0], retain=[2.0, 4.0, 6.0])


def test_one_step_by_hand():
    # L = -w mean(1, 3) + w mean(2, 4, 6) = -2w + 4w = 2w. With w = 2: L = 4, dL/dw = 2, w' = 2 - 0.5 * 2 = 1.
    line = Line()
    entry = make_loop(line, GradDiff(), LINE).step(0, 10)
    assert entry == {
        "step": 1,
        "loss": pytest.approx(4.0),
        "forget": pytest.approx(-4.0),
        "retain": pytest.approx(8.0),
        "grad_norm": pytest.approx(2.0),
        "learning_rate": 0.5,
    }
    assert line.module.weight.item() == pytest.approx(1.0)


@pytest.mark.parametrize(("size", "accumulation"), [(1, 3), (2, 2), (3, 1), (1, 8), (8, 1)])
def test_how_a_step_is_cut_does_not_matter(size, accumulation):
    # However the 2 and 3 items fall into micro-batches, each side is divided by its own number.
    line = Line()
    assert make_loop(line, GradDiff(), LINE, batch_size=size, accumulation=accumulation).step(0, 1)["loss"] == 4.0
    assert line.module.weight.item() == pytest.approx(1.0)


class Sentences(Line):
    """Items (x, n): the mean loss over the n tokens of an item is w x."""

    def collate(self, items):
        examples = super().collate([x for x, _ in items])
        return replace(examples, tensors={**examples.tensors, "tokens": torch.tensor([n for _, n in items])})


@pytest.mark.parametrize(("size", "accumulation"), [(1, 3), (2, 2), (3, 1), (8, 1)])
def test_a_mean_over_tokens_by_hand_however_a_step_is_cut(size, accumulation):
    # Forget: (3 * 1 + 1 * 3) / 4 tokens = 1.5; retain: (1 * 2 + 1 * 4 + 2 * 6) / 4 = 4.5. L = 3w, w' = 2 - 0.5 * 3.
    # Over examples it is 2w, as for `LINE`.
    splits = Splits(forget=[(1.0, 3), (3.0, 1)], retain=[(2.0, 1), (4.0, 1), (6.0, 2)])
    for reduction, loss, weight in (("tokens", 6.0, 0.5), ("examples", 4.0, 1.0)):
        line = Sentences()
        loop = make_loop(line, GradDiff(reduction=reduction), splits, batch_size=size, accumulation=accumulation)
        entry = loop.step(0, 1)
        assert entry["loss"] == pytest.approx(loss)
        assert line.module.weight.item() == pytest.approx(weight)


def test_a_mean_over_tokens_needs_tokens():
    with pytest.raises(NeedNotMet, match="'tokens' needs a language model"):
        make_loop(Line(), GradDiff(reduction="tokens"), LINE).step(0, 1)


def test_clipping_bounds_the_step_and_reports_the_norm_before():
    # The gradient 2 is cut to norm 0.1: w' = 2 - 0.5 * 0.1.
    line = Line()
    entry = make_loop(line, GradDiff(), LINE, max_grad_norm=0.1).step(0, 1)
    assert entry["grad_norm"] == pytest.approx(2.0)
    assert line.module.weight.item() == pytest.approx(1.95, abs=1e-5)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # Two steps of warm-up to 0.4, then progress 0, 1/4, 2/4, 3/4 over the four that remain.
        ("constant", [0.2, 0.4, 0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.2, 0.4, 0.4, 0.3, 0.2, 0.1]),
        ("cosine", [0.2, 0.4, 0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.2 * (1 - math.sqrt(0.5))]),
    ],
)
def test_schedules(schedule, rates):
    loop = make_loop(Line(), GradDiff(), LINE, learning_rate=0.4, schedule=schedule, warmup_steps=2)
    log = loop.run(0, 6)
    assert [entry["learning_rate"] for entry in log] == pytest.approx(rates)


# ---- what cannot go on ----------------------------------------------------------------------------------------


def diverging(at: int, spoil: Callable) -> Probe:
    """Two terms; the one of the retain side is spoilt at step `at`."""
    calls = []

    def loss(batch, model, reference):
        calls.append(1)
        terms = {side: Term.of(model.example_loss(examples), examples, side) for side, examples in batch.sides()}
        if len(calls) == at:
            terms["retain"] = spoil(terms["retain"], model)
        return terms

    return Probe(loss)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_names_step_and_term_and_keeps_the_weights(value):
    spoil = diverging(3, lambda term, model: Term(term.sum * 0 + value, term.side))
    line, expected = Line(), Line()
    make_loop(expected, diverging(0, None), LINE).run(0, 2)
    with pytest.raises(NonFiniteLoss) as caught:
        make_loop(line, spoil, LINE).run(0, 5)
    message = str(caught.value)
    assert message.startswith(f"step 3: term 'retain' = {value}; the weights are kept as they were after step 2: ")
    assert "train.learning_rate" in message
    assert torch.equal(line.module.weight, expected.module.weight)
    assert not line.module.training


def test_a_finite_loss_with_a_non_finite_gradient_is_caught_too():
    # sqrt has the value 0 and an infinite slope at 0.
    spoil = diverging(2, lambda term, model: Term((term.sum - term.sum.detach()).sqrt(), term.side))
    line, expected = Line(), Line()
    make_loop(expected, diverging(0, None), LINE).run(0, 1)
    with pytest.raises(NonFiniteLoss, match=r"step 2: term 'gradient norm' = (inf|nan)"):
        make_loop(line, spoil, LINE).run(0, 5)
    assert torch.equal(line.module.weight, expected.module.weight)


# ---- callbacks, randomness, modes -----------------------------------------------------------------------------


def test_callbacks_come_at_their_interval_and_at_the_end():
    seen: dict[str, list[int]] = {"two": [], "three": []}
    callbacks = [
        every(2, lambda done, entry: seen["two"].append(done)),
        every(3, lambda done, entry: seen["three"].append(entry["step"])),
    ]
    make_loop(Line(), GradDiff(), LINE).run(0, 7, *callbacks)
    assert seen == {"two": [2, 4, 6, 7], "three": [3, 6, 7]}


def test_a_callback_ends_training_and_the_others_of_that_step_still_run():
    seen: list[int] = []
    log = make_loop(Line(), GradDiff(), LINE).run(
        0, 9, every(2, lambda done, entry: done == 4), every(1, lambda done, entry: seen.append(done))
    )
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    assert seen == [1, 2, 3, 4]


def noisy() -> Probe:
    def loss(batch, model, reference):
        values = model.example_loss(batch.forget) * torch.rand(len(batch.forget))
        return {"noise": Term.of(values, batch.forget, "forget")}

    return Probe(loss)


def test_randomness_is_a_function_of_seed_and_step():
    first = make_loop(Line(), noisy(), LINE).run(0, 4)
    torch.manual_seed(11)
    second = make_loop(Line(), noisy(), LINE).run(0, 4)
    other = make_loop(Line(), noisy(), LINE, seed=1).run(0, 4)
    assert first == second
    assert [entry["noise"] for entry in first] != [entry["noise"] for entry in other]
    assert len({entry["noise"] for entry in first}) == 4


def test_training_leaves_the_global_generator_alone():
    loop = make_loop(Line(), noisy(), LINE)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loop.run(0, 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_callback_that_measures_does_not_switch_training_off():
    modes: list[bool] = []

    def loss(batch, model, reference):
        modes.append(model.module.training)
        return {"forget": Term.of(model.example_loss(batch.forget), batch.forget, "forget")}

    line = Line()
    make_loop(line, Probe(loss), LINE).run(0, 3, every(1, lambda done, entry: line.module.eval() and False))
    assert modes == [True, True, True]
    assert not line.module.training


# ---- a language model -----------------------------------------------------------------------------------------


def gradients(world, splits: Splits, method: GradDiff | None = None, **settings) -> torch.Tensor:
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    with torch.no_grad():  # so that both factors have a gradient
        for name, weight in parameters.trainable(model.module).items():
            if "lora_B" in name:
                weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view_as(weight))
    make_loop(model, method or GradDiff(), splits, optimizer=torch.optim.AdamW, **settings).step(0, 1)
    return torch.cat([weight.grad.flatten() for weight in parameters.trainable(model.module).values()])


@pytest.mark.parametrize("reduction", ["examples", "tokens"])
def test_eight_of_one_are_one_of_eight(world, reduction):
    method = GradDiff(reduction=reduction)
    whole = gradients(world, world.splits, method, batch_size=8, accumulation=1)
    cut = gradients(world, world.splits, method, batch_size=1, accumulation=8)
    assert whole.norm() > 1e-2
    assert (whole - cut).norm() < 1e-6 * whole.norm()


def test_the_mean_over_tokens_is_the_loss_of_the_transformers_library(world, tiny):
    model = tiny("llama")
    assert len({len(model.encode(item.question, item.answer)[1]) for item in world.splits.retain}) > 1
    loop = make_loop(model, GradDiff(reduction="tokens"), world.splits)
    examples = {"forget": world.batch(model).forget, "retain": world.batch(model).retain}
    expected = {
        side: model.module(each["input_ids"], attention_mask=each["attention_mask"], labels=each["labels"]).loss.item()
        for side, each in examples.items()
    }
    entry = loop.step(0, 1)
    assert entry["forget"] == pytest.approx(-expected["forget"], rel=1e-5)
    assert entry["retain"] == pytest.approx(expected["retain"], rel=1e-5)


def test_the_order_of_the_items_does_not_matter(world):
    reversed_splits = Splits(forget=world.splits.forget[::-1], retain=world.splits.retain[::-1])
    assert torch.allclose(
        gradients(world, world.splits, batch_size=8), gradients(world, reversed_splits, batch_size=8), atol=1e-6
    )
