import dataclasses

import numpy as np
import pytest

from common.fvd import distance
from common.fvd.recipes import RECIPES
from common.fvd.statistics import Statistics

PLAIN = RECIPES["common_metrics"]


def rows(count, size, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(size, size))
    return (rng.normal(size=(count, size)) @ mix + shift).astype(np.float32)


def of(features):
    found = Statistics({})
    found.add(features)
    return found


def test_sets_without_spread_differ_by_their_means():
    real, fake = np.zeros((5, 3), np.float32), np.full((4, 3), 2, np.float32)
    for recipe in RECIPES.values():
        assert distance.frechet(of(real), of(fake), recipe) == pytest.approx(12.0, rel=1e-12)


def test_of_gaussians_with_a_known_distance():
    """In one dimension it is (m1 - m2)^2 + (s1 - s2)^2; ddof and ridge change the deviations."""
    real, fake = np.float32([[0], [2]]), np.float32([[3], [9]])
    for changes, expected in (
        ({"ddof": 1}, 25 + (np.sqrt(2) - np.sqrt(18)) ** 2),
        ({"ddof": 0}, 25 + (1 - 3) ** 2),
        ({"ddof": 0, "ridge": 3.0}, 25 + (2 - np.sqrt(12)) ** 2),
        ({"ddof": 0, "floor": 100.0}, 25 + 1 + 9 - 2 * 9),  # a root is left out twice
    ):
        recipe = dataclasses.replace(PLAIN, **changes)
        assert distance.frechet(of(real), of(fake), recipe) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [3, 40])
def test_the_root_is_scipys(size):
    linalg = pytest.importorskip("scipy.linalg")
    real, fake = of(rows(300, size, 1)), of(rows(200, size, 2, 0.5))
    one, other = real.covariance(1), fake.covariance(1)
    root = linalg.sqrtm(one @ other).real
    mean = ((real.mean - fake.mean) ** 2).sum()
    expected = mean + np.trace(one + other - 2 * root)
    assert distance.frechet(real, fake, PLAIN) == pytest.approx(expected, rel=1e-8)


def test_a_set_and_itself():
    real = of(rows(50, 80, 1))  # of fewer clips than features: the covariance has no full rank
    assert abs(distance.frechet(real, real, PLAIN)) < 1e-6 * np.trace(real.covariance(1))


def test_the_kernel_distance_is_its_definition():
    real, fake = rows(9, 4, 1) / 9, rows(7, 4, 2, 0.3) / 9

    def kernel(x, y):
        return (np.dot(x.astype(float), y.astype(float)) / 4 + 1) ** 3

    own = [
        np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
        for a in (real, fake)
    ]
    mixed = np.mean([kernel(x, y) for x in real for y in fake])
    assert distance.kernel(real, fake) == pytest.approx(sum(own) - 2 * mixed, rel=1e-10)
    with pytest.raises(ValueError, match="two clips"):
        distance.kernel(real[:1], fake)


def test_interval_and_extrapolation_find_the_true_distance():
    """Two Gaussians with the same covariance, half a unit apart in each of 16 dimensions."""
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(2, 600, 16)).astype(np.float32)
    fake += np.float32(0.5)
    value = distance.frechet(of(real), of(fake), PLAIN)
    low, high = distance.interval(real, fake, PLAIN)
    fit = distance.extrapolate(real, fake, PLAIN)
    true = 16 * 0.25
    assert low < true < high and high - low < 2
    assert fit.sizes[0] == 150 and fit.sizes[-1] == 600 and fit.values[-1] == pytest.approx(value)
    assert abs(fit.infinity - true) < abs(fit.values[0] - true) / 2
    assert fit.slope > 0 and fit.r2 > 0.9
    assert distance.interval(real, fake, PLAIN) == (low, high)
