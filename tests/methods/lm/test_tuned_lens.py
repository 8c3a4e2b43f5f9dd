"""The tuned lens against numbers worked by hand, its limits, what it refuses, and a run that is taken up again."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Batch, Examples, Splits
from genunlearn.domains.lm import hidden
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.methods.lm import tuned_lens
from genunlearn.methods.lm.alpha_edit import AlphaEdit
from genunlearn.methods.lm.memit import MEMIT
from genunlearn.methods.lm.tuned_lens import Lens, LensEntropy, TunedLens, random_labels
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import uniform_cross_entropy
from tests.tiny_models import build

LORA = ParametersConfig(rank=4)
TRAIN = TrainConfig(learning_rate=5e-3, batch_size=8, max_steps=6, check_every=2, save_every=1)
EXAMPLES = Examples(("a", "b"), torch.ones(2), {})


class Inside:
    """A model, or a reference, of two layers with given states of width 2; answers have one token and two.

    Norm and head do nothing, so that a state is the logits of a vocabulary of two.
    """

    def __init__(self, *layers: list) -> None:
        self.states = torch.stack([torch.tensor(layer, dtype=torch.float32) for layer in layers], dim=2)
        self.states.requires_grad_()
        head = nn.Linear(2, 2, bias=False)
        head.weight = nn.Parameter(torch.eye(2), requires_grad=False)
        self.network = SimpleNamespace(get_output_embeddings=lambda: head)

    def final_norm(self) -> nn.Module:
        return nn.Identity()

    def decoder_layers(self) -> list[None]:
        return [None, None]

    def hidden_states(self, examples: Examples) -> torch.Tensor:
        return self.states

    def output_labels(self, examples: Examples) -> torch.Tensor:
        return torch.tensor([[IGNORE, 0], [1, 0]])

    def ask(self, name: str, examples: Examples) -> torch.Tensor:
        return getattr(self, name)(examples).detach()


ZERO = [[[0.0, 0.0]] * 3] * 2
STATES = [[[9.0, 9.0], [3.0, 4.0], [7.0, 0.0]], [[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]]]


def objective(model: Any, *layers: int, target: Any = "uniform", alpha: float = 0.5) -> LensEntropy:
    return LensEntropy(lens=Lens(model, layers), target=target, gamma=2.0, alpha=alpha)


# ---- by hand ------------------------------------------------------------------------------------------------------


def test_the_cross_entropy_against_uniform_by_hand():
    # Probabilities 1/2, 1/4, 1/4: -(log 1/2 + 2 log 1/4) / 3 = 5/3 log 2.
    logits = torch.tensor([0.5, 0.25, 0.25]).log() + 7
    assert uniform_cross_entropy(logits).item() == pytest.approx(5 / 3 * math.log(2))


def test_the_forget_term_is_the_mean_over_places_and_layers_of_what_the_lens_says():
    # After an untrained translator of layer 0 the logits are the states at the places that predict: (3, 4); (0, 2) and
    # (0, 4). CE(uniform) of logits (0, x) is log(1 + e^x) - x/2. Layer 1 says (0, 0) everywhere, log 2, the least.
    def ce(x: float) -> float:
        return (math.log(1 + math.exp(x)) - x / 2) / math.log(2)

    model = Inside(STATES, ZERO)
    term = objective(model, 0, 1).loss(Batch(forget=EXAMPLES), model, model)["forget"]
    assert term.sum.item() == pytest.approx((ce(1) + 1) / 2 + ((ce(2) + ce(4)) / 2 + 1) / 2)
    assert (term.side, term.coefficient) == ("forget", 2.0)


def test_a_translator_adds_what_it_makes_of_the_state():
    # W = ((0, 1), (0, 0)), b = (0, 5): (3, 4) becomes (3 + 4, 4 + 5), and the other layer is read as it is.
    lens = Lens(Inside(STATES, ZERO), [0, 1])
    with torch.no_grad():
        lens.translators["0"].weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
        lens.translators["0"].bias.copy_(torch.tensor([0.0, 5.0]))
    states = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    assert lens(states, 0).tolist() == [7.0, 9.0]
    assert lens(states, 1).tolist() == [3.0, 4.0]


def test_the_retain_term_is_the_length_of_the_change():
    # Layer 0: |(3, 4)| = 5; |(0, 2)| = 2 and |(0, 4)| = 4, mean 3. Layer 1 has not moved: half of 5 + 3.
    model = Inside(STATES, ZERO)
    term = objective(model, 0, 1).loss(Batch(retain=EXAMPLES), model, Inside(ZERO, ZERO))["retain"]
    assert term.sum.item() == pytest.approx(4)
    assert (term.side, term.coefficient) == ("retain", 0.5)


# ---- limits -------------------------------------------------------------------------------------------------------


def test_nothing_has_moved_at_the_start_and_no_gradient_is_undefined():
    model = Inside(STATES, STATES)
    term = objective(model, 0, 1).loss(Batch(retain=EXAMPLES), model, model)["retain"]
    term.sum.backward()
    assert term.sum.item() == 0
    assert not model.states.grad.any()


def test_uniform_predictions_are_the_minimum():
    model = Inside(ZERO, ZERO)
    term = objective(model, 0, 1).loss(Batch(forget=EXAMPLES), model, model)["forget"]
    term.sum.backward()
    assert term.sum.item() == pytest.approx(2)  # 1 for each example
    assert model.states.grad.abs().max() < 1e-7
    moved = Inside([[[0.0, 0.1]] * 3] * 2, ZERO)
    assert objective(moved, 0, 1).loss(Batch(forget=EXAMPLES), moved, moved)["forget"].sum > term.sum


def test_drawn_labels_give_the_uniform_loss_on_average(monkeypatch):
    # A vocabulary of two: with every place labelled 0, and with every place labelled 1, both as likely.
    model, losses = Inside(STATES, ZERO), []
    for label in (0, 1):

        def drawn(labels: torch.Tensor, *_: Any, label: int = label) -> torch.Tensor:
            return torch.where(labels != IGNORE, label, IGNORE)

        monkeypatch.setattr(tuned_lens, "random_labels", drawn)
        method = objective(model, 0, 1, target="random")
        losses.append(method.loss(Batch(forget=EXAMPLES), model, model)["forget"].sum.item())
    uniform = objective(model, 0, 1).loss(Batch(forget=EXAMPLES), model, model)["forget"].sum.item()
    assert losses[0] != losses[1]
    assert sum(losses) / 2 == pytest.approx(uniform)


def test_drawn_labels_depend_on_step_layer_and_example_and_not_on_the_batch():
    labels = torch.zeros(2, 50, dtype=torch.long)
    labels[0, :20] = IGNORE
    torch.manual_seed(3)
    first = random_labels(labels, ["a", "b"], 0, 100)
    torch.rand(9)  # what else a step draws makes no difference
    assert torch.equal(first[:1, 20:], random_labels(labels[:1, 20:], ["a"], 0, 100))
    assert (first[0, :20] == IGNORE).all() and first[0, 20:].min() >= 0 and first.max() < 100
    assert not torch.equal(first, random_labels(labels, ["a", "b"], 1, 100))
    torch.manual_seed(4)
    assert not torch.equal(first, random_labels(labels, ["a", "b"], 0, 100))


def test_drawn_labels_are_spread_evenly():
    counts = random_labels(torch.zeros(40, 100, dtype=torch.long), list(map(str, range(40))), 0, 4).unique(
        return_counts=True
    )[1]
    assert (counts - 1000).abs().max() < 5 * (4000 * 0.25 * 0.75) ** 0.5


# ---- layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "layers"),
    [(32, [5, 10, 15, 20, 25, 30]), (4, [0, 1, 2]), (2, [0]), (1, [0]), (62, [9, 19, 29, 39, 49, 59])],
)
def test_the_published_layers_are_scaled_to_the_depth(count, layers):
    assert TunedLens()._numbers(count) == layers


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(MismatchError, match=r"method\.layers = 2: this model has the layers 0 to 1"):
        TunedLens(layers=(0, 2))._numbers(2)


@pytest.mark.parametrize("method", [TunedLens, MEMIT, AlphaEdit])
def test_layers_are_counted_from_the_first(method):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        method(layers=(0, -1))


# ---- a model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_without_training_it_is_the_logit_lens_and_the_last_layer_is_the_model(tiny, world, family):
    model = tiny(family)
    lens = TunedLens(layers=(0, 1), lens_steps=0).fit(model, world.splits, FileJournal(None))
    examples = model.collate(world.splits.forget)
    states = model.hidden_states(examples)
    read = model.network.get_output_embeddings()(model.final_norm()(states[:, :, 0]))
    assert torch.allclose(lens(states, 0), read, atol=1e-6)
    assert torch.allclose(lens(states, 1), model.logits(examples), atol=1e-5)


def test_training_brings_the_lens_to_what_the_model_says_and_moves_nothing_else(world):
    model = world.open()
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}
    untrained = TunedLens(lens_steps=0).fit(model, world.splits, FileJournal(None))
    method = TunedLens(lens_steps=60, lens_learning_rate=1e-2)
    lens = method.fit(model, world.splits, FileJournal(None))
    assert method._apart(lens, model, world.splits)[0] < 0.3 * method._apart(untrained, model, world.splits)[0]
    assert all(torch.equal(before[name], weight) for name, weight in model.network.named_parameters())
    assert all(weight.grad is None for weight in model.network.parameters())
    assert not any(weight.requires_grad for weight in lens.parameters())


def test_a_model_is_asked_for_the_states_of_a_question_once_as_far_as_there_is_room(world, monkeypatch):
    model, asked = world.open(), []
    collate = LanguageModel.collate
    monkeypatch.setattr(
        LanguageModel, "collate", lambda self, items: (asked.extend(item.id for item in items), collate(self, items))[1]
    )
    items = world.splits.retain
    states = tuned_lens._KeptStates(model)
    alone = tuned_lens._KeptStates(model).of(items[:1])[0]
    asked.clear()
    first, again = states.of(items[:2]), states.of([*items[1:3], items[1]])
    assert asked == [items[0].id, items[1].id, items[2].id]
    assert again[0] is again[2] is first[1]
    assert torch.allclose(first[0], alone, atol=1e-5)
    states.kept.clear()
    states.room = 0
    states.of(items[:1])
    assert not states.kept


def test_what_is_trained_does_not_move_the_lens(world):
    model = world.open()
    model.network.requires_grad_(True)
    lens = TunedLens(lens_steps=0).fit(model, world.splits, FileJournal(None))
    states = model.hidden_states(model.collate(world.splits.forget)).detach()
    read = lens(states, 0)
    with torch.no_grad():
        model.network.lm_head.weight.add_(1.0)
        model.final_norm().weight.add_(1.0)
    assert torch.equal(lens(states, 0), read)
    assert all(weight.requires_grad for weight in model.network.parameters())


def carried_out(world, method: TunedLens, state: Any, kind: str = "lora", **settings: Any) -> tuple[Trainer, Any]:
    train = TRAIN.model_copy(update=settings)
    trainer = Trainer(
        world.open(), train, LORA.model_copy(update={"kind": kind}), seed=1, state=state, is_reopened=True
    )
    return trainer, method.run(trainer, trainer.domain, world.splits, FileJournal(state))


@pytest.mark.parametrize(("kind", "target"), [("lora", "random"), ("full", "uniform")])
def test_a_run_that_is_taken_up_again_ends_with_the_same_bits(world, tmp_path, monkeypatch, kind, target):
    method = TunedLens(target=target, lens_steps=10, utility_floor=0.0, alpha=0.1)
    whole, _ = carried_out(world, method, tmp_path / "whole", kind, learning_rate=1e-4)
    assert len(whole.history) == TRAIN.max_steps

    class Killed(Exception):
        pass

    calls = iter(range(100))

    def until(self: LensEntropy, *given: Any) -> Any:
        if next(calls) == 3:
            raise Killed
        return loss(self, *given)

    loss = LensEntropy.loss
    monkeypatch.setattr(LensEntropy, "loss", until)
    with pytest.raises(Killed):
        carried_out(world, method, tmp_path / "cut", kind, learning_rate=1e-4)
    monkeypatch.undo()
    again, _ = carried_out(world, method, tmp_path / "cut", kind, learning_rate=1e-4)
    assert again.history == whole.history
    for (name, weight), other in zip(
        whole.domain.network.named_parameters(), again.domain.network.parameters(), strict=True
    ):
        assert torch.equal(weight, other), name


@pytest.mark.parametrize("target", ["uniform", "random"])
def test_it_forgets_and_ends_there(world, tmp_path, target):
    method = TunedLens(target=target, lens_steps=40, alpha=0.1, utility_floor=0.0)
    trainer, outcome = carried_out(world, method, tmp_path, max_steps=60, learning_rate=1e-2)
    assert (outcome.status, trainer.steps_done < 60) == ("forgotten", True)
    assert [row["layer"] for row in outcome.artefacts["lens"]] == [0]
    assert trainer.history[-1]["forget"] < trainer.history[0]["forget"]


def test_a_base_in_4_bits_is_read_by_its_plain_head(tmp_path, world):
    pytest.importorskip("bitsandbytes")
    model = LanguageModel.load(
        str(build("llama", tmp_path / "llama", width=64)), device="cpu", quantize="nf4", prompt_suite="lab"
    )
    trainer = Trainer(model, TRAIN.model_copy(update={"max_steps": 2}), LORA, seed=1)
    TunedLens(lens_steps=2, utility_floor=0.0).run(trainer, model, world.splits, FileJournal(None))
    assert not model.decoder_layers()[0].mlp.down_proj.base_layer.weight.is_floating_point()
    assert trainer.history[0]["retain"] == 0
    assert trainer.history[1]["forget"] < trainer.history[0]["forget"]


# ---- what it refuses ----------------------------------------------------------------------------------------------


def fit(model: Any, splits: Splits) -> None:
    TunedLens(lens_steps=0).fit(model, splits, FileJournal(None))


def test_a_model_without_a_norm_that_is_found_is_refused(world, monkeypatch):
    monkeypatch.setattr(hidden, "FINAL_NORMS", ())
    with pytest.raises(MismatchError, match="no norm behind the last layer"):
        fit(world.open(), world.splits)


def test_a_head_with_packed_weights_is_refused(world):
    model = world.open()
    model.network.lm_head.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(MismatchError, match="no output layer of plain weights"):
        fit(model, world.splits)


def test_scores_that_are_changed_behind_the_head_are_refused(world, monkeypatch):
    model, logits = world.open(), LanguageModel.output_logits
    monkeypatch.setattr(LanguageModel, "output_logits", lambda *given: 3 * torch.tanh(logits(*given) / 3))
    with pytest.raises(MismatchError, match=r"a cap or a scale"):
        fit(model, world.splits)


def test_sharded_weights_are_refused(world, monkeypatch):
    monkeypatch.setattr(tuned_lens, "is_sharded", lambda network: True)
    with pytest.raises(NeedNotMet, match="run one process"):
        TunedLens().run(None, world.open(), world.splits, FileJournal(None))  # type: ignore[arg-type]
