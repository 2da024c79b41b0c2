"""Architectures as values: frozen data from which both backends are built."""

from collections.abc import Callable

from common.arch.i3d_resnet import I3D_RESNETS
from common.arch.inception_i3d import INCEPTIONS, inception_i3d
from common.arch.nodes import (
    Affine,
    Branches,
    Conv,
    Head,
    Network,
    Node,
    NonLocal,
    Norm,
    Pool,
    Residual,
    map_norms,
    narrow,
    scaled,
    with_classes,
    with_dropout,
    with_eps,
)
from common.arch.parameters import (
    Arrays,
    Field,
    Parameter,
    check_arrays,
    convolutions,
    count,
    folded,
    initial_array,
    initial_arrays,
    norm_factor,
    parameters,
)
from common.arch.r2plus1d import R2PLUS1DS
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
from common.io import listing

ARCHITECTURES: dict[str, Callable[..., Network]] = INCEPTIONS | I3D_RESNETS | R2PLUS1DS
"""All architectures by name, as functions of (num_classes, in_channels)."""


def make(architecture: str, num_classes: int = 400, in_channels: int = 3) -> Network:
    """Returns the network of an architecture; ValueError if there is no such architecture."""
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"no such architecture. Expected one of {listing(ARCHITECTURES, len(ARCHITECTURES))}."
            f" Received: {architecture!r}."
        )
    return ARCHITECTURES[architecture](num_classes, in_channels)
