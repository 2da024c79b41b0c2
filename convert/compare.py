"""Says in which arrays two checkpoints differ."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from common import command
from common.io import AmbiguousNetworkError, UnknownNetworkError, listing
from common.settings import UsageError, setting
from convert import changes, formats, hub, published
from convert.arrays import Array

MOST_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Says in which arrays two checkpoints differ, and by how much, whatever their dialects.

        python -m convert.compare rgb_scratch mine.pt
        python -m convert.compare before.pkl after.safetensors

    The exit status is 0 where both hold the same numbers, bit for bit, and 1 where they do not.
    Files of no known network are compared by the names that they have.
    """

    checkpoints: tuple[str, ...] = setting(
        "Names or paths of two checkpoints.", (), positional=True
    )


def compare(one: str, other: str) -> tuple[str, bool]:
    """Returns a text for people, and whether two checkpoints hold the same numbers.

    Raises:
        CheckpointError: A file is damaged.
        FileNotFoundError: There is no such file, and no published checkpoint of that name.
    """
    (about_a, native_a, a, nets_a), (about_b, native_b, b, nets_b) = _side(one), _side(other)
    lines = [f"A: {about_a}", f"B: {about_b}"]
    if a and b and (a.dialect != b.dialect or native_a.keys() != native_b.keys()):
        found = _differences(a.arrays, b.arrays)
    else:  # nothing has to be converted, and nothing is passed over
        found = _differences(native_a, native_b)
    lines += found or ["the same numbers under the same names, bit for bit"]
    if not found and a and b and not set(nets_a) & set(nets_b):
        lines.append(
            "but of two networks, whose strides or padding differ: they compute other things"
        )
    return "\n".join(lines), not found


def _side(
    checkpoint: str,
) -> tuple[str, Mapping[str, Array], hub.Weights | None, tuple[str, ...]]:
    """Returns a description, the file's arrays, its weights if known, and all possible networks."""
    path, _ = published.resolve(checkpoint)
    module = formats.detect(path)
    native = module.read(path)
    # A comparison changes nothing, so that weights are read whatever they would need.
    options = hub.ConversionOptions(allow=tuple(changes.CHANGES))
    try:
        weights = hub.identify(native, path, module.NAME, options)
        nets: tuple[str, ...] = (weights.net.name,)
    except AmbiguousNetworkError as error:
        nets = error.names  # the arrays are the same in all of them
        weights = hub.identify(native, path, module.NAME, replace(options, architecture=nets[0]))
    except UnknownNetworkError:
        return f"{path}: {module.NAME}, no known network", native, None, ()
    about = (
        f"{path}: {weights.format} ({weights.dialect}), {' or '.join(nets)},"
        f" {weights.net.num_classes} classes, {weights.stream}"
    )
    return about, native, weights, nets


def _differences(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[str]:
    """Returns a line for everything that differs; none where nothing does."""
    lines = []
    if only := a.keys() - b.keys():
        lines.append(f"only in A: {listing(only)}")
    if only := b.keys() - a.keys():
        lines.append(f"only in B: {listing(only)}")
    shared = [name for name in a if name in b]
    measured = []
    for name in shared:
        if a[name].shape != b[name].shape:
            lines.append(f"{name}: {list(a[name].shape)} in A, {list(b[name].shape)} in B")
        elif not _same(a[name], b[name]):
            measured.append((name, *measure(a[name], b[name])))
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


def _same(a: Array, b: Array) -> bool:
    """Returns whether arrays are equal bit by bit; NaNs are equal to one another."""
    if a.dtype != b.dtype or a.dtype.kind not in "fc":
        return a.dtype == b.dtype and np.array_equal(a, b)
    signs = np.array_equal(np.signbit(a.real), np.signbit(b.real))
    return signs and np.array_equal(a, b, equal_nan=True)


def measure(a: Array, b: Array) -> tuple[float, float]:
    """Returns the largest difference, and its ratio to the largest value of `a`.

    Both are infinite where a value is not finite. Zeros that differ only in their sign have a
    difference of 0.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf, np.inf
    difference, largest = float(np.abs(x - y).max(initial=0)), float(np.abs(x).max(initial=0))
    return difference, difference / largest if largest else np.inf if difference else 0.0


def main(settings: Settings) -> int:
    """Prints the comparison; returns 0 where both hold the same numbers."""
    if len(settings.checkpoints) != 2:
        raise UsageError("give the names or paths of two checkpoints")
    text, same = compare(*settings.checkpoints)
    print(text)
    return 0 if same else 1


if __name__ == "__main__":
    command.start(main, Settings)
