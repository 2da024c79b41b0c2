"""Finds out what a file holds from its names: dialect, architecture, classes and channels.

Every dialect generates the names it expects, and a file is of the dialect whose names it has.
Nothing is guessed: a file that fits none entirely is an error that says how the closest one
differs. Some architectures differ in strides and padding alone, which no array shows; our own
dialects then carry the architecture's name, for others the caller or the file's name says it.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common import arch
from common.io import AmbiguousNetworkError, CheckpointError, UnknownNetworkError, listing
from convert.arrays import Array, shapes, to_canonical
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


@dataclass(frozen=True)
class Match:
    """A dialect and network that a file's names may be of.

    Attributes:
        dialect: The dialect of its names.
        net: The network, with the file's classes and channels.
        natives: Where each parameter is.
        ignored: Names in the file that are no parameters.
        tag: The name of the array that holds the architecture's name; None without.
        headless: Whether the classifier is missing, and may be.
    """

    dialect: Dialect
    net: arch.Network
    natives: tuple[Native, ...]
    ignored: tuple[str, ...]
    tag: str | None
    headless: bool = False


def match(
    arrays: Mapping[str, Array],
    path: Path,
    architecture: str | None = None,
    headless: bool = False,
) -> Match:
    """Finds the dialect and network of native arrays.

    Args:
        arrays: All arrays of a file by native name.
        path: The file, for errors and for what its name says.
        architecture: Which it is, of several that the names fit; None finds out.
        headless: Whether the classifier may be missing, because there will be a new one.

    Raises:
        UnknownNetworkError: No dialect fits; the text says how the closest one differs.
        AmbiguousNetworkError: Several architectures fit, and nothing says which it is.
        ValueError: There is no such architecture.
    """
    if architecture is not None:
        arch.make(architecture)  # raises where there is none
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


def _without_classifier(candidate: Match, arrays: Mapping[str, Array]) -> Match:
    """Returns the candidate without its classifier, if the file has none of its arrays."""
    head = f"{candidate.net.head.name}."
    of_head = [n for n in candidate.natives if str(n.canonical).startswith(head)]
    if not of_head or any(native.name in arrays for native in of_head):
        return candidate
    body = tuple(n for n in candidate.natives if n not in of_head)
    return replace(candidate, natives=body, headless=True)


def _only(fitting: Sequence[Match], path: Path) -> Match:
    """Returns the one of several networks with the same names and shapes that is meant."""
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
    """Returns those of several architectures that a file's name allows."""
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


def _candidates(arrays: Mapping[str, Array], path: Path, asked: str | None) -> Iterator[Match]:
    """Yields networks whose first or last kernel is in the file, in each dialect and prefix."""
    for wrapper in WRAPPERS:
        if not any(name.startswith(wrapper) for name in arrays):
            continue
        level = wrapper[: wrapper.rfind("/") + 1]
        for dialect in DIALECTS.values():
            for scope in dict.fromkeys((*dialect.scopes.values(), *dialect.other_scopes)):
                prefix = wrapper + scope
                tag = f"{prefix}{dialect.tag}" if dialect.tag else None
                for architecture in _architectures(arrays, dialect, tag, path, asked):
                    if net := _network(architecture, dialect, prefix, arrays):
                        natives = tuple(dialect.natives(net, prefix))
                        # The dialect's, and those of other levels of a dictionary.
                        ignored = tuple(
                            name
                            for name in arrays
                            if dialect.ignores(name.removeprefix(prefix))
                            or not name.startswith(level)
                        )
                        yield Match(dialect, net, natives, ignored, tag)


def _architectures(
    arrays: Mapping[str, Array], dialect: Dialect, tag: str | None, path: Path, asked: str | None
) -> tuple[str, ...]:
    """Returns the architecture that a file names or that is asked for, or all of a dialect."""
    array = arrays.get(tag) if tag else None
    if array is None:
        return tuple(name for name in dialect.architectures if asked in (None, name))
    name = array.astype(np.uint8).tobytes().decode("ascii", "replace") if array.ndim == 1 else ""
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


@functools.cache
def _default(architecture: str, classes: int = 400) -> arch.Network:
    return arch.make(architecture, classes)


