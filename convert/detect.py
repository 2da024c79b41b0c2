"""Finds out what a file holds: dialect, architecture, classes and channels, from its names.

Every dialect generates the names it expects; the file is of the one whose names it has. Nothing
is guessed: a file that fits none entirely is an error that says how the closest one differs.
Some architectures differ in strides and padding alone, which no array shows; our own dialects
then carry the architecture's name, for others the caller says it, or the file's name does.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import arch
from common.io import AmbiguousNetworkError, CheckpointError, UnknownNetworkError, listing
from convert import layouts, lazy_arrays
from convert.dialects import DIALECTS, Dialect, Native

# What training code puts around a state dict: a level of the checkpoint dictionary ("/" ends it),
# the `module.` of DataParallel, or both. The file's other levels (optimiser, epoch) are ignored.
_LEVELS = ("", "state_dict/", "model_state_dict/", "model_state/", "model/", "net/")
WRAPPERS = tuple(level + prefix for level in _LEVELS for prefix in ("", "module."))

# What the names of published files say: the timing as frames x stride, and whose first pool it is.
# i3d_baseline_32x2_IN_pretrain_400k.pkl is video-nonlocal-net's, I3D_8x8_R50.pkl PySlowFast's.
TIMINGS = {"8x8": {"8x8", "32x4"}, "32x2": {"32x2", "128x1"}}
ORIGINAL = {"baseline", "nonlocal"}
PADDED = {"r50", "r101"}


@dataclass(frozen=True)
class Match:
    """What a file holds.

    Attributes:
        dialect: The dialect of its names.
        net: The network, with the file's classes and channels.
        natives: Where each parameter is.
        ignored: Names in the file that are no parameters.
        tag: The name of the array that says which architecture it is; None without.
        headless: Whether the classifier is missing, and may be.
    """

    dialect: Dialect
    net: arch.Network
    natives: tuple[Native, ...]
    ignored: tuple[str, ...]
    tag: str | None
    headless: bool = False


def match(
    arrays: Mapping[str, np.ndarray],
    path: Path,
    architecture: str | None = None,
    headless: bool = False,
) -> Match:
    """Finds the dialect and network of native arrays.

    Args:
        arrays: All arrays of a file by native name.
        path: The file, for the error and for what its name says.
        architecture: Which it is, of several that the names fit; None finds out.
        headless: Whether the classifier may be missing, because there will be a new one.

    Raises:
        CheckpointError: No dialect fits (`UnknownNetworkError`); the closest is named, with what
            is missing, left over or of another shape. Or several architectures fit, and nothing
            says which it is (`AmbiguousNetworkError`).
        ValueError: There is no such architecture.
    """
    if architecture is not None:
        arch.make(architecture)  # says so where there is none
    closest: tuple[int, str] | None = None
    fitting: dict[str, Match] = {}
    for candidate in _candidates(arrays, path, architecture):
        if headless:
            candidate = _without_classifier(candidate, arrays)
        problems, found = _differences(candidate, arrays)
        if not problems:
            # Several dialects may have the same names for a network; the first is as good as any.
            fitting.setdefault(candidate.net.name, candidate)
        elif closest is None or found > closest[0]:
            closest = found, f"{candidate.dialect.name} {candidate.net.name}: {problems}"
    if fitting:
        return _only(list(fitting.values()), path)
    if closest:
        what = f"are not those of {architecture}" if architecture else "fit no known network"
        raise UnknownNetworkError(f"{path}: the weights {what}. The closest is {closest[1]}.")
    tried = [d.name for d in DIALECTS.values() if architecture in (None, *d.architectures)]
    raise UnknownNetworkError(
        f"{path}: no dialect of {architecture or 'a known network'} has these names:"
        f" {listing(arrays)}. Tried: {', '.join(tried)}."
    )


def _without_classifier(candidate: Match, arrays: Mapping[str, np.ndarray]) -> Match:
    """The candidate without its classifier, if none of that is there."""
    head = f"{candidate.net.head.name}."
    of_head = [n for n in candidate.natives if str(n.canonical).startswith(head)]
    if not of_head or any(native.name in arrays for native in of_head):
        return candidate
    body = tuple(n for n in candidate.natives if n not in of_head)
    return replace(candidate, natives=body, headless=True)


def _only(fitting: Sequence[Match], path: Path) -> Match:
    """The one of several networks with the same names and shapes that is meant."""
    names = [found.net.name for found in fitting]
    wanted = _hinted(names, path.name.lower())
    chosen = [found for found in fitting if found.net.name in wanted]
    if len(chosen) == 1:
        return chosen[0]
    raise AmbiguousNetworkError(
        f"{path}: the weights fit several networks, which differ in strides and padding only:"
        f" {', '.join(names)}. Say which it is with --architecture=NAME.",
        names,
    )


def _hinted(names: Sequence[str], file_name: str) -> list[str]:
    """Those of several architectures that a file's name allows."""
    if len(names) == 1:
        return list(names)
    if named := [name for name in names if name in file_name]:
        return [max(named, key=len)]  # i3d_resnet50_8x8 is in i3d_resnet50_8x8_padded, too
    words = set(re.split(r"[^a-z0-9]+", file_name))
    timings = [timing for timing, said in TIMINGS.items() if words & said]
    left = [name for name in names if len(timings) != 1 or timings[0] in name]
    if words & ORIGINAL or words & PADDED:
        padded = not words & ORIGINAL
        left = [name for name in left if name.endswith("_padded") == padded]
    return left


