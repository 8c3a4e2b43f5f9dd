"""What every registered method promises; a new line in `METHODS` is covered without a change here."""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from ruamel.yaml import YAML

from genunlearn.config import MethodConfig, ParametersConfig, TrainConfig, parse_config
from genunlearn.contracts import Batch, Domain, Edit, Examples, Method, Objective, Protocol, Splits, Terms
from genunlearn.engine import parameters
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.reference import make_reference
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, MismatchError, NeedNotMet
from genunlearn.registry import DOMAINS, METHODS
from genunlearn.runs import unlearning
from genunlearn.runs.methods import build_method
from tests.contracts.fields import check_fields, check_is_complete_and_frozen, limits
from tests.world import World
from tests.worlds import WORLDS

KINDS: dict[str, type[Method]] = {line.name: METHODS.load(line) for line in METHODS.lines()}
KINDS_OF_MODEL: dict[str, type[Domain]] = {line.name: DOMAINS.load(line) for line in DOMAINS.lines()}
FITS = {name: [domain for domain, model in KINDS_OF_MODEL.items() if kind.fits(model)] for name, kind in KINDS.items()}
PAIRS = [(name, domain) for name, domains in FITS.items() for domain in domains if domain in WORLDS]
OBJECTIVES = [(name, domain) for name, domain in PAIRS if issubclass(KINDS[name], Objective)]
RANK = 4


def trained_kind(name: str, world: World) -> str:
    """What is trained: what the world says, unless the method works on the weights themselves."""
    return "full" if KINDS[name].needs.full_weights else world.kind


every_method = pytest.mark.parametrize("name", KINDS)
every_pair = pytest.mark.parametrize(("name", "domain"), PAIRS)
every_objective = pytest.mark.parametrize(("name", "domain"), OBJECTIVES)


def named(kind: type[Method]) -> set[str]:
    """The names of a method's hyper-parameters."""
    return {field.name for field in dataclasses.fields(kind)}


# ---- what a method says of itself -----------------------------------------------------------------------------


@every_method
def test_it_has_one_of_the_three_shapes_and_a_world_to_be_tested_in(name):
    assert issubclass(KINDS[name], Objective | Edit | Protocol)
    assert set(FITS[name]) & WORLDS.keys()


@every_method
def test_it_is_registered_under_its_own_name(name):
    assert KINDS[name].name == name


@every_method
def test_it_says_what_it_computes_and_where_it_is_from(name):
    kind, module = KINDS[name], inspect.getmodule(KINDS[name])
    document = inspect.getdoc(module) or ""
    assert kind.equation
    assert kind.paper
    assert "Source:" in document
    assert "Deviations:" in document
    equation = [line for line in document.splitlines() if line.startswith("    ")]
    assert equation, "the module's docstring shows no equation or procedure"
    assert (inspect.getdoc(kind) or "").splitlines()[0].endswith(".")


@every_method
def test_it_is_complete_by_default_frozen_and_keyword_only(name):
    check_is_complete_and_frozen(KINDS[name])


@every_method
def test_its_fields_go_through_yaml_and_back(name):
    method = KINDS[name]()
    text = io.StringIO()
    YAML().dump({"method": {"name": name, **dataclasses.asdict(method)}}, text)
    assert build_method(parse_config(text.getvalue()).method) == method


@every_method
def test_an_unknown_field_is_refused_with_the_nearest(name):
    fields = [field.name for field in dataclasses.fields(KINDS[name])]
    wrong = f"{fields[0]}s" if fields else "anything"
    hint = f"; did you mean {fields[0]!r}?" if fields else ""
    with pytest.raises(ConfigError) as caught:
        build_method(parse_config(f"method: {{name: {name}, {wrong}: 1}}").method)
    assert str(caught.value).startswith(f"method.{wrong}: method {name!r} has no {wrong!r}{hint}")


@every_method
def test_every_field_has_a_meaning_and_every_number_a_bound(name):
    check_fields(KINDS[name])


@every_method
def test_bounds_are_enforced(name):
    for field, value, _ in limits(KINDS[name]):
        with pytest.raises(ValidationError, match=field):
            KINDS[name](**{field: value})
        with pytest.raises(ConfigError, match=rf"method\.{field}: {name}\.{field} = {value}: input should be "):
            build_method(MethodConfig(name=name, **{field: value}))


