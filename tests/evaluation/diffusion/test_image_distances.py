"""FID and KID against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.errors import DataError
from genunlearn.evaluation.diffusion import image_distances
from genunlearn.evaluation.diffusion.image_distances import fid, frechet, kid


def normal(n: int, dim: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) + shift


def gaussians(*values: object) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def test_the_distance_of_equal_covariances_is_that_of_the_means() -> None:
    # |(3, 4)|^2 = 25, and tr(I + I - 2 I) = 0.
    assert frechet(*gaussians([0, 0], [[1, 0], [0, 1]], [3, 4], [[1, 0], [0, 1]])) == pytest.approx(25)


def test_the_distance_of_commuting_covariances() -> None:
    # (2 - 1)^2 + (3 - 1)^2 = 5 for standard deviations 2, 3 and 1, 1.
    assert frechet(*gaussians([0, 0], [[4, 0], [0, 9]], [0, 0], [[1, 0], [0, 1]])) == pytest.approx(5)


def test_the_distance_of_covariances_that_do_not_commute() -> None:
    # A root of a 2 x 2 matrix P has trace sqrt(tr P + 2 sqrt(det P)); here tr P = 10 and det P = 3 * 4.
    expected = 4 + 5 - 2 * math.sqrt(10 + 2 * math.sqrt(12))
    cov_a, cov_b = [[2, 1], [1, 2]], [[1, 0], [0, 4]]
    assert frechet(*gaussians([0, 0], cov_a, [0, 0], cov_b)) == pytest.approx(expected)
    assert frechet(*gaussians([0, 0], cov_b, [0, 0], cov_a)) == pytest.approx(expected)


def test_fid_of_two_small_sets() -> None:
    # Means 1 and 3; sums of squares 4 and 16 over n - 1 = 3: (3 - 1)^2 + 4 / 3 + 16 / 3 - 2 sqrt(64 / 9) = 16 / 3.
    a, b = torch.tensor([[0.0], [0.0], [2.0], [2.0]]), torch.tensor([[1.0], [1.0], [5.0], [5.0]])
    assert fid(a, b)[0] == pytest.approx(16 / 3)


def test_fid_of_a_set_with_itself_is_zero_though_its_covariance_is_singular() -> None:
    features = normal(n=10, dim=64, seed=0)
    assert fid(features, features)[0] == pytest.approx(0, abs=1e-5)


def test_kid_of_two_small_sets() -> None:
    # k(x, y) = (x y + 1)^3. Within a = {0, 0, 0, 1} every pair has 1; within b = {1, 1, 1, 2} three pairs have 8 and
    # three have 27; across, twelve pairs with 0 have 1, three of (1, 1) have 8 and one of (1, 2) has 27.
    a, b = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([[1.0], [1.0], [1.0], [2.0]])
    assert kid(a, b)[0] == pytest.approx(1 + (3 * 8 + 3 * 27) / 6 - 2 * (12 * 1 + 3 * 8 + 27) / 16)


def test_kid_divides_the_product_by_the_number_of_features() -> None:
    # d = 2, products 2: k = (2 / 2 + 1)^3 = 8 within a; products 0: k = 1 within b and across.
    assert kid(torch.ones(4, 2), torch.zeros(4, 2))[0] == pytest.approx(8 + 1 - 2)


def test_kid_has_no_bias_and_fid_has() -> None:
    pairs = [(normal(20, 4, seed), normal(20, 4, seed + 1000)) for seed in range(100)]
    kids, fids = ([distance(a, b)[0] for a, b in pairs] for distance in (kid, fid))
    standard_error = float(torch.tensor(kids).std()) / math.sqrt(len(kids))
    assert abs(sum(kids) / len(kids)) < 3 * standard_error
    assert min(kids) < 0 < min(fids)


def test_kid_does_not_depend_on_the_rows_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(50, 4, 0), normal(30, 4, 1)
    whole = kid(a, b)
    monkeypatch.setattr(image_distances, "ROWS", 7)
    assert kid(a, b) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("distance", [fid, kid])
def test_the_interval_is_that_of_leaving_blocks_out_one_by_one(distance) -> None:
    a, b = normal(43, 4, 0), normal(60, 4, 1, shift=0.5)
    blocks = image_distances.BLOCKS
    without_a = [distance(a[torch.arange(43) % blocks != i], b)[0] for i in range(blocks)]
    without_b = [distance(a, b[torch.arange(60) % blocks != i])[0] for i in range(blocks)]
    variance = sum((blocks - 1) / blocks * sum((v - sum(w) / blocks) ** 2 for v in w) for w in (without_a, without_b))
    value, low, high = distance(a, b)
    assert (low, high) == pytest.approx((value - 1.96 * variance**0.5, value + 1.96 * variance**0.5), rel=1e-6)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # KID of equal distributions is zero: nineteen in twenty intervals should hold it.
    intervals = [kid(normal(60, 4, seed), normal(60, 4, seed + 1000)) for seed in range(100)]
    assert 88 <= sum(low <= 0 <= high for _, low, high in intervals) <= 100


def test_the_interval_narrows_with_the_number_of_images() -> None:
    widths = [high - low for _, low, high in (kid(normal(n, 4, 0), normal(n, 4, 1, shift=0.5)) for n in (40, 640))]
    assert 2.5 < widths[0] / widths[1] < 6.5  # the square root of 16 is 4


@pytest.mark.parametrize("shapes", [((3, 4), (5, 4)), ((5, 4), (5, 3)), ((5, 4, 2), (5, 4, 2))])
@pytest.mark.parametrize("distance", [fid, kid])
def test_sets_without_a_distance_are_refused(distance, shapes) -> None:
    with pytest.raises(DataError, match="four or more images a side"):
        distance(*(torch.zeros(shape) for shape in shapes))
