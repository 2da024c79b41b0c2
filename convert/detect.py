"""Finds out what a file holds from its names: dialect, architecture, classes and channels.

Some architectures differ in strides and padding alone, which no array shows: our own files carry
the architecture's name, others say it in their own, or the caller does.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from common import arch
from common.io import AmbiguousNetworkError, CheckpointError, UnknownNetworkError, listing
from convert.arrays import Array, renamed, shapes
from convert.dialects import DIALECTS, Dialect, Native

# What training code puts around a state dict: a level of the checkpoint dictionary ("/" ends it),
# the `module.` of DataParallel, or both. The file's other levels (optimiser, epoch) are ignored.
_LEVELS = ("", "state_dict/", "model_state_dict/", "model_state/", "model/", "net/")
WRAPPERS = tuple(level + prefix for level in _LEVELS for prefix in ("", "module."))

# Words in the names of published files: the timing as frames x stride, and whose first pool it is.
# i3d_baseline_32x2_IN_pretrain_400k.pkl is video-nonlocal-net's, I3D_8x8_R50.pkl PySlowFast's.
TIMINGS = {"8x8": {"8x8", "32x4"}, "32x2": {"32x2", "128x1"}}
ORIGINAL = {"baseline", "nonlocal"}
PADDED = {"r50", "r101"}

_MOST_CLASSES = 100_000
Ends = Callable[..., bool]


@dataclass(frozen=True)
class Match:
    dialect: Dialect
    net: arch.Network  # with the file's classes and channels
    natives: tuple[Native, ...]  # without those of a classifier that may be missing
    ignored: tuple[str, ...]  # names in the file that are no parameters


def match(
    arrays: Mapping[str, Array], path: Path, architecture: str | None = None, headless: bool = False
) -> Match:
    """Finds the dialect and network of all native arrays of a file.

    `architecture` chooses between several that fit; with `headless` the classifier may be missing.
    Raises UnknownNetworkError, which says how the closest dialect differs, if none fits, and
    AmbiguousNetworkError if several architectures fit and nothing says which it is.
    """
    if architecture is not None:
        arch.make(architecture)  # raises where there is none
    for tag in [name for name in arrays if re.fullmatch(r"(.*\W)?architecture", name)]:
        architecture = _tagged(arrays[tag], path, architecture)
        arrays = renamed(arrays, {name: name for name in arrays if name != tag})
    closest, most = "", 0
    fitting: dict[str, Match] = {}
    # Both ends of a network that fits are there; others only tell what is missing.
    for ends in (all, any):
        for candidate in _candidates(arrays, architecture, headless, ends):
            name = candidate.net.name
            problems, found = _differences(candidate, arrays)
            if not problems:
                # Several dialects may have the same names for a network; the first will do.
                fitting.setdefault(name, candidate)
            elif found > most:
                closest, most = f"{candidate.dialect.name} {name}: {problems}", found
        if fitting:
            return fitting[_meant(list(fitting), path)]
    if closest:
        what = f"are not those of {architecture}" if architecture else "fit no known network"
        raise UnknownNetworkError(f"{path}: the weights {what}. The closest is {closest}.")
    known = architecture or "a known network"
    raise UnknownNetworkError(f"{path}: no dialect of {known} has these names: {listing(arrays)}.")


def _tagged(tag: Array, path: Path, asked: str | None) -> str:
    name = tag.astype(np.uint8).tobytes().decode("ascii", "replace")
    if name not in arch.ARCHITECTURES:
        raise CheckpointError(f"{path}: is of the architecture {name[:60]!r}, which is not known.")
    if asked not in (None, name):
        raise CheckpointError(f"{path}: says that it is of {name}, not of {asked}.")
    return name


def _meant(names: Sequence[str], path: Path) -> str:
    file_name, left = path.name.lower(), list(names)
    if named := [name for name in names if name in file_name]:
        left = [max(named, key=len)]  # i3d_resnet50_8x8 is in i3d_resnet50_8x8_padded, too
    elif len(names) > 1:
        words = set(re.split(r"[^a-z0-9]+", file_name))
        timings = [timing for timing, said in TIMINGS.items() if words & said]
        left = [name for name in names if len(timings) != 1 or timings[0] in name]
        if words & (ORIGINAL | PADDED):
            padded = not words & ORIGINAL
            left = [name for name in left if name.endswith("_padded") == padded]
    if len(left) == 1:
        return left[0]
    raise AmbiguousNetworkError(
        f"{path}: the weights fit several networks, which differ in strides and padding only:"
        f" {', '.join(names)}. Say which it is with --architecture=NAME.",
        names,
    )


def _candidates(
    arrays: Mapping[str, Array], asked: str | None, headless: bool, ends: Ends
) -> Iterator[Match]:
    """Yields networks whose first and last kernel (all or any) are in the file, in each dialect."""
    wrappers = [each for each in WRAPPERS if any(name.startswith(each) for name in arrays)]
    for wrapper, dialect in itertools.product(wrappers, DIALECTS.values()):
        level = wrapper[: wrapper.rfind("/") + 1]
        names = [name for name in dialect.architectures if asked in (None, name)]
        for scope, name in itertools.product(dialect.scopes.values(), names):
            prefix = wrapper + scope
            if net := _network(name, dialect, prefix, arrays, ends):
                natives = dialect.natives(net, prefix)
                body = [n for n in natives if not str(n.canonical).startswith(f"{net.head.name}.")]
                if headless and not {n.name for n in natives if n not in body} & arrays.keys():
                    natives = body
                ignored = tuple(
                    each
                    for each in arrays
                    if not each.startswith(level)
                    or any(fnmatchcase(each.removeprefix(prefix), p) for p in dialect.ignored)
                )
                yield Match(dialect, net, tuple(natives), ignored)


_default = functools.cache(arch.make)


def _network(
    architecture: str, dialect: Dialect, prefix: str, arrays: Mapping[str, Array], ends: Ends
) -> arch.Network | None:
    """Returns the network with the file's channels and classes; None without (all or any) ends."""
    net, sizes = _default(architecture), shapes(arrays)

    def size(axis: str, node: str, *inner: str, num_classes: int = net.num_classes) -> int | None:
        kernel = arch.Parameter((node, *inner), "conv.weight", (1,) * 5)
        native = dialect.native(arch.with_classes(net, num_classes), prefix, kernel, None)
        shape = sizes.get(str(native.name), ())
        fitting = [layout for layout in native.shapes if len(layout) == len(shape)]
        return shape[fitting[0].index(axis)] if fitting else None

    channels = size("I", net.nodes[0].name)
    classes = channels if dialect.inflates else size("O", net.head.name, net.head.conv.name)
    if channels and not classes:
        # A dialect's name for the classifier may have their number, which the bias has, too.
        for count in {shape[0] for shape in sizes.values() if len(shape) == 1}:
            if 0 < count < _MOST_CLASSES and not classes:
                classes = size("O", net.head.name, net.head.conv.name, num_classes=count)
    if not ends((channels, classes)):
        return None
    classes = net.num_classes if dialect.inflates or not classes else classes
    net = arch.make(architecture, classes, channels or net.in_channels)
    return arch.scaled(net) if _is_scaled(net, dialect, prefix, arrays) else net