@functools.cache
def _ends(dialect_name: str, architecture: str, classes: int = 400) -> tuple[Native, Native | None]:
    """Returns where a dialect keeps the stem's kernel, and the classifier's if it has it.

    The shapes are not those of the network: only their number of axes is asked for.
    """
    dialect, net = DIALECTS[dialect_name], _default(architecture, classes)

    def kernel(*unit: str) -> Native:
        return dialect.native(net, arch.Parameter(unit, "conv.weight", (1,) * 5))

    head = None if dialect.inflates else kernel(net.head.name, net.head.conv.name)
    return kernel(net.nodes[0].name), head


def _network(
    architecture: str, dialect: Dialect, prefix: str, arrays: Mapping[str, Array]
) -> arch.Network | None:
    """Returns the network with the file's channels and classes; None if it has neither end."""
    stem, head = _ends(dialect.name, architecture)
    channels = _canonical_shape(stem, prefix, arrays)
    if channels and head and f"{prefix}{head.name}" not in arrays:
        head = _renamed_head(architecture, dialect, prefix, arrays) or head
    classes = _canonical_shape(head, prefix, arrays) if head else None
    if not channels and not classes:
        return None
    # With one end missing the file cannot fit; the network is only for saying what is missing.
    default = _default(architecture)
    net = arch.make(
        architecture,
        classes[0] if classes else default.num_classes,
        channels[1] if channels else default.in_channels,
    )
    return arch.scaled(net) if _is_scaled(net, dialect, prefix, arrays) else net


def _renamed_head(
    architecture: str, dialect: Dialect, prefix: str, arrays: Mapping[str, Array]
) -> Native | None:
    """Returns the classifier's kernel in a dialect whose name for it has the number of classes."""
    if _ends(dialect.name, architecture, 1) == _ends(dialect.name, architecture, 2):
        return None
    for classes in sorted({shape[0] for shape in shapes(arrays).values() if len(shape) == 1}):
        if 0 < classes <= 100_000:
            _, head = _ends(dialect.name, architecture, classes)
            if head and f"{prefix}{head.name}" in arrays:
                return head
    return None


def _canonical_shape(
    native: Native, prefix: str, arrays: Mapping[str, Array]
) -> tuple[int, ...] | None:
    """Returns the canonical shape of a kernel in the file; None if it has no such kernel."""
    array = arrays.get(f"{prefix}{native.name}")
    for layout in native.shapes:
        if array is not None and array.ndim == len(layout):
            return to_canonical(array, layout).shape
    return None


def _is_scaled(
    net: arch.Network, dialect: Dialect, prefix: str, arrays: Mapping[str, Array]
) -> bool:
    """Returns whether the file has trained scales of batch norm that the network lacks."""
    scaled = arch.scaled(net)
    if not dialect.has_scale or scaled == net:
        return False
    names = {
        native.name
        for native in dialect.natives(scaled, prefix)
        if native.name and native.canonical and native.canonical.endswith(".norm.weight")
    }
    fill = dialect.fills.get("norm.weight")
    # A dialect that always has scales fills them with ones where they mean nothing.
    return any(fill is None or not np.all(arrays[name] == fill) for name in names & arrays.keys())


def _differences(candidate: Match, arrays: Mapping[str, Array]) -> tuple[str, int]:
    """Returns what keeps a file from being the candidate, "" if nothing, and how many names fit."""
    expected = {native.name: native for native in candidate.natives if native.name}
    again = {
        alias: name
        for name, native in expected.items()
        for alias in native.aliases
        if alias in arrays
    }
    given = set(arrays) - set(candidate.ignored) - again.keys() - {candidate.tag}
    problems = []
    if missing := expected.keys() - given:
        problems.append(f"missing {listing(missing)}")
    if unknown := given - expected.keys():
        problems.append(f"not in the network: {listing(unknown)}")
    sizes = shapes(arrays)
    if wrong := [
        f"{name} (expected {_options(native)}, received {list(sizes[name])})"
        for name, native in expected.items()
        if name in given and sizes[name] not in native.shapes.values()
    ]:
        problems.append(f"wrong shapes: {listing(wrong)}")
    if differing := [
        f"{alias} is not {name}"
        for alias, name in again.items()
        if name in arrays and not np.array_equal(arrays[alias], arrays[name])
    ]:
        problems.append(f"arrays that should be the same twice: {listing(differing)}")
    return "; ".join(problems), len(expected.keys() & given)


def _options(native: Native) -> str:
    return " or ".join(str(list(shape)) for shape in dict.fromkeys(native.shapes.values()))
