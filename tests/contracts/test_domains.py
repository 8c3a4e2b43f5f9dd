"""What every registered domain promises; a new line in `DOMAINS` is covered once it has a world in `tests.worlds`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genunlearn.config import ParametersConfig
from genunlearn.contracts import Domain, Examples, LabelledDomain
from genunlearn.data.relabel import redraw_labels
from genunlearn.engine import parameters
from genunlearn.methods.general.fine_tune import FineTune
from genunlearn.registry import DOMAINS
from tests.world import World
from tests.worlds import WORLDS

KINDS: dict[str, type[Domain]] = {line.name: DOMAINS.load(line) for line in DOMAINS.lines()}

every_domain = pytest.mark.parametrize("name", KINDS)


@pytest.fixture
def opened(worlds) -> Callable[[str], tuple[World, Any, list[Any]]]:
    """A domain's world, its model, and training examples of it."""

    def opened(name: str) -> tuple[World, Any, list[Any]]:
        world = worlds(name)
        model = world.open()
        splits = world.data(FineTune(), model)
        return world, model, [*splits.forget, *(splits.retain or ())]

    return opened


SPECIAL: dict[str, Callable[[Any, World, Examples], Any]] = {
    "sample_loss": lambda model, world, batch: model.sample_loss(
        dict(model.network.named_parameters()), {name: tensor[0] for name, tensor in batch.tensors.items()}
    ),
    "generate": lambda model, world, batch: model.generate([[{"role": "user", "content": "Who wrote Faust?"}]]),
    "render": lambda model, world, batch: model.render(world.data(FineTune(), model).forget[:1]),
    "images": lambda model, world, batch: model.images(["a cat"], [0]),
    "layer_states": lambda model, world, batch: model.layer_states(batch, None, 0.5),
    "reinitialise": lambda model, world, batch: model.reinitialise(0) or model,
}
"""What is not asked of a batch of examples alone."""


@every_domain
def test_it_is_registered_under_its_own_name_and_has_a_world(name):
    assert KINDS[name].name == name
    assert issubclass(KINDS[name], Domain)
    assert not KINDS[name].__abstractmethods__
    assert name in WORLDS


@every_domain
def test_it_offers_what_it_says(opened, name):
    world, model, items = opened(name)
    batch = model.collate(items[:2])
    assert "example_loss" in model.offers
    for asked in model.offers:
        answer = SPECIAL[asked](model, world, batch) if asked in SPECIAL else getattr(model, asked)(batch)
        assert answer is not None, asked
    assert not issubclass(KINDS[name], LabelledDomain) or model.offers >= {"output_logits"}


@every_domain
def test_what_depends_on_the_batch_is_offered(name):
    assert KINDS[name].batch_shaped <= KINDS[name].offers


@every_domain
def test_collate_keeps_ids_weights_and_rows(opened, name):
    _, model, items = opened(name)
    batch = model.collate(items)
    assert batch.ids == tuple(item.id for item in items) and len(set(batch.ids)) == len(items)
    assert torch.equal(batch.weight.cpu(), torch.ones(len(items)))
    assert batch.tensors and all(len(tensor) == len(items) for tensor in batch.tensors.values())
    assert all(tensor.device == model.device for tensor in batch.tensors.values())


@every_domain
def test_its_loss_is_one_number_an_example_with_a_gradient(opened, name):
    world, model, items = opened(name)
    parameters.attach(model, ParametersConfig(rank=2, kind=world.kind), seed=0)
    loss = model.example_loss(model.collate(items))
    assert loss.shape == (len(items),) and loss.isfinite().all()
    loss.sum().backward()
    weights = parameters.trainable(model.module).values()
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in weights)


@every_domain
def test_padding_company_and_order_do_not_matter(opened, name):
    _, model, items = opened(name)
    with torch.no_grad():
        together = model.example_loss(model.collate(items))
        alone = torch.cat([model.example_loss(model.collate([item])) for item in items])
        turned = model.example_loss(model.collate(items[::-1])).flip(0)
    assert torch.allclose(together, alone, atol=1e-4, rtol=1e-5)
    assert torch.allclose(together, turned, atol=1e-4, rtol=1e-5)


@every_domain
def test_it_is_asked_without_touching_the_callers_random_state(opened, name):
    _, model, items = opened(name)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        model.example_loss(model.collate(items[:2]))
    assert torch.equal(torch.random.get_rng_state(), state)


@every_domain
def test_other_labels_can_be_put_where_it_says_that_there_are_some(opened, name):
    _, model, items = opened(name)
    if not model.has_labels:
        pytest.skip("its examples have no labels")
    other = redraw_labels(items, items, 0, is_wrong=True)
    assert [item.id for item in other] == [item.id for item in items]
    with torch.no_grad():
        before, after = (model.example_loss(model.collate(side)) for side in (items, other))
    assert not torch.allclose(before, after)


class Wrapped(torch.nn.parallel.DistributedDataParallel):
    """The wrapper of a multi-process run, without any other process."""

    def __init__(self, module: torch.nn.Module) -> None:
        torch.nn.Module.__init__(self)
        self.module = module


@every_domain
def test_its_network_is_the_module_without_the_wrapper_of_several_processes(opened, name):
    _, model, _ = opened(name)
    bare = model.module
    assert model.network is bare and model.device == next(bare.parameters()).device
    model.module = Wrapped(bare)
    assert model.network is bare


@every_domain
def test_what_it_saves_are_its_weights(opened, name, tmp_path):
    _, model, _ = opened(name)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.01)
    model.save(tmp_path / "saved")
    files = [load_file(path) for path in sorted((tmp_path / "saved").rglob("*.safetensors"))]
    for key, weight in model.network.named_parameters():
        assert any(key in tensors and torch.equal(tensors[key], weight) for tensors in files), key


@every_domain
def test_what_the_record_says_of_it_is_plain(opened, name):
    _, model, items = opened(name)
    assert model.base_sha256 is None or re.fullmatch("[0-9a-f]{64}", model.base_sha256)
    before = json.loads(json.dumps(model.work_done()))
    with torch.no_grad():
        model.example_loss(model.collate(items[:2]))
    assert model.work_done().keys() == before.keys()