def _is_scaled(
    net: arch.Network, dialect: Dialect, prefix: str, arrays: Mapping[str, Array]
) -> bool:
    scaled = arch.scaled(net)
    if not dialect.has_scale or scaled == net:
        return False
    natives = dialect.natives(scaled, prefix)
    scales = [str(n.name) for n in natives if str(n.canonical).endswith(".norm.weight")]
    found = [arrays[name] for name in scales if name in arrays]
    return any(not dialect.has_ones or not np.all(scale == 1) for scale in found)


def _differences(candidate: Match, arrays: Mapping[str, Array]) -> tuple[str, int]:
    """Returns what keeps a file from being the candidate, "" if nothing, and how many names fit."""
    expected = {native.name: native for native in candidate.natives if native.name}
    again = {a: name for name, n in expected.items() for a in n.aliases if a in arrays}
    given = set(arrays) - set(candidate.ignored) - again.keys()
    sizes = shapes(arrays)
    problems = {
        "missing": expected.keys() - given,
        "not in the network:": given - expected.keys(),
        "wrong shapes:": [
            f"{name} (expected {list(next(iter(native.shapes.values())))}, "
            f"received {list(sizes[name])})"
            for name, native in expected.items()
            if name in given and sizes[name] not in native.shapes.values()
        ],
        "arrays that should be the same twice:": [
            f"{alias} is not {name}"
            for alias, name in again.items()
            if name in arrays and not np.array_equal(arrays[alias], arrays[name])
        ],
    }
    text = "; ".join(f"{what} {listing(names)}" for what, names in problems.items() if names)
    return text, len(expected.keys() & given)
