"""Distances between two sets of features: Fréchet's, the kernel distance, and how sure they are."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from common.fvd.recipes import Recipe
from common.fvd.statistics import Statistics

FEW = 256  # clips: with fewer, a value says more about their number than about the videos

_RESAMPLES = 200
_SIZES, _DRAWS = 8, 4  # numbers of clips that the fit is through, and subsets of each
_BLOCK = 2048  # rows of a kernel at a time

Doubles = NDArray[np.float64]
Rows = NDArray[np.float32]


def frechet(real: Statistics, fake: Statistics, recipe: Recipe) -> float:
    """The squared Fréchet distance of two Gaussians, as the recipe computes it."""
    one, other = (each.covariance(recipe.ddof) for each in (real, fake))
    difference = real.mean - fake.mean
    for covariance in (one, other):
        covariance[np.diag_indices_from(covariance)] += recipe.ridge
    # The trace of the root of a product of two matrices is that of the symmetric root of R B R,
    # where R is the symmetric root of A.
    values, vectors = np.linalg.eigh(one)
    root = (vectors * _roots(values, recipe.floor)) @ vectors.T
    product = np.linalg.eigvalsh(root @ other @ root)
    mixed = _roots(product, recipe.floor).sum()
    return float(difference @ difference + np.trace(one) + np.trace(other) - 2 * mixed)


def _roots(values: Doubles, floor: float) -> Doubles:
    """Square roots, of those below `floor` the value itself; rounding may make some negative."""
    values = values.clip(0)
    return np.where(values < floor, values, np.sqrt(values))


def kernel(real: Rows, fake: Rows) -> float:
    """KVD: the unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^3.

    As in songweige/TATS. `ValueError` for a set of one clip.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError("KVD needs at least two clips of each set.")
    own = 0.0
    for rows in (real, fake):
        doubles = rows.astype(np.float64)
        diagonal = _cubic((doubles**2).sum(axis=1), rows.shape[1]).sum()
        own += (_kernel_sum(rows, rows) - diagonal) / (len(rows) * (len(rows) - 1))
    return float(own - 2 * _kernel_sum(real, fake) / (len(real) * len(fake)))


def _kernel_sum(a: Rows, b: Rows) -> float:
    b = b.astype(np.float64)
    blocks = (a[start : start + _BLOCK] for start in range(0, len(a), _BLOCK))
    return float(sum(_cubic(x.astype(np.float64) @ b.T, a.shape[1]).sum() for x in blocks))


def _cubic(products: Doubles, size: int) -> Doubles:
    return np.asarray((products / size + 1) ** 3)


def interval(real: Rows, fake: Rows, recipe: Recipe, seed: int = 0) -> tuple[float, float]:
    """A 95 % interval of the Fréchet distance, by the basic bootstrap over the clips of both sets.

    A resample has fewer different clips, so its distance is larger, by as much as the value itself
    is too large; the basic interval, 2 * value - quantile, takes that back.
    """
    rng = np.random.default_rng(seed)
    value = _distance(real, fake, recipe)
    found = []
    for _ in range(_RESAMPLES):
        one, other = (rows[rng.integers(0, len(rows), len(rows))] for rows in (real, fake))
        found.append(_distance(one, other, recipe))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(2 * value - high), float(2 * value - low)


@dataclasses.dataclass(frozen=True)
class Fit:
    """The distance against the number of clips, and the line in 1 / N through it."""

    sizes: tuple[int, ...]  # clips of the smaller set
    values: tuple[float, ...]  # means over subsets
    infinity: float  # where the line meets 1 / N = 0
    slope: float
    r2: float  # share of the values' variance that the line explains


def extrapolate(real: Rows, fake: Rows, recipe: Recipe, seed: int = 0) -> Fit:
    """Fits the distance of random subsets against 1 / N, as FID-infinity (Chong and Forsyth, 2020).

    Subsets are the same share of both sets, from a quarter to all.
    """
    rng = np.random.default_rng(seed)
    smaller = min(len(real), len(fake))
    shares = np.linspace(0.25, 1, _SIZES)
    values = [np.mean([*_subsets(real, fake, recipe, share, rng)]) for share in shares]
    sizes = np.rint(shares * smaller).astype(int)
    slope, infinity = np.polyfit(1 / sizes, values, 1)
    missed = values - (slope / sizes + infinity)
    r2 = 1 - missed @ missed / max(np.var(values) * len(values), np.finfo(float).tiny)
    return Fit(tuple(sizes.tolist()), tuple(map(float, values)), infinity, slope, float(r2))


def _subsets(
    real: Rows, fake: Rows, recipe: Recipe, share: float, rng: np.random.Generator
) -> Iterator[float]:
    for _ in range(_DRAWS if share < 1 else 1):
        some, others = (
            rows[rng.choice(len(rows), max(2, round(share * len(rows))), replace=False)]
            for rows in (real, fake)
        )
        yield _distance(some, others, recipe)


def _distance(real: Rows, fake: Rows, recipe: Recipe) -> float:
    one, other = Statistics({}), Statistics({})
    one.add(real)
    other.add(fake)
    return frechet(one, other, recipe)
