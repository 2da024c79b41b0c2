"""Says how far two files of features agree, whichever tools wrote them.

    python -m common.features.compare mine.npy theirs.npz
    i3d features compare mine.h5 theirs.npy

Reads .npy (an array, or a dictionary of individuals), .npz, .safetensors and .h5. Arrays are
compared by name; where both files hold a single one, whatever its name. Of arrays with three axes
or more, those of size 1 are dropped; where one has more rows, the first ones are compared. The exit
status is 0 however much they differ, and 1 where arrays cannot be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import app
from numpy.typing import NDArray

from common import command
from common.features import outputs
from common.io import escape, listing

MOST_SHIFT = 64
"""Rows; at one every 8 frames and 25 frames a second, 20 seconds."""

MOST_SHOWN = 20

_MARGIN = 1e-6  # of a cosine, by which a shift has to be better: float32 rounds at 1e-7

_Array = NDArray[Any]


@dataclass(frozen=True)
class Agreement:
    """How far two arrays agree.

    Attributes:
        rows: How many rows were compared.
        shorter: Whether one has more than those.
        mean: Mean of the cosines between the rows of A and B, or their crops.
        least: The smallest of them.
        absolute: The largest difference between two numbers.
        relative: That over the largest number of A.
        shift: Row i of A is best compared with row i + shift of B.
        shifted: The mean cosine then.
    """

    rows: int
    shorter: bool
    mean: float
    least: float
    absolute: float
    relative: float
    shift: int
    shifted: float


def compare(one: str, other: str) -> tuple[str, bool]:
    """A text for people, and whether all that both have could be compared.

    Args:
        one: Path of a file of features, as `outputs.read` reads them.
        other: The same.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is damaged or of another kind.
        ImportError: HDF5 needs h5py.
    """
    a, b = outputs.read(one), outputs.read(other)
    lines = [f"A: {one}: {_about(a)}", f"B: {other}: {_about(b)}"]
    if len(a) == len(b) == 1:
        a, b = ({outputs.NAME: array} for held in (a, b) for array in held.values())
    for letter, only in (("A", a.keys() - b.keys()), ("B", b.keys() - a.keys())):
        if only:
            lines.append(f"only in {letter}: {listing(only)}")
    found: dict[str, Agreement] = {}
    notes, wrong = [], []
    for name in a:
        if name in b:
            try:
                found[name] = agreement(a[name], b[name])
            except ValueError as error:
                wrong.append(f"{name}: {error}")
            else:
                notes += _notes(name, a[name].shape, b[name].shape, found[name])
    lines += _table(found) + _first(notes, "notes") + _first(wrong, "that cannot be compared")
    if not found and not wrong:
        lines.append("no array of A has the name of one of B")
    return "\n".join(map(escape, lines)), bool(found) and not wrong


def agreement(a: _Array, b: _Array) -> Agreement:
    """How far two arrays agree.

    Args:
        a: [N, D] or [N, crops, D] of numbers, with axes of size 1 anywhere; [D] is one row.
        b: The same with another N.

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
    units = _units(x), _units(y)
    cosines = _cosines(*units, 0)
    shift, shifted = _best_shift(*units)
    mean, least = float(cosines.mean()), float(cosines.min())
    return Agreement(count, len(x) != len(y), mean, least, difference, relative, shift, shifted)


def _about(arrays: Mapping[str, _Array]) -> str:
    if len(arrays) > 1:
        return f"{len(arrays)} arrays"
    ((name, array),) = arrays.items()
    return f"{name or 'one array'} {list(array.shape)} {array.dtype}"


def _rows(array: _Array, letter: str) -> NDArray[np.float64]:
    """[N, D] or [N, crops, D] of an array."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers. Received: {array.dtype} in {letter}.")
    rows = np.asarray(array, np.float64)
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).sum())
        raise ValueError(f"expected finite numbers. Received: {bad} others in {letter}.")
    if rows.ndim > 2:
        rows = rows.reshape([size for size in rows.shape if size != 1])
    return rows if rows.ndim > 1 else rows.reshape(1, -1)


def _units(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors of length 1, with one coordinate more for those that are 0: these are alike."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    zero = lengths == 0
    return np.concatenate([rows / np.where(zero, 1, lengths), zero], axis=-1)


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64], shift: int) -> NDArray[np.float64]:
    """Of row i of `a` and row i + shift of `b`, wherever both are."""
    a, b = a[max(0, -shift) :], b[max(0, shift) :]
    count = min(len(a), len(b))
    return np.asarray(np.einsum("...d,...d->...", a[:count], b[:count]))


def _best_shift(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[int, float]:
    """The shift with the largest mean cosine, and that; 0 unless another is better.

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


def _table(found: Mapping[str, Agreement]) -> list[str]:
    """A line for each pair, those that agree least first."""
    if not found:
        return []
    shown = sorted(found.items(), key=lambda pair: pair[1].mean)[:MOST_SHOWN]
    width = max(5, *(len(name) for name, _ in shown))
    lines = [
        f"  {'array':{width}}    rows  mean cosine  least cosine  largest difference"
        "  of the largest value in A"
    ]
    lines += [
        f"  {name:{width}}  {x.rows:6}  {x.mean:11.6f}  {x.least:12.6f}  {x.absolute:18.3g}"
        f"  {x.relative:.3g}"
        for name, x in shown
    ]
    if len(found) > MOST_SHOWN:
        lines.append(f"  and {len(found) - MOST_SHOWN} more that agree better")
    return lines


def _notes(name: str, a: Sequence[int], b: Sequence[int], found: Agreement) -> list[str]:
    """What was done to arrays of these shapes, and whether a shift is better."""
    done = []
    if any(len(shape) > 2 and 1 in shape for shape in (a, b)):
        done.append("axes of size 1 are dropped")
    if found.shorter:
        done.append(f"the first {found.rows} rows are compared")
    notes = [f"{name}: {list(a)} in A, {list(b)} in B: {', '.join(done)}"] if done else []
    if found.shift:
        notes.append(
            f"{name}: shifted they agree better: row i of A and row i{found.shift:+d} of B have a "
            f"mean cosine of {found.shifted:.6f}"
        )
    return notes


def _first(lines: Sequence[str], what: str) -> list[str]:
    more = len(lines) - MOST_SHOWN
    return [*lines[:MOST_SHOWN], *([f"and {more} more {what}"] if more > 0 else [])]


def main(argv: Sequence[str]) -> int:
    if len(argv) != 3:
        raise app.UsageError("give the paths of two files of features.")
    text, comparable = compare(argv[1], argv[2])
    print(text)
    return 0 if comparable else 1


if __name__ == "__main__":
    command.run(main)