# ---- what it refuses ------------------------------------------------------------------------------------------


class Cartography(Domain):
    """A domain that offers nothing."""

    name = "cartography"
    offers = frozenset()


@every_method
def test_another_domain_is_refused_by_name(name):
    kind = KINDS[name]
    with pytest.raises(NeedNotMet) as caught:
        kind().check(Cartography)
    fits = ", ".join(sorted(kind.domains or ()))
    reason = f"it fits {fits}" if fits else f"it asks for {', '.join(sorted(kind.asks))}, which that does not offer"
    assert str(caught.value) == f"method {name!r} does not fit domain 'cartography': {reason}"


@every_method
def test_a_general_method_names_no_family_and_says_what_it_asks(name):
    kind = KINDS[name]
    assert (kind.domains is None) == bool(kind.asks)
    assert (kind.domains is None) == (kind.trains_on == "examples")


MISSING = {
    "retain": "needs retain data, and none is given",
    "facts": r"needs facts \(subject, object, question\)",
    "whole_classes": "forgets whole classes",
    "full_weights": r"not on a LoRA: set parameters.kind = 'full'",
}


@every_method
def test_a_missing_need_is_refused_by_name(name):
    method, model = KINDS[name](), KINDS_OF_MODEL[FITS[name][0]]
    method.check(model)
    for need, complaint in MISSING.items():
        if getattr(method.needs, need):
            with pytest.raises(NeedNotMet, match=f"method '{name}' .*{complaint}"):
                method.check(model, **{need: False})
        else:
            method.check(model, **{need: False})


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if {"layer", "layers"} & named(kind)])
def test_a_layer_that_the_model_does_not_have_is_refused_before_work(worlds, name):
    model, kind = worlds("lm").open(), KINDS[name]
    kind().check_model(model)
    wrong = {"layer": 2} if "layer" in named(kind) else {"layers": (0, 2)}
    with pytest.raises(MismatchError, match=r"method.layers? = 2: this model has the layers 0 to 1"):
        kind(**wrong).check_model(model)


# ---- losses ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ready(worlds, tmp_path) -> Callable[[str, str], tuple[Any, World, Any, Splits, Any]]:
    """A method with its model, made trainable and a little moved, its data and its reference."""

    def ready(name: str, domain: str):
        world = worlds(domain)
        method = KINDS[name](**world.options(name, tmp_path))
        model = world.open()
        splits = method.prepare(world.data(method, model), 0)
        kind = trained_kind(name, world)
        parameters.attach(model, ParametersConfig(rank=RANK, kind=kind), seed=0)
        reference = make_reference(model, kind)
        with torch.no_grad():
            for weight in parameters.trainable(model.module).values():
                weight.add_(torch.linspace(-0.02, 0.02, weight.numel()).view_as(weight))
        return method, world, model, splits, reference

    return ready


def loss(terms: Terms) -> torch.Tensor:
    return torch.stack([term.coefficient * term.sum for term in terms.values()]).sum()


def gradient(model: Any, terms: Terms) -> torch.Tensor:
    weights = list(parameters.trainable(model.module).values())
    grads = torch.autograd.grad(loss(terms), weights, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(w).flatten() if g is None else g.flatten() for w, g in zip(weights, grads, strict=True)]
    )


