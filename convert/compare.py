"""Says in which arrays two checkpoints differ, and by how much, whatever their dialects.

    python -m convert.compare rgb_scratch mine.pt
    python -m convert.compare before.pkl after.safetensors

The exit status is 0 where both hold the same numbers, bit for bit, and 1 where they do not. Files
of no known network are compared by the names that they have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from absl import app

from common import command
from common.io import AmbiguousNetworkError, UnknownNetworkError, listing
from convert import changes, checkpoints, formats, hub

# What a network's own weights would need to be read; a comparison changes nothing.
_ALL = frozenset(changes.CHANGES)

MOST_SHOWN = 20


@dataclass(frozen=True)
class Side:
    """One of the two: how to call it, its arrays by canonical (or else native) name, its networks.

    Several networks have the same arrays; none is known where the names are native.
    """

    about: str
    arrays: Mapping[str, np.ndarray]
    dialect: str = ""
    networks: tuple[str, ...] = ()


def compare(one: str, other: str) -> tuple[str, bool]:
    """A text for people, and whether both hold the same numbers.

    Args:
        one: Name of a published checkpoint, or path of one in any format.
        other: The same.

    Raises:
        CheckpointError: A file is damaged.
        FileNotFoundError: There is no such file.
    """
    a, b = _known(one), _known(other)
    if not (a.networks and b.networks):
        a, b = _native(one), _native(other)
    elif a.dialect == b.dialect:
        # Under the same names nothing has to be converted, and nothing is passed over.
        as_stored = _native(one).arrays, _native(other).arrays
        if as_stored[0].keys() == as_stored[1].keys():
            a, b = replace(a, arrays=as_stored[0]), replace(b, arrays=as_stored[1])
    lines = [f"A: {a.about}", f"B: {b.about}"]
    found = _differences(a.arrays, b.arrays)
    lines += found or ["the same numbers under the same names, bit for bit"]
    if not found and a.networks and not set(a.networks) & set(b.networks):
        lines.append(
            "but of two networks, whose strides or padding differ: they compute other things"
        )
    return "\n".join(lines), not found


def _known(checkpoint: str) -> Side:
    """A side by canonical names, as far as the network is known."""
    path, _ = checkpoints.resolve(checkpoint)
    terms = hub.Terms(allow=_ALL)
    try:
        weights = hub.read(path, terms)
        names: tuple[str, ...] = (weights.net.name,)
    except AmbiguousNetworkError as error:
        # The arrays are the same in all of them.
        weights = hub.read(path, hub.Terms(architecture=error.names[0], allow=_ALL))
        names = error.names
    except UnknownNetworkError:
        return Side(str(path), {})
    about = (
        f"{path}: {weights.format} ({weights.dialect}), {' or '.join(names)},"
        f" {weights.net.num_classes} classes,"
        f" {weights.stream}"
    )
    return Side(about, weights.arrays, weights.dialect, names)


def _native(checkpoint: str) -> Side:
    path, _ = checkpoints.resolve(checkpoint)
    container = formats.detect(path)
    return Side(f"{path}: {container.NAME}, no known network", container.read(path))


def _differences(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> list[str]:
    """A line for everything that differs; none where nothing does."""
    lines = []
    if only := a.keys() - b.keys():
        lines.append(f"only in A: {listing(only)}")
    if only := b.keys() - a.keys():
        lines.append(f"only in B: {listing(only)}")
    shared = [name for name in a if name in b]
    shapes = [name for name in shared if a[name].shape != b[name].shape]
    lines += [f"{name}: {list(a[name].shape)} in A, {list(b[name].shape)} in B" for name in shapes]
    measured = [
        (name, *_measure(a[name], b[name]))
        for name in shared
        if name not in shapes and not _same(a[name], b[name])
    ]
    if not measured:
        return lines
    measured.sort(key=lambda row: -row[2])
    width = max(len(name) for name, _, _ in measured[:MOST_SHOWN])
    lines.append(f"{len(measured)} of {len(shared)} arrays that both have differ:")
    lines.append(f"  {'array':{width}}  largest difference  of the largest value in A")
    lines += [
        f"  {name:{width}}  {absolute:18.3g}  {relative:.3g}"
        for name, absolute, relative in measured[:MOST_SHOWN]
    ]
    if len(measured) > MOST_SHOWN:
        lines.append(f"  and {len(measured) - MOST_SHOWN} more that differ less")
    return lines


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal bit by bit; not-a-numbers are equal to one another."""
    if a.dtype != b.dtype or a.dtype.kind not in "fc":
        return a.dtype == b.dtype and np.array_equal(a, b)
    signs = np.array_equal(np.signbit(a.real), np.signbit(b.real))
    return signs and np.array_equal(a, b, equal_nan=True)


def _measure(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The largest difference, and that over the largest value of `a`; inf where one is not finite.

    Zeros that differ in their sign only have a difference of 0.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf, np.inf
    difference, largest = float(np.abs(x - y).max(initial=0)), float(np.abs(x).max(initial=0))
    return difference, difference / largest if largest else np.inf if difference else 0.0


def main(argv: Sequence[str]) -> int:
    if len(argv) != 3:
        raise app.UsageError("give the names or paths of two checkpoints.")
    text, same = compare(argv[1], argv[2])
    print(text)
    return 0 if same else 1


if __name__ == "__main__":
    command.run(main)
