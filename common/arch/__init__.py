"""Architectures as values: each network once, as frozen data that both backends are built from."""

from collections.abc import Callable

from common.arch.inception_i3d import inception_i3d
from common.arch.narrow import narrow
from common.arch.nodes import Branches, Conv, Head, Network, Node, Norm, Padding, Pool, Triple
from common.arch.parameters import Field, Parameter, check_arrays, count, parameters
from common.arch.shapes import (
    check_clips,
    check_endpoint,
    endpoint_shapes,
    multiply_adds,
    pads,
    smallest_size,
    window,
)

ARCHITECTURES: dict[str, Callable[..., Network]] = {"inception_i3d": inception_i3d}
"""Every architecture by name: functions of (num_classes, in_channels, scale)."""

__all__ = [
    "ARCHITECTURES",
    "Branches",
    "Conv",
    "Field",
    "Head",
    "Network",
    "Node",
    "Norm",
    "Padding",
    "Parameter",
    "Pool",
    "Triple",
    "check_arrays",
    "check_clips",
    "check_endpoint",
    "count",
    "endpoint_shapes",
    "inception_i3d",
    "multiply_adds",
    "narrow",
    "pads",
    "parameters",
    "smallest_size",
    "window",
]
