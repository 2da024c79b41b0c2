"""Mean and covariance of a set's features, streamed, merged and kept in files.

Sums are exact: features are rounded to multiples of 2^-24, which is finer than float32 above 1/2,
and every product is summed in parts that float64 holds whole. So neither the order of the clips nor
how they were divided among machines changes a bit, up to 2^21 clips and values of 2^8.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import models
from common.io import listing, replacing, shown
from common.models import pickles

SUFFIXES = (".safetensors", ".pkl")  # of ours, and of cd-fvd's and StyleGAN-V's

_GRID, _COARSE = 2.0**24, 2.0**8
_LARGEST, _MOST_CLIPS = 2.0**8, 2**21
_ABOUT = "about"

Doubles = NDArray[np.float64]


@dataclasses.dataclass
class Statistics:
    """Count, sum and second moment of features [N, D] that were `made` in one way."""

    made: Mapping[str, Any]  # recipe, weights, sampling, as JSON; empty where nothing says it
    keep_features: bool = False
    count: int = 0
    total: Doubles = dataclasses.field(default_factory=lambda: np.zeros(0))  # [D]
    # [3, D, D]: products of the features' multiples of 2^-8 with themselves and with what is left
    # of the features, and of that with itself.
    moments: Doubles = dataclasses.field(default_factory=lambda: np.zeros((3, 0, 0)))
    kept: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)

    def add(self, features: NDArray[Any]) -> None:
        """Adds rows [B, D]; `ValueError` for values that are not finite, or beyond 256."""
        if not np.abs(features).max(initial=0) < _LARGEST:
            raise ValueError(
                f"expected features between -256 and 256. Received {np.abs(features).max():g}. "
                "Check the weights, the frames and the precision."
            )
        rounded = np.rint(np.asarray(features, np.float64) * _GRID) / _GRID
        coarse = np.rint(rounded * _COARSE) / _COARSE
        rest = rounded - coarse
        products = coarse.T @ coarse, coarse.T @ rest, rest.T @ rest
        self._add(len(features), rounded.sum(axis=0), np.stack(products))
        if self.keep_features:
            self.kept.append(np.array(features, np.float32))

    def merge(self, *others: "Statistics") -> None:
        """Adds the clips of others; `ValueError` if they were made in another way."""
        check_same([self, *others])
        for other in others:
            self.made = self.made or other.made
            self._add(other.count, other.total, other.moments)
            self.keep_features &= other.keep_features
            self.kept += other.kept
        self.kept = self.kept if self.keep_features else []

    def _add(self, count: int, total: Doubles, moments: Doubles) -> None:
        if self.count + count > _MOST_CLIPS:
            raise ValueError(f"{self.count + count:,} clips; at most {_MOST_CLIPS:,} are exact.")
        first = not self.count
        self.count += count
        self.total = total if first else self.total + total
        self.moments = moments if first else self.moments + moments

    @property
    def mean(self) -> Doubles:
        return self.total / self.count

    def covariance(self, ddof: int) -> Doubles:
        """The covariance [D, D], divided by N - `ddof`; `ValueError` for too few clips."""
        if self.count <= ddof:
            raise ValueError(
                f"a covariance needs at least {ddof + 1} clips. Received {self.count}."
            )
        square, mixed, small = self.moments
        second = square + (mixed + mixed.T) + small
        centered = second - np.outer(self.total, self.total) / self.count
        return np.asarray(centered / (self.count - ddof))

    @property
    def features(self) -> NDArray[np.float32]:
        """The features [N, D] in an order of their own; `ValueError` unless they were kept."""
        if not self.keep_features:
            raise ValueError("the features were not kept; --keep_features keeps them.")
        rows = np.concatenate([np.zeros((0, len(self.total)), np.float32), *self.kept])
        return rows[np.lexsort(rows.T[::-1])]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state as arrays; those of several may be summed, but for "features"."""
        arrays = {"count": np.array([self.count]), "sum": self.total, "moments": self.moments}
        return arrays | ({"features": self.features} if self.keep_features else {})

    def write(self, path: Path, **also: object) -> None:
        """Writes a .safetensors atomically, with the features if they were kept."""
        about = json.dumps({"made": self.made, **also}, sort_keys=True)
        text = {_ABOUT: np.frombuffer(about.encode(), np.uint8)}
        with replacing(path) as temporary:
            models.safetensors.write(temporary, self.arrays() | text)


def of_arrays(made: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Statistics:
    """The statistics with such a state; `ValueError` for one that cannot be."""
    count, total, moments = (arrays[name] for name in ("count", "sum", "moments"))
    size = len(total)
    features = arrays.get("features")
    right = count.shape == (1,) and moments.shape == (3, size, size) and count[0] >= 0
    if not right or (features is not None and features.shape != (count[0], size)):
        raise ValueError("its arrays do not fit each other")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("its numbers are not finite")
    kept = [] if features is None else [features]
    return Statistics(made, bool(kept), int(count[0]), total, moments, kept)


def read(path: Path) -> tuple[Statistics, dict[str, Any]]:
    """Reads a file of statistics, and what else was written with them.

    A .pkl is cd-fvd's or StyleGAN-V's, read without executing anything; it does not say how it was
    made. `ValueError` for another or a damaged file, `FileNotFoundError` for none.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file of statistics.")
    try:
        if path.suffix == ".pkl":
            return _of_pickle(pickles.load(path)), {}
        arrays = models.read_arrays(path)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        return of_arrays(about.pop("made"), arrays), about
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: expected statistics of FVD: {error}.") from error


def _of_pickle(tree: Any) -> Statistics:
    values = tree if isinstance(tree, dict) else {}
    count, total, moment = (values.get(name) for name in ("num_items", "raw_mean", "raw_cov"))
    if type(count) is not int or not pickles.is_array(total) or not pickles.is_array(moment):
        raise ValueError("not a dictionary with num_items, raw_mean and raw_cov")
    total, moment = (np.asarray(pickles.array(each), np.float64) for each in (total, moment))
    moments = np.stack([moment, np.zeros_like(moment), np.zeros_like(moment)])
    arrays: dict[str, Any] = {"count": np.array([count]), "sum": total, "moments": moments}
    rows = values.get("all_features") or []
    if rows:
        found = [np.asarray(pickles.array(row), np.float32) for row in rows]
        arrays["features"] = np.concatenate(found)
    return of_arrays({}, arrays)


def check_same(parts: Sequence[Statistics]) -> None:
    """Raises `ValueError` unless all were made in one way; those that do not say it may be."""
    known = [part.made for part in parts if part.made]
    sizes = {len(part.total) for part in parts if part.count}
    if len(sizes) > 1:
        raise ValueError(f"features of several lengths do not go together: {sorted(sizes)}.")
    for other in known[1:]:
        both = known[0].keys() & other.keys()  # a program's own clips do not say their sampling
        if differing := [name for name in both if known[0][name] != other[name]]:
            values = (f"{x} {shown(known[0][x])} and {shown(other[x])}" for x in differing)
            raise ValueError(f"the statistics were made in different ways: {listing(values)}.")
