"""UNSIR and error min-max noise: the noise itself, what is trained on it, and what it does to the digits."""

from collections.abc import Callable

import pytest
import torch

from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.noise import NoiseRecipe, find_noise, input_shape
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.lab.network.study import Lab
from genunlearn.methods.network.emmn import EMMN
from genunlearn.methods.network.unsir import Unsir
from genunlearn.registry import DOMAINS
from tests.small_networks import kept_and_forgotten, tabled, unit_items, unlearn

RECIPE = NoiseRecipe(count=8, steps=30, l2_weight=0.0)


def loss_of_noise(noise: torch.Tensor, label: int) -> float:
    items = as_items((noise, [label] * len(noise)))
    return MODEL.example_loss(MODEL.collate(items)).mean().item()


MODEL = tabled([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
EXAMPLE = unit_items([0], 3)[0]


def test_noise_raises_or_lowers_the_loss_of_its_label() -> None:
    start = find_noise(MODEL, 1, EXAMPLE, NoiseRecipe(count=8, steps=0), is_maximising=True, seed=3)
    assert torch.equal(start, torch.randn(8, 3, generator=torch.Generator().manual_seed(3)))
    harder = find_noise(MODEL, 1, EXAMPLE, RECIPE, is_maximising=True, seed=3)
    easier = find_noise(MODEL, 1, EXAMPLE, RECIPE, is_maximising=False, seed=3)
    assert loss_of_noise(easier, 1) < loss_of_noise(start, 1) < loss_of_noise(harder, 1)
    assert MODEL.module.weight.grad is None


def test_one_step_of_noise_by_hand() -> None:
    # The first step of Adam moves by the learning rate against the gradient's sign. With the norm's weight alone
    # in play (one class, so that the loss is 0), the gradient has the noise's own sign.
    model = tabled([[1.0], [1.0]])
    recipe = NoiseRecipe(count=4, steps=1, learning_rate=0.1, l2_weight=0.1)
    noise = find_noise(model, 0, unit_items([0], 2)[0], recipe, is_maximising=True, seed=0)
    start = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise, start - 0.1 * start.sign(), atol=1e-5, rtol=0)


def test_noise_cannot_stand_in_for_tokens() -> None:
    item = Item(id="a", inputs={"input_ids": torch.tensor([1])}, target=torch.tensor(0))
    with pytest.raises(MismatchError, match="inputs input_ids: noise"):
        input_shape([item])


class Calls:
    """Records what would be trained on."""

    def __init__(self) -> None:
        self.seen: list[tuple[Splits, int | None]] = []
        self.rates: list[float | None] = []

    def __call__(
        self, objective: object, splits: Splits, *, steps: int | None = None, learning_rate: float | None = None
    ) -> None:
        self.seen.append((splits, steps))
        self.rates.append(learning_rate)


SPLITS = Splits(forget=unit_items([0, 1], 3), retain=unit_items([2], 3, start=2) * 5)
SMALL = {"noise_count": 2, "noise_steps": 1, "noise_copies": 3, "samples_per_class": 4}


def test_unsir_impairs_on_noise_and_repairs_on_retain_data() -> None:
    train = Calls()
    Unsir(**SMALL, impair_steps=7, repair_steps=5).run(train, MODEL, SPLITS, None)
    (impair, impair_steps), (repair, repair_steps) = train.seen
    assert (impair_steps, repair_steps) == (7, 5)
    labels = [int(item.target) for item in impair.retain]
    assert labels == [0, 0, 1, 1] * 3 + [2] * 4
    assert [int(item.target) for item in repair.retain] == [2] * 4
    assert list(impair.forget) == []


def test_unsir_gives_its_stages_rates_of_their_own_where_it_has_them() -> None:
    train = Calls()
    Unsir(**SMALL, impair_rate=0.02, repair_rate=0.01).run(train, MODEL, SPLITS, None)
    Unsir(**SMALL).run(train, MODEL, SPLITS, None)
    assert train.rates == [0.02, 0.01, None, None]


def test_the_authors_label_all_noise_with_the_first_class() -> None:
    train = Calls()
    Unsir(**SMALL, noise_labels="authors").run(train, MODEL, SPLITS, None)
    assert [int(item.target) for item in train.seen[0][0].retain[:12]] == [0] * 12


def test_unsir_never_looks_at_the_inputs_of_the_forget_set() -> None:
    zeroed = [Item(id=i.id, inputs={"x": torch.zeros(3)}, target=i.target) for i in SPLITS.forget]
    first, second = Calls(), Calls()
    Unsir(**SMALL).run(first, MODEL, SPLITS, None)
    Unsir(**SMALL).run(second, MODEL, Splits(forget=zeroed, retain=SPLITS.retain), None)
    pairs = zip(first.seen[0][0].retain, second.seen[0][0].retain, strict=True)
    assert all(torch.equal(a.inputs["x"], b.inputs["x"]) for a, b in pairs)


def test_emmn_trains_on_noise_of_every_class_and_no_data() -> None:
    train = Calls()
    splits = Splits(forget=SPLITS.forget[:1])
    EMMN(noise_count=2, forget_steps=20, retain_steps=20).run(train, MODEL, splits, None)
    ((trained, _),) = train.seen
    assert [int(item.target) for item in trained.retain] == [0, 0, 1, 1, 2, 2]
    noise = torch.stack([item.inputs["x"] for item in trained.retain])
    assert loss_of_noise(noise[:2], 0) > 1.1 > loss_of_noise(noise[2:4], 1)
    EMMN().check(DOMAINS.get("classifier"), retain=False)
    with pytest.raises(NeedNotMet, match="'unsir' needs retain"):
        Unsir().check(DOMAINS.get("classifier"), retain=False)


SMALL_LAB = {"noise_count": 64, "noise_copies": 8, "samples_per_class": 100, "impair_steps": 25, "repair_steps": 15}


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["class:3", "class:3,8"])
def test_unsir_forgets_one_digit_and_two(open_study: Callable[..., Lab], request_: str) -> None:
    lab = open_study(request=request_)
    unlearn(lab.original, Unsir(**SMALL_LAB), lab.splits, rate=3e-3)
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.3 and retain > 0.9


@pytest.mark.slow
def test_emmn_forgets_a_digit_without_data(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    splits = Splits(forget=lab.splits.forget[:1])
    unlearn(lab.original, EMMN(), splits, rate=5e-3, steps=30)
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.1 and retain > 0.85
