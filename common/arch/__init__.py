"""Architectures as values: frozen data from which both backends are built."""

from collections.abc import Callable
from functools import partial

from common.arch.arrays import folded, initial_array, initial_arrays
from common.arch.i3d_resnet import I3D_RESNETS, i3d_resnet
from common.arch.inception_i3d import inception_i3d
from common.arch.nodes import (
    Affine,
    Branches,
    Conv,
    Head,
    Network,
    Node,
    NonLocal,
    Norm,
    Padding,
    Pool,
    Residual,
    Triple,
)
from common.arch.parameters import (
    Arrays,
    Field,
    Parameter,
    check_arrays,
    convolutions,
    count,
    parameters,
)
from common.arch.r2plus1d import R2PLUS1DS, r2plus1d
from common.arch.shapes import (
    NOT_FINITE,
    check_clips,
    check_dtype,
    check_endpoint,
    endpoint_shapes,
    multiply_adds,
    pads,
    smallest_size,
    window,
)
from common.arch.spans import Spans, time_spans
from common.arch.variants import (
    map_norms,
    narrow,
    scaled,
    with_classes,
    with_dropout,
    without_dropout,
)
from common.io import listing

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "inception_i3d": inception_i3d,
    "inception_i3d_symmetric": partial(inception_i3d, symmetric=True),
    "inception_i3d_global": partial(inception_i3d, global_pool=True),
    **I3D_RESNETS,
    **R2PLUS1DS,
}
"""All architectures by name, as functions of (num_classes, in_channels)."""


def make(architecture: str, num_classes: int = 400, in_channels: int = 3) -> Network:
    """Returns the network of an architecture; ValueError if there is no such architecture."""
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"no such architecture. Expected one of {listing(ARCHITECTURES, len(ARCHITECTURES))}."
            f" Received: {architecture!r}."
        )
    return ARCHITECTURES[architecture](num_classes, in_channels)


__all__ = [
    "ARCHITECTURES",
    "I3D_RESNETS",
    "NOT_FINITE",
    "R2PLUS1DS",
    "Affine",
    "Arrays",
    "Branches",
    "Conv",
    "Field",
    "Head",
    "Network",
    "Node",
    "NonLocal",
    "Norm",
    "Padding",
    "Parameter",
    "Pool",
    "Residual",
    "Spans",
    "Triple",
    "check_arrays",
    "check_clips",
    "check_dtype",
    "check_endpoint",
    "convolutions",
    "count",
    "endpoint_shapes",
    "folded",
    "i3d_resnet",
    "inception_i3d",
    "initial_array",
    "initial_arrays",
    "make",
    "map_norms",
    "multiply_adds",
    "narrow",
    "pads",
    "parameters",
    "r2plus1d",
    "scaled",
    "smallest_size",
    "time_spans",
    "window",
    "with_classes",
    "with_dropout",
    "without_dropout",
]
