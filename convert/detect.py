"""Finds out what a file holds: dialect, architecture, classes and channels, from its names.

Every dialect generates the names it expects; the file is of the one whose names it has. Nothing
is guessed: a file that fits none entirely is an error that says how the closest one differs.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from common import arch
from common.errors import CheckpointError, listing
from convert import layouts
from convert.dialects import DIALECTS, Dialect, Native

# What training code puts around a state dict: a level of the checkpoint dictionary ("/" ends it),
# the `module.` of DataParallel, or both. The file's other levels (optimiser, epoch) are ignored.
_LEVELS = ("", "state_dict/", "model_state_dict/", "model/", "net/")
WRAPPERS = tuple(level + prefix for level in _LEVELS for prefix in ("", "module."))


@dataclass(frozen=True)
class Match:
    """What a file holds.

    Attributes:
        dialect: The dialect of its names.
        net: The network, with the file's classes and channels.
        natives: Where each parameter is.
        ignored: Names in the file that are no parameters.
    """

    dialect: Dialect
    net: arch.Network
    natives: tuple[Native, ...]
    ignored: tuple[str, ...]


def match(arrays: Mapping[str, np.ndarray], path: object) -> Match:
    """Finds the dialect and network of native arrays.

    Args:
        arrays: All arrays of a file by native name.
        path: The file, for the error.

    Raises:
        CheckpointError: No dialect fits; the closest is named, with what is missing, left over
            or of another shape.
    """
    closest: tuple[int, str] | None = None
    for candidate in _candidates(arrays):
        problems, found = _differences(candidate, arrays)
        if not problems:
            return candidate
        if closest is None or found > closest[0]:
            closest = found, f"{candidate.dialect.name} {candidate.net.name}: {problems}"
    if closest:
        raise CheckpointError(
            f"{path}: the weights fit no known network. The closest is {closest[1]}."
        )
    raise CheckpointError(
        f"{path}: no known network has these names: {listing(arrays)}. Known dialects:"
        f" {', '.join(DIALECTS)}."
    )


def _candidates(arrays: Mapping[str, np.ndarray]) -> Iterator[Match]:
    """Networks whose first or last kernel is in the file, in each dialect, scope and wrapper."""
    present = [w for w in WRAPPERS if any(name.startswith(w) for name in arrays)]
    for wrapper, dialect in itertools.product(present, DIALECTS.values()):
        scopes = dict.fromkeys(dialect.scopes.values())
        for architecture, scope in itertools.product(dialect.architectures, scopes):
            make = arch.ARCHITECTURES[architecture]
            net = _size(make, dialect, wrapper + scope, arrays)
            if net:
                natives = tuple(dialect.natives(net, wrapper + scope))
                yield Match(dialect, net, natives, _ignored(arrays, dialect, wrapper))


def _ignored(arrays: Mapping[str, np.ndarray], dialect: Dialect, wrapper: str) -> tuple[str, ...]:
    """Names that are no parameters: the dialect's, and the other levels of a dictionary."""
    level, slash, _ = wrapper.rpartition("/")
    return tuple(
        name for name in arrays if dialect.ignores(name) or not name.startswith(level + slash)
    )


def _size(
    make: Callable[..., arch.Network],
    dialect: Dialect,
    scope: str,
    arrays: Mapping[str, np.ndarray],
) -> arch.Network | None:
    """The network with the channels and classes of the file; None if neither end is there."""
    kernels = [p for p in arch.parameters(make()) if p.field == "conv.weight"]
    default = (kernels[0], kernels[-1])
    names = {native.canonical: native.name for native in dialect.natives(make(), scope)}
    ends = [arrays.get(names[parameter.name]) for parameter in default]
    shapes = [
        layouts.to_canonical(end, dialect.kernel).shape
        if end is not None and end.ndim == len(dialect.kernel)
        else None
        for end in ends
    ]
    if not any(shapes):
        return None
    # With one end missing the file cannot fit; the network is only for saying what is missing.
    stem, head = (
        shape or parameter.shape for shape, parameter in zip(shapes, default, strict=True)
    )
    return make(head[0], stem[1], scale=_scaled(make, dialect, scope, arrays))


def _scaled(
    make: Callable[..., arch.Network],
    dialect: Dialect,
    scope: str,
    arrays: Mapping[str, np.ndarray],
) -> bool:
    """Whether the file's batch norm has scales that were trained."""
    if not dialect.has_scale:
        return False
    names = {
        native.name
        for native in dialect.natives(make(scale=True), scope)
        if native.canonical and native.canonical.endswith(".norm.weight")
    }
    scales = [arrays[name] for name in names & arrays.keys()]
    fill = dialect.fills.get("norm.weight")
    # A dialect that always has them fills them with ones where they mean nothing.
    return any(fill is None or not np.all(scale == fill) for scale in scales)


def _differences(candidate: Match, arrays: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """What keeps a file from being the candidate ("" if nothing), and how many names fit."""
    expected = {native.name: native for native in candidate.natives}
    given = set(arrays) - set(candidate.ignored)
    problems = []
    if missing := expected.keys() - given:
        problems.append(f"missing {listing(missing)}")
    if unknown := given - expected.keys():
        problems.append(f"not in the network: {listing(unknown)}")
    shapes = [
        f"{name} (expected {_options(native)}, received {list(arrays[name].shape)})"
        for name, native in expected.items()
        if name in given and arrays[name].shape not in native.shapes.values()
    ]
    if shapes:
        problems.append(f"wrong shapes: {listing(shapes)}")
    return "; ".join(problems), len(expected.keys() & given)


def _options(native: Native) -> str:
    return " or ".join(str(list(shape)) for shape in dict.fromkeys(native.shapes.values()))
