"""`genunlearn.unlearn` on plain tensors: the module comes back itself, and without the class."""

import pytest
import torch
from torch import nn

import genunlearn
from genunlearn.config import MethodConfig, TrainConfig
from genunlearn.errors import ConfigError, DataError, NameNotFound, NeedNotMet
from genunlearn.runs.methods import build_method

CENTRES = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])


@pytest.fixture
def taught():
    """Three well-separated blobs and a small network that tells them apart."""
    torch.manual_seed(0)
    y = torch.arange(3).repeat(60)
    x = CENTRES[y] + 0.3 * torch.randn(len(y), 2)
    network = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network, x, y


def accuracy(network, x, y):
    return (network(x).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("method", ["neg_grad_plus", "bad_teaching", "amnesiac", "grad_diff"])
def test_a_class_goes_and_the_others_stay(taught, method):
    network, x, y = taught
    gone = y == 0
    assert accuracy(network, x, y) == 1.0
    settings = TrainConfig(learning_rate=5e-3, batch_size=32, max_steps=60)
    result = genunlearn.unlearn(
        network, forget=(x[gone], y[gone]), retain=(x[~gone], y[~gone]), method=method, train=settings
    )
    assert result is network
    assert accuracy(network, x[gone], y[gone]) <= 0.5
    assert accuracy(network, x[~gone], y[~gone]) >= 0.95


def test_same_seed_same_weights(taught):
    network, x, y = taught
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights = []
    for _ in range(2):
        network.load_state_dict(start)
        genunlearn.unlearn(network, forget=(x[y == 0], y[y == 0]), retain=(x[y > 0], y[y > 0]), method="grad_diff")
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*weights)


def test_the_seed_reaches_methods_with_a_seed_of_their_own():
    section = MethodConfig(name="gkt")
    assert build_method(section, seed=5).seed == 5
    assert build_method(MethodConfig.model_validate({"name": "gkt", "seed": 3}), seed=5).seed == 3


def test_an_edit_needs_no_training(taught):
    network, x, y = taught
    genunlearn.unlearn(network, forget=(x[y == 0], y[y == 0]), retain=(x[y > 0], y[y > 0]), method={"name": "ssd"})
    assert accuracy(network, x[y > 0], y[y > 0]) >= 0.95


def test_a_missing_need_is_named(taught):
    network, x, y = taught
    with pytest.raises(NeedNotMet, match="'bad_teaching' needs retain"):
        genunlearn.unlearn(network, forget=(x, y))


def test_a_method_of_another_family_is_refused(taught):
    network, x, y = taught
    with pytest.raises(NameNotFound, match="'npo' is for lm, not for network"):
        genunlearn.unlearn(network, forget=(x[:9], y[:9]), retain=(x[9:], y[9:]), method="npo")


def test_labels_out_of_range_are_refused(taught):
    network, x, y = taught
    with pytest.raises(DataError, match="labels are 0 to 2"):
        genunlearn.unlearn(network, forget=(x[:9], y[:9] + 7), retain=(x[9:], y[9:]))


def test_an_unknown_hyperparameter_is_named(taught):
    network, x, y = taught
    with pytest.raises(ConfigError, match="did you mean 'gamma'"):
        genunlearn.unlearn(
            network, forget=(x[:9], y[:9]), retain=(x[9:], y[9:]), method={"name": "grad_diff", "gama": 2.0}
        )