def _candidates(arrays: Mapping[str, np.ndarray], path: Path, asked: str | None) -> Iterator[Match]:
    """Networks whose first or last kernel is in the file, in each dialect, scope and wrapper."""
    present = [w for w in WRAPPERS if any(name.startswith(w) for name in arrays)]
    for wrapper, dialect in itertools.product(present, DIALECTS.values()):
        for scope in dict.fromkeys((*dialect.scopes.values(), *dialect.other_scopes)):
            place = wrapper + scope
            for architecture in _architectures(arrays, dialect, place, path, asked):
                net = _size(architecture, dialect, place, arrays)
                if net:
                    natives = tuple(dialect.natives(net, place))
                    ignored = _ignored(arrays, dialect, wrapper, place)
                    tag = f"{place}{dialect.tag}" if dialect.tag else None
                    yield Match(dialect, net, natives, ignored, tag)


def _architectures(
    arrays: Mapping[str, np.ndarray],
    dialect: Dialect,
    place: str,
    path: Path,
    asked: str | None,
) -> tuple[str, ...]:
    """The architectures a file may be of: the one that it names or that is asked for, or all."""
    tag = arrays.get(f"{place}{dialect.tag}") if dialect.tag else None
    if tag is None:
        return tuple(name for name in dialect.architectures if asked in (None, name))
    name = tag.astype(np.uint8).tobytes().decode("ascii", "replace") if tag.ndim == 1 else ""
    if name not in arch.ARCHITECTURES:
        raise CheckpointError(
            f"{path}: says that it is of the architecture {name[:60]!r}, which is not known."
            f" Known: {listing(arch.ARCHITECTURES, 60)}."
        )
    if asked not in (None, name):
        raise CheckpointError(
            f"{path}: says that it is of {name}. Received: --architecture={asked}."
        )
    return (name,) if name in dialect.architectures else ()


def _ignored(
    arrays: Mapping[str, np.ndarray], dialect: Dialect, wrapper: str, place: str
) -> tuple[str, ...]:
    """Names that are no parameters: the dialect's, and the other levels of a dictionary."""
    level, slash, _ = wrapper.rpartition("/")
    return tuple(
        name
        for name in arrays
        if dialect.ignores(name.removeprefix(place)) or not name.startswith(level + slash)
    )


@functools.cache
def _default(architecture: str, classes: int = 400) -> arch.Network:
    return arch.ARCHITECTURES[architecture](classes)


@functools.cache
def _ends(dialect_name: str, architecture: str, classes: int = 400) -> tuple[Native, Native | None]:
    """Where a dialect keeps the stem's and the classifier's kernel, the latter if it has it.

    The shapes are not those of the network: all that is asked of them is how many axes they have.
    """
    dialect, net = DIALECTS[dialect_name], _default(architecture, classes)

    def kernel(*unit: str) -> Native:
        return dialect.native(net, arch.Parameter(unit, "conv.weight", (1,) * 5))

    head = None if dialect.inflates else kernel(net.head.name, net.head.conv.name)
    return kernel(net.nodes[0].name), head