@every_objective
def test_its_loss_is_finite_and_has_a_gradient(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    terms = method.loss(world.batch(model, splits), model, reference)
    assert terms
    for term in terms.values():
        assert term.sum.shape == ()
        assert term.side in ("forget", "retain")
        assert math.isfinite(term.sum.item())
    grads = gradient(model, terms)
    assert torch.isfinite(grads).all()
    assert grads.norm() > 0


@every_objective
def test_padding_and_company_do_not_matter(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    together = method.loss(world.batch(model, splits), model, reference)
    alone: dict[str, float] = {}
    for side in ("forget", "retain"):
        for item in getattr(splits, side) or ():
            for key, term in method.loss(Batch(**{side: model.collate([item])}), model, reference).items():
                alone[key] = alone.get(key, 0.0) + term.sum.item()
    assert {key: term.sum.item() for key, term in together.items()} == pytest.approx(alone, abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("name", [name for name, domain in OBJECTIVES if domain == "lm"])
def test_an_answer_may_begin_with_words_that_belong_to_its_prompt(ready, name):
    """An alternative has none of them, so that its prompt is shorter."""
    method, _, model, splits, reference = ready(name, "lm")
    first, *others = splits.forget
    items = [dataclasses.replace(first, opening="In those days it was "), *others]
    together = method.loss(Batch(forget=model.collate(items)), model, reference)
    alone: dict[str, float] = {}
    for item in items:
        for key, term in method.loss(Batch(forget=model.collate([item])), model, reference).items():
            alone[key] = alone.get(key, 0.0) + term.sum.item()
    assert {key: term.sum.item() for key, term in together.items()} == pytest.approx(alone, abs=1e-4, rel=1e-5)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if getattr(kind, "model_scores", ())])
def test_what_it_asks_of_a_language_model_comes_from_one_pass(ready, name):
    method, world, model, splits, reference = ready(name, "lm")
    reference.fill(method, splits, model, batch_size=8)
    batch, asked = world.batch(model, splits), model.meter.forwards
    apart = method.loss(batch, model, reference)
    passes = {(side, score.startswith("alternative")) for side, score in method.model_scores}
    assert model.meter.forwards - asked == len(passes) > 1
    answered, asked = model.score_together(batch, method.model_scores), model.meter.forwards
    together = method.loss(answered, model, reference)
    assert model.meter.forwards == asked
    assert loss(together).item() == pytest.approx(loss(apart).item(), abs=1e-5)
    assert torch.allclose(gradient(model, together), gradient(model, apart), atol=1e-5)


@every_objective
def test_order_does_not_matter(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    turned = Splits(forget=splits.forget[::-1], retain=(splits.retain or ())[::-1])
    first = gradient(model, method.loss(world.batch(model, splits), model, reference))
    second = gradient(model, method.loss(world.batch(model, turned), model, reference))
    assert torch.allclose(first, second, atol=1e-5)


@every_objective
def test_examples_of_no_weight_do_not_count(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    batch = world.batch(model, splits)
    terms = method.loss(batch, model, reference)
    filled = {}
    for side, _ in batch.sides():
        items = [*getattr(splits, side), getattr(splits, side)[0]]
        weight = torch.ones(len(items))
        weight[-1] = 0.0
        filled[side] = dataclasses.replace(model.collate(items), weight=weight)
    for key, term in method.loss(Batch(**filled), model, reference).items():
        assert term.sum.item() == pytest.approx(terms[key].sum.item(), abs=1e-4, rel=1e-5)


@every_objective
def test_the_reference_gets_no_gradient(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    asked: list[torch.Tensor] = []

    class Watched:
        def ask(self, what: str, examples: Examples, *more: Any) -> torch.Tensor:
            asked.append(reference.ask(what, examples, *more))
            return asked[-1]

    loss(method.loss(world.batch(model, splits), model, Watched())).backward()
    assert bool(asked) == method.needs.reference
    assert not any(answer.requires_grad for answer in asked)
    assert all(weight.grad is None for weight in model.module.parameters() if not weight.requires_grad)


@every_objective
def test_what_it_asks_of_the_reference_is_what_it_declares(ready, name, domain):
    method, world, model, splits, reference = ready(name, domain)
    declared = {what for _, what in method.reference_scores}
    asked: set[str] = set()

    class Watched:
        def ask(self, what: str, examples: Examples, *more: Any) -> torch.Tensor:
            asked.add(what)
            return reference.ask(what, examples, *more)

    method.loss(world.batch(model, splits), model, Watched())
    assert declared <= asked


# ---- training -------------------------------------------------------------------------------------------------

STEPS = {"grad_diff": 5, "jens_un": 24, "amun": 8, "neg_grad_plus": 8, "salun_labels": 8, "sat_imp": 8, "sim_npo": 8}
"""Steps of methods that 4 hardly move, for instance where the loss is bounded and a fact is certain."""


def carry_out(name: str, world: World, folder: Path, *, seed: int = 1, steps: int, **settings: Any) -> Trainer:
    """Run a method of any shape, as it is published, in its world; gives the trainer with the model."""
    own = {"seed": seed} if has_own_seed(KINDS[name]) else {}
    own |= {"soften": False} if name == "ssd" else {}
    method = KINDS[name](**world.options(name, folder), **own)
    model = world.open()
    train = TrainConfig(**{"learning_rate": 5e-3, "batch_size": 8, "max_steps": steps, **settings})
    splits = world.data(method, model)
    trainer = Trainer(model, train, ParametersConfig(rank=RANK, kind=trained_kind(name, world)), seed=seed)
    outcome = unlearning.carry_out(method, trainer, splits, FileJournal(None), seed=seed)
    assert outcome.status and outcome.reason
    return trainer


def has_own_seed(kind: type[Method]) -> bool:
    """Whether the seed is a field of the method; the training loop's seed does not reach what it draws."""
    return any(field.name == "seed" for field in dataclasses.fields(kind))


def is_random(kind: type[Method]) -> bool:
    """Whether another seed gives other weights; an edit without a seed of its own is a formula."""
    return has_own_seed(kind) or not issubclass(kind, Edit)


@dataclass(frozen=True)
class Run:
    """What is kept of a run: the weights it has trained, those it was to leave alone, and the forgetting loss."""

    trained: torch.Tensor
    frozen: dict[str, torch.Tensor]
    forget_loss: float


@pytest.fixture(scope="module")
def first_run(worlds, tmp_path_factory) -> Callable[[str, str], Run]:
    """The run of a method in a world, made once for all the tests that look at it."""

    @cache
    def first_run(name: str, domain: str) -> Run:
        world = worlds(domain)
        trainer = carry_out(name, world, tmp_path_factory.mktemp(name), steps=STEPS.get(name, 4))
        frozen = {
            key.removeprefix("base_model.model.").replace(".base_layer", ""): weight
            for key, weight in trainer.domain.network.named_parameters()
            if not weight.requires_grad
        }
        return Run(trained(trainer), frozen, world.forget_loss(trainer.domain))

    return first_run


def trained(trainer: Trainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in parameters.trainable(trainer.domain.network).values()])


@every_pair
def test_what_is_not_trained_stays_bit_for_bit(worlds, first_run, name, domain):
    world = worlds(domain)
    base = world.open().module.state_dict()
    frozen = first_run(name, domain).frozen
    assert bool(frozen) == (trained_kind(name, world) != "full")
    assert all(torch.equal(base[key], weight) for key, weight in frozen.items())


@every_pair
def test_the_same_seed_twice_gives_the_same_weights(worlds, first_run, tmp_path, name, domain):
    first, steps = first_run(name, domain).trained, STEPS.get(name, 4)
    torch.rand(3)
    assert torch.equal(first, trained(carry_out(name, worlds(domain), tmp_path, steps=steps)))
    other = trained(carry_out(name, worlds(domain), tmp_path, seed=2, steps=steps))
    assert torch.equal(first, other) != is_random(KINDS[name])


@pytest.mark.parametrize(("name", "domain"), [pair for pair in PAIRS if KINDS[pair[0]].needs.forget])
def test_a_few_steps_raise_the_loss_of_what_is_to_be_forgotten(worlds, first_run, name, domain):
    world = worlds(domain)
    assert first_run(name, domain).forget_loss > world.forget_loss(world.open()) + 0.05


@every_objective
def test_one_of_eight_is_eight_of_one(worlds, tmp_path, name, domain):
    # After one step Adam has turned gradients into signs; what it has stored are the gradients themselves.
    whole = carry_out(name, worlds(domain), tmp_path, steps=1, batch_size=8, accumulation=1)
    cut = carry_out(name, worlds(domain), tmp_path, steps=1, batch_size=1, accumulation=8)
    for key in whole.history[0]:
        assert whole.history[0][key] == pytest.approx(cut.history[0][key], abs=1e-6, rel=1e-5), key
    grads = [
        torch.cat(
            [w.grad.flatten() for w in parameters.trainable(trainer.domain.network).values() if w.grad is not None]
        )
        for trainer in (whole, cut)
    ]
    assert torch.allclose(*grads, atol=1e-6)
