"""Ordinary training of a network."""

import pytest
import torch
from torch import nn

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.domains.network.fitting import FitConfig, fit


def test_a_line_is_found() -> None:
    x = torch.linspace(-1, 1, 64)[:, None]
    domain = Regressor(nn.Linear(1, 1))
    losses = fit(domain, as_items((x, 3 * x[:, 0] - 1)), FitConfig(epochs=60, learning_rate=0.1, batch_size=16), seed=0)
    assert losses[-1] < 1e-3 < losses[0]
    assert domain.module.weight.item() == pytest.approx(3, abs=0.1)
    assert not domain.module.training


def test_the_seed_decides_and_the_callers_random_state_stays() -> None:
    items = as_items((torch.randn(30, 4), torch.arange(30) % 2))
    results, state = [], torch.random.get_rng_state()
    for _ in range(2):
        domain = Classifier(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))
        domain.reinitialise(1)
        fit(domain, items, FitConfig(epochs=2, learning_rate=0.01, batch_size=8), seed=7)
        results.append(domain.predict(items))
        torch.random.set_rng_state(state)
    assert torch.equal(*results)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_last_batch_of_one_is_left_out_for_batchnorm() -> None:
    domain = Classifier(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), learns_statistics=True)
    fit(
        domain,
        as_items((torch.randn(9, 2), torch.arange(9) % 2)),
        FitConfig(epochs=1, learning_rate=0.1, batch_size=8),
        seed=0,
    )
    assert domain.module[1].num_batches_tracked == 1