def _size(
    architecture: str, dialect: Dialect, place: str, arrays: Mapping[str, np.ndarray]
) -> arch.Network | None:
    """The network with the channels and classes of the file; None if neither end is there."""
    stem, head = _ends(dialect.name, architecture)
    channels = _canonical_shape(stem, place, arrays)
    if channels and head and f"{place}{head.name}" not in arrays:
        head = _renamed_head(architecture, dialect, place, arrays) or head
    classes = _canonical_shape(head, place, arrays) if head else None
    if not channels and not classes:
        return None
    # With one end missing the file cannot fit; the network is only for saying what is missing.
    default = _default(architecture)
    net = arch.ARCHITECTURES[architecture](
        classes[0] if classes else default.num_classes,
        channels[1] if channels else default.in_channels,
    )
    return arch.scaled(net) if _scaled(net, dialect, place, arrays) else net


def _renamed_head(
    architecture: str, dialect: Dialect, place: str, arrays: Mapping[str, np.ndarray]
) -> Native | None:
    """The classifier's kernel in a dialect that puts the number of classes into its name."""
    if _ends(dialect.name, architecture, 1) == _ends(dialect.name, architecture, 2):
        return None
    shapes = lazy_arrays.shapes(arrays).values()
    for classes in sorted({shape[0] for shape in shapes if len(shape) == 1}):
        if 0 < classes <= 100_000:
            _, head = _ends(dialect.name, architecture, classes)
            if head and f"{place}{head.name}" in arrays:
                return head
    return None


def _canonical_shape(
    native: Native, place: str, arrays: Mapping[str, np.ndarray]
) -> tuple[int, ...] | None:
    """The canonical shape of a kernel in the file; None if it is not there, or no kernel."""
    array = arrays.get(f"{place}{native.name}")
    for layout in native.shapes:
        if array is not None and array.ndim == len(layout):
            return layouts.to_canonical(array, layout).shape
    return None


def _scaled(
    net: arch.Network, dialect: Dialect, place: str, arrays: Mapping[str, np.ndarray]
) -> bool:
    """Whether the file's batch norm has scales that were trained, and the network's has none."""
    scaled = arch.scaled(net)
    if not dialect.has_scale or scaled == net:
        return False
    names = {
        native.name
        for native in dialect.natives(scaled, place)
        if native.name and native.canonical and native.canonical.endswith(".norm.weight")
    }
    scales = [arrays[name] for name in names & arrays.keys()]
    fill = dialect.fills.get("norm.weight")
    # A dialect that always has them fills them with ones where they mean nothing.
    return any(fill is None or not np.all(scale == fill) for scale in scales)


def _differences(candidate: Match, arrays: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """What keeps a file from being the candidate ("" if nothing), and how many names fit."""
    expected = {native.name: native for native in candidate.natives if native.name}
    again = {
        alias: native.name
        for native in candidate.natives
        for alias in native.aliases
        if native.name and alias in arrays
    }
    given = set(arrays) - set(candidate.ignored) - again.keys() - {candidate.tag}
    problems = []
    if missing := expected.keys() - given:
        problems.append(f"missing {listing(missing)}")
    if unknown := given - expected.keys():
        problems.append(f"not in the network: {listing(unknown)}")
    shapes = lazy_arrays.shapes(arrays)
    wrong = [
        f"{name} (expected {_options(native)}, received {list(shapes[name])})"
        for name, native in expected.items()
        if name in given and shapes[name] not in native.shapes.values()
    ]
    if wrong:
        problems.append(f"wrong shapes: {listing(wrong)}")
    differing = [
        f"{alias} is not {name}"
        for alias, name in again.items()
        if name in arrays and not np.array_equal(arrays[alias], arrays[name])
    ]
    if differing:
        problems.append(f"arrays that should be the same twice: {listing(differing)}")
    return "; ".join(problems), len(expected.keys() & given)


def _options(native: Native) -> str:
    return " or ".join(str(list(shape)) for shape in dict.fromkeys(native.shapes.values()))
