"""Compares two files of features, whichever tools wrote them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import command, models
from common.features.command import NAME, h5py
from common.features.settings import FORMATS
from common.io import check_size, escape, listing
from common.models import pickles
from common.settings import UsageError, setting

MOST_SHIFT = 64  # rows; at one every 8 frames and 25 frames per second, 20 seconds

_MARGIN = 1e-6  # of a cosine, by which a shift has to be better: float32 rounds at 1e-7
_TINY = 1e-30  # so that rows of zeros have a cosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Compares two files of features, whichever tools wrote them.

    i3d features compare mine.h5 theirs.npy

    Reads .npy (an array, or a dictionary of individuals), .npz, .safetensors and .h5. Prints
    shapes, cosines between rows, the largest difference, and the shift in time at which rows agree
    best. Arrays are compared by name, single ones whatever it is; axes of size 1 are dropped; if
    one has more rows, the first ones are compared. The exit status is 1 if some cannot be compared.
    """

    files: tuple[str, ...] = setting("Two files of features.", (), positional=True)


def compare(one: str, other: str) -> tuple[str, bool]:
    """Compares two files; returns a report, and whether all that both have could be compared."""
    a, b = read(Path(one)), read(Path(other))
    lines = [f"A: {one}: arrays: {len(a)}", f"B: {other}: arrays: {len(b)}"]
    if len(a) == len(b) == 1:
        a, b = ({NAME: array} for held in (a, b) for array in held.values())
    for letter, only in (("A", a.keys() - b.keys()), ("B", b.keys() - a.keys())):
        if only:
            lines.append(f"only in {letter}: {listing(only)}")
    pairs = []
    for name in a.keys() & b.keys():
        try:
            mean, text = agreement(a[name], b[name])
        except ValueError as error:
            mean, text = -np.inf, str(error)
        pairs.append((mean, f"{name}: {list(a[name].shape)} and {list(b[name].shape)}: {text}"))
    pairs.sort()  # the worst first
    lines += [text for _, text in pairs] or ["no array of A has the name of one of B"]
    return "\n".join(map(escape, lines)), bool(pairs) and pairs[0][0] > -np.inf


def agreement(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, str]:
    """The mean cosine of the rows (or crops) of two arrays, and a description.

    They are [N, D] or [N, crops, D], with axes of size 1 anywhere. `ValueError` if they are not
    finite numbers, or differ in more than N.
    """
    x, y = _rows(a), _rows(b)
    if x.shape[1:] != y.shape[1:] or not x.size or not y.size:
        raise ValueError("expected rows of one size, at least one")
    count = min(len(x), len(y))
    difference, largest = np.abs(x[:count] - y[:count]).max(), np.abs(x[:count]).max()
    x, y = (rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + _TINY) for rows in (x, y))
    cosines = _cosines(x, y, 0)
    mean = shifted = cosines.mean()
    best = 0
    for shift in sorted(range(-MOST_SHIFT, MOST_SHIFT + 1), key=abs):
        # Half of the rows of the shorter must be left: single rows are easily alike.
        found = _cosines(x, y, shift)
        if 2 * len(found) >= count and found.mean() > shifted + _MARGIN:
            best, shifted = shift, found.mean()
    text = f"{count} rows, mean cosine {mean:.6f}, least {cosines.min():.6f}, largest difference "
    text += f"{difference:.3g} (largest value in A {largest:.3g})"
    if best:
        text += f"; row i of A and row i{best:+d} of B: mean cosine {shifted:.6f}"
    return float(mean), text


def _rows(array: NDArray[Any]) -> NDArray[np.float64]:
    """The rows [N, D] or [N, crops, D] of an array; [D] is one row."""
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers, got {array.dtype}")
    rows = np.atleast_2d(np.asarray(array, np.float64))
    return np.atleast_2d(rows.squeeze()) if rows.ndim > 2 else rows


def _cosines(a: NDArray[Any], b: NDArray[Any], shift: int) -> NDArray[Any]:
    a, b = a[max(0, -shift) :], b[max(0, shift) :]
    count = min(len(a), len(b))
    return np.asarray((a[:count] * b[:count]).sum(axis=-1))


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays of a file of features by name, ours or another tool's, of any shape.

    The array of a plain .npy is called "". Of a .npy with a dictionary, the restricted unpickler
    makes arrays and nothing else; what is no array in it is passed over. `ValueError` if the file
    holds no features, `ImportError` if HDF5 needs h5py.
    """
    readers = dict(zip(FORMATS.values(), (_npy, _npz, models.read_arrays, _h5), strict=True))
    if path.suffix not in readers:
        raise ValueError(f"{path}: expected features as {', '.join(readers)}.")
    try:
        arrays = readers[path.suffix](path)
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # whatever a damaged file provokes
        raise ValueError(f"{path}: cannot be read as features: {error}.") from error
    if not arrays:
        raise ValueError(f"{path}: holds no array.")
    return arrays


def _npy(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        try:
            return {"": np.load(file, allow_pickle=False)}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
        outer = pickles.load(path, file.tell())
    match outer:  # an array that holds an object, which those of a checkpoint may not
        case pickles.Call(state=(_, (), _, _, [dict() as tree])):
            keys = (pickles.array(key).item() if pickles.is_array(key) else key for key in tree)
            pairs = zip(map(str, keys), tree.values(), strict=True)
            return {key: pickles.array(value) for key, value in pairs if pickles.is_array(value)}
    raise ValueError("expected an array, or a dictionary of arrays")


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as content:
        check_size(path, sum(each.file_size for each in content.zip.infolist()))
        return {name: np.asarray(content[name]) for name in content.files}


def _h5(path: Path) -> dict[str, NDArray[Any]]:
    found: dict[str, Any] = {}
    with h5py().File(path, "r") as file:
        file.visititems(found.__setitem__)
        found = {name: node for name, node in found.items() if hasattr(node, "dtype")}
        if other := [name for name, node in found.items() if node.external or node.is_virtual]:
            raise ValueError(f"{listing(other)} is kept in another file, which is not read")
        check_size(path, sum(node.nbytes for node in found.values()))
        return {name: node[()] for name, node in found.items()}


def main(settings: Settings) -> int:
    if len(settings.files) != 2:
        raise UsageError("give the paths of two files of features")
    text, comparable = compare(*settings.files)
    print(text)
    return 0 if comparable else 1


if __name__ == "__main__":
    command.start(main, Settings)
