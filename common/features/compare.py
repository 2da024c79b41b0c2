"""Compares two files of features, whichever tools wrote them."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import command
from common.features import outputs
from common.io import escape, listing
from common.settings import UsageError, setting

MOST_SHIFT = 64
"""Rows; at one every 8 frames and 25 frames per second, 20 seconds."""

_MOST_SHOWN = 20
_MARGIN = 1e-6  # of a cosine, by which a shift has to be better: float32 rounds at 1e-7

_Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Compares two files of features, whichever tools wrote them.

    i3d features compare mine.h5 theirs.npy

    Reads .npy (an array, or a dictionary of individuals), .npz, .safetensors and .h5. Prints
    shapes, the mean and the smallest cosine between rows, the largest difference, and the shift in
    time at which rows agree best. Arrays are compared by name; if both files hold a single one,
    whatever its name. Of arrays with three axes or more, those of size 1 are dropped; if one has
    more rows, the first ones are compared. The exit status is 0 however much they differ, and 1 if
    arrays cannot be compared.
    """

    files: tuple[str, ...] = setting("Two files of features.", (), positional=True)


class Agreement(NamedTuple):
    """How far two arrays agree.

    Attributes:
        rows: Number of rows that were compared.
        mean: Mean cosine between the rows (or their crops) of A and B.
        least: Smallest cosine.
        absolute: Largest difference between two numbers.
        relative: That difference over the largest number of A.
        shift: Row i of A is best compared with row i + shift of B.
        shifted: Mean cosine after that shift.
    """

    rows: int
    mean: float
    least: float
    absolute: float
    relative: float
    shift: int
    shifted: float

    def text(self) -> str:
        text = (
            f"{self.rows} rows, mean cosine {self.mean:.6f}, least {self.least:.6f}, largest "
            f"difference {self.absolute:.3g} ({self.relative:.3g} of the largest value in A)"
        )
        if self.shift:
            text += f"; row i of A and row i{self.shift:+d} of B: mean cosine {self.shifted:.6f}"
        return text


def agreement(a: NDArray[np.generic], b: NDArray[np.generic]) -> Agreement:
    """Compares arrays [N, D] or [N, crops, D] whose N may differ, with axes of size 1 anywhere.

    Raises:
        ValueError: They are not finite numbers, or differ in more than N.
    """
    x, y = _rows(a, "A"), _rows(b, "B")
    if x.shape[1:] != y.shape[1:] or not x.size or not y.size:
        raise ValueError(
            f"expected rows of one size, at least one. Received: {list(a.shape)} in A, "
            f"{list(b.shape)} in B."
        )
    count = min(len(x), len(y))
    difference = float(np.abs(x[:count] - y[:count]).max())
    largest = float(np.abs(x[:count]).max())
    relative = difference / largest if largest else np.inf if difference else 0.0
    x, y = _units(x), _units(y)
    cosines = _cosines(x, y, 0)
    mean, least = float(cosines.mean()), float(cosines.min())
    return Agreement(count, mean, least, difference, relative, *_best_shift(x, y))


def compare(one: str, other: str) -> tuple[str, bool]:
    """Compares two files; returns a report, and whether all that both have could be compared.

    Raises:
        FileNotFoundError, ValueError, ImportError: See `outputs.read`.
    """
    a, b = outputs.read(one), outputs.read(other)
    lines = [f"A: {one}: arrays: {len(a)}", f"B: {other}: arrays: {len(b)}"]
    if len(a) == len(b) == 1:
        a, b = ({outputs.NAME: array} for held in (a, b) for array in held.values())
    for letter, only in (("A", a.keys() - b.keys()), ("B", b.keys() - a.keys())):
        if only:
            lines.append(f"only in {letter}: {listing(only)}")
    pairs: list[tuple[float, str]] = []
    for name in (name for name in a if name in b):
        try:
            found = agreement(a[name], b[name])
            mean, text = found.mean, found.text()
        except ValueError as error:
            mean, text = -np.inf, str(error)
        pairs.append((mean, f"{name}: {list(a[name].shape)} and {list(b[name].shape)}: {text}"))
    pairs.sort()  # the worst first
    lines += [text for _, text in pairs[:_MOST_SHOWN]]
    if len(pairs) > _MOST_SHOWN:
        lines.append(f"and {len(pairs) - _MOST_SHOWN} more that agree better")
    if not pairs:
        lines.append("no array of A has the name of one of B")
    return "\n".join(map(escape, lines)), bool(pairs) and pairs[0][0] > -np.inf


def _rows(array: NDArray[np.generic], letter: str) -> _Floats:
    """The rows [N, D] or [N, crops, D] of an array; [D] is one row."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers. Received: {array.dtype} in {letter}.")
    rows = np.asarray(array, np.float64)
    if bad := int((~np.isfinite(rows)).sum()):
        raise ValueError(f"expected finite numbers. Received: {bad} others in {letter}.")
    if rows.ndim > 2:
        rows = rows.reshape([size for size in rows.shape if size != 1])
    return rows if rows.ndim > 1 else rows.reshape(1, -1)


def _units(rows: _Floats) -> _Floats:
    """Unit vectors, with one more coordinate for rows of zeros, so that those are alike."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    zero = lengths == 0
    return np.concatenate([rows / np.where(zero, 1, lengths), zero], axis=-1)


def _cosines(a: _Floats, b: _Floats, shift: int) -> _Floats:
    """Cosines of row i of `a` and row i + shift of `b`, wherever both exist."""
    a, b = a[max(0, -shift) :], b[max(0, shift) :]
    count = min(len(a), len(b))
    return np.asarray(np.einsum("...d,...d->...", a[:count], b[:count]))


def _best_shift(a: _Floats, b: _Floats) -> tuple[int, float]:
    """The shift with the largest mean cosine, and that cosine; 0 unless another is better.

    Half of the rows of the shorter must be left: single rows are easily alike.
    """
    count = min(len(a), len(b))
    most = min(MOST_SHIFT, count - 1)
    best, largest = 0, -np.inf
    for shift in sorted(range(-most, most + 1), key=abs):
        cosines = _cosines(a, b, shift)
        if 2 * len(cosines) >= count and cosines.mean() > largest + _MARGIN:
            best, largest = shift, float(cosines.mean())
    return best, largest


def main(settings: Settings) -> int:
    if len(settings.files) != 2:
        raise UsageError("give the paths of two files of features")
    text, comparable = compare(*settings.files)
    print(text)
    return 0 if comparable else 1


if __name__ == "__main__":
    command.start(main, Settings)
