"""Cells, their networks and their cost; a search that goes on from its checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genunlearn.backbones.cells import NAMES, Genotype, discretise, edges_of, random_genotype
from genunlearn.backbones.cost import count_multiply_adds, count_weights, training_multiply_adds
from genunlearn.backbones.networks import FoundNetwork, SearchNetwork, reductions
from genunlearn.backbones.operations import OPERATIONS, FactorizedReduce
from genunlearn.backbones.search import Search, SearchItems, SearchSettings
from genunlearn.engine.checkpoints import Checkpoints, Position
from genunlearn.errors import DataError, NonFiniteLoss


def weights_of(rows):
    """Weights with one operation a row above all others, and `none` above that."""
    found = torch.full((len(rows), len(NAMES)), 0.01)
    found[:, 0] = 0.9
    for row, (name, weight) in enumerate(rows):
        found[row, NAMES.index(name)] = weight
    return found


def test_the_two_best_edges_of_each_node_are_kept():
    rows = [
        ("skip_connect", 0.2),  # node 2 has two edges: both stay, the heavier first
        ("sep_conv_3x3", 0.3),
        ("max_pool_3x3", 0.3),  # node 3 has three: the second goes
        ("avg_pool_3x3", 0.1),
        ("dil_conv_5x5", 0.4),
    ]
    found = discretise(weights_of(rows), weights_of(rows))
    assert found.normal == (("sep_conv_3x3", 1), ("skip_connect", 0), ("dil_conv_5x5", 2), ("max_pool_3x3", 0))
    assert found.nodes == 2 and Genotype.read(found.plain()) == found
    assert edges_of(4) == 14  # as in the paper


def test_a_drawn_cell_is_a_cell_and_the_seed_decides():
    assert random_genotype(4, 3) == random_genotype(4, 3) != random_genotype(4, 4)
    assert all(name != "none" for name, _ in random_genotype(4, 0).normal)


GOOD = [["sep_conv_3x3", 0], ["skip_connect", 1]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "not a cell"),
        ({"normal": GOOD}, "normal and reduction"),
        ({"normal": GOOD, "reduction": [["none", 0], ["skip_connect", 1]]}, "operation 'none'"),
        ({"normal": GOOD, "reduction": [["skip_connect", 2], ["skip_connect", 1]]}, "node 2 takes 0 to 1"),
        ({"normal": GOOD, "reduction": [["skip_connect", True], ["skip_connect", 1]]}, "comes from True"),
        ({"normal": GOOD, "reduction": GOOD[:1]}, "both need the same"),
        ({"normal": GOOD, "reduction": [1, 2]}, "give each edge"),
        ({"normal": [], "reduction": []}, "of 0 edges"),
    ],
)
def test_what_is_no_cell_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        Genotype.read(data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [7, 8])
def test_every_operation_keeps_or_halves_the_size(name, side):
    x = torch.randn(2, 4, side, side)
    assert OPERATIONS[name](4, 1, nn.BatchNorm2d)(x).shape == x.shape
    assert OPERATIONS[name](4, 2, nn.BatchNorm2d)(x).shape == (2, 4, 4, 4)


def test_a_reduction_of_even_sides_is_that_of_the_original():
    reduce, x = FactorizedReduce(4, 6, nn.BatchNorm2d).eval(), torch.randn(2, 4, 8, 8)
    positive = F.relu(x)
    original = reduce.norm(torch.cat([reduce.first(positive), reduce.second(positive[:, :, 1:, 1:])], 1))
    assert torch.equal(reduce(x), original)


def test_cells_that_reduce_stand_at_thirds():
    assert [sorted(reductions(cells)) for cells in (2, 3, 8)] == [[1], [1, 2], [2, 5]]


def test_weights_and_multiply_adds_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3)
    )
    assert count_weights(network) == 2 * 9 + 2 * 2 + 32 * 3 + 3
    assert count_multiply_adds(network, (1, 4, 4)) == 16 * 2 * 9 + 32 * 3
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4))
    assert count_multiply_adds(grouped, (4, 8, 8)) == 4 * 4 * 4 * 9
    assert training_multiply_adds(10, 7, 2) == 3 * 10 * 7 * 2


def test_a_found_network_has_no_more_than_its_edges():
    skips = Genotype((("skip_connect", 0), ("skip_connect", 1)), (("max_pool_3x3", 0), ("max_pool_3x3", 1)))
    network = FoundNetwork(skips, 1, 3, cells=2, channels=2)
    # stem 9*6 + 12; entrances 6*2 + 4 twice, then 6*4 + 8 and 2*4 + 8; classifier 4*3 + 3
    assert count_weights(network) == 66 + 2 * 16 + 32 + 16 + 15
    assert network(torch.randn(2, 1, 9, 9)).shape == (2, 3)


def search(**given):
    torch.manual_seed(0)
    network = SearchNetwork(1, 3, cells=2, channels=2, nodes=1)
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(24, 1, 4, 4, generator=draw), torch.arange(24) % 3
    items = SearchItems(train=(x[:12], y[:12]), valid=(x[12:], y[12:]), is_forget=y[:12] == 1)
    return Search(network, items, SearchSettings(epochs=2, batch_size=6, **given), seed=0)


@pytest.mark.parametrize("is_second_order", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_search_goes_on_from_its_checkpoint_to_the_same_weights(is_second_order, tmp_path):
    given = {"is_second_order": is_second_order, "forgettability": 0.5}
    whole = search(**given)
    first = whole.epoch(0)
    saved = Checkpoints(tmp_path, "search")
    saved.save(Position(0, 1, False, [first]), dict(whole.network.named_parameters()), whole.optimizers)
    second = whole.epoch(1)
    later = search(**given)
    saved.restore(later.network, later.optimizers)
    assert later.epoch(1) == second and "forget_gap" in second
    for mine, its in zip(later.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_order_and_forgettability_move_the_architecture():
    moved = {}
    for second in (False, True):
        for weight in (0.0, 5.0):
            one = search(is_second_order=second, forgettability=weight)
            before = one.network.alphas[0].detach().clone()
            one.epoch(0)
            moved[second, weight] = one.network.alphas[0].detach() - before
    assert all(move.abs().sum() > 0 for move in moved.values())
    assert not torch.equal(moved[False, 0.0], moved[True, 0.0])
    assert not torch.equal(moved[False, 0.0], moved[False, 5.0])


def test_a_loss_that_is_no_number_ends_the_search():
    one = search()
    with torch.no_grad():
        one.network.classifier.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="epoch 0 of the search"):
        one.epoch(0)
