"""TV-L1 for GPUs: OpenCV's algorithm on a batch of pairs.

A pair gets what it would get alone: each stops by itself, in the iteration in which it converges.
When compiled, iterations come in blocks that are one graph. Within a block, converged pairs are
only kept from changing; after it they leave the batch, where they would cost time.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from absl import logging
from torch import Tensor
from torch.nn import functional as F

from common.flow import Flow, Grey, TVL1Params

_BLOCK = 10  # iterations that are compiled as one, and after which the GPU is waited for
_SMALLEST_LEVEL = 16  # pixels; OpenCV leaves out smaller levels of the pyramid
_NO_GRADIENT = 1.1920929e-07  # OpenCV's: below, the data term is left out


def flow(
    previous: Grey,
    following: Grey,
    params: TVL1Params,
    device: str | None = None,
    compiled: bool | None = None,
) -> Flow:
    """Computes the flow [N, H, W, 2] in pixels of N pairs of frames [N, H, W] at once.

    `device` None is the GPU if there is one. Iterations are `compiled`, which takes a minute once;
    None does so on GPUs, as CPUs would need a C++ compiler.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    # Both frames as channels: whatever is done to one is done to the other.
    frames = torch.from_numpy(np.stack([previous, following], 1)).to(device).float()
    with torch.no_grad():
        *finer, coarsest = _pyramid(frames, params)
        u = torch.zeros_like(coarsest)
        for level in (coarsest, *reversed(finer)):
            if level is not coarsest:
                u = F.interpolate(u, size=level.shape[2:], mode="bilinear", align_corners=False)
                u *= 1 / params.scale_step
            _solve(level, u, params, frames.is_cuda if compiled is None else compiled)
    result: Flow = u.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result


def _pyramid(frames: Tensor, params: TVL1Params) -> list[Tensor]:
    """Returns the frames [N, 2, H, W] at every level, the finest first."""
    levels = [frames]
    step = params.scale_step
    while len(levels) < params.scales:
        size = [round(side * step) for side in levels[-1].shape[-2:]]
        if min(size) < _SMALLEST_LEVEL:
            break
        # Not interpolate(): it takes a size or a scale, and here the scale is not their ratio.
        smaller = torch.ops.aten.upsample_bilinear2d(levels[-1], size, False, step, step)
        levels.append(smaller)
    return levels


def _solve(frames: Tensor, u: Tensor, params: TVL1Params, compiled: bool) -> None:
    """Improves the flow u [N, 2, H, W] at one level, in place."""
    first, second = frames[:, 0], frames[:, 1:]
    channels = torch.cat([second, *_central_differences(second)], 1)
    px, py = torch.zeros_like(u), torch.zeros_like(u)  # dual variables of both components
    limit = params.epsilon**2 * u.shape[2] * u.shape[3]
    # As a tensor, so that other numbers do not compile again.
    numbers = u.new_tensor(
        [params.lambda_ * params.theta, params.theta, params.tau / params.theta, limit]
    )
    for _ in range(params.warps):
        warped = _warp(channels, u)
        gradient = warped[:, 1:].contiguous()
        rest = warped[:, 0] - gradient[:, 0] * u[:, 0] - gradient[:, 1] * u[:, 1] - first
        square = gradient.square().sum(1)
        inverse = torch.where(square > _NO_GRADIENT, 1 / square, 0)
        _converge([u, px, py], [gradient, rest, inverse], numbers, params, compiled)


def _converge(
    state: list[Tensor], data: list[Tensor], numbers: Tensor, params: TVL1Params, compiled: bool
) -> None:
    """Iterates until each pair has converged or had its iterations; changes the state in place."""
    functions: tuple[Callable[..., Any], ...] = _iterate, _median
    iterate, median = map(_compiled, functions) if compiled else functions
    index = torch.arange(len(data[0]), device=data[0].device)  # of the pairs in `part`
    part = state
    most = _BLOCK if compiled else 1
    starts = range(0, params.inner_iterations, most)
    for done in itertools.chain.from_iterable([starts] * params.outer_iterations):
        if not done and params.median > 1:
            part = [median(part[0], params.median), *part[1:]]
        count = min(most, params.inner_iterations - done)
        *part, going = iterate(*part, *data, numbers, count)
        kept = going.nonzero().squeeze(1)
        if len(kept) < len(index):
            for whole, now in zip(state, part, strict=True):
                whole[index] = now
            index, *part = (each[kept] for each in (index, *part))
            data = [each[kept] for each in data]
        if not len(kept):
            return
    for whole, now in zip(state, part, strict=True):
        whole[index] = now


def _iterate(
    u: Tensor, px: Tensor, py: Tensor, gradient: Tensor, rest: Tensor, inverse: Tensor,
    numbers: Tensor, count: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Runs `count` iterations, for each pair until it has converged.

    The state [N, 2, H, W] is the flow u and the dual variables px and py along x and y; the data
    are the gradient [N, 2, H, W] of the warped frame, and, [N, H, W], the residual without the flow
    and 1 / |gradient|^2. The numbers are lambda theta, theta, tau / theta, and the sum of squared
    changes up to which a pair has converged. Returns the state, and which pairs have not.
    """
    bound, theta, step, limit = numbers.unbind()
    going = None  # all
    for _ in range(count):
        residual = rest + (gradient[:, 0] * u[:, 0] + gradient[:, 1] * u[:, 1])
        pull = (-residual * inverse).clamp(-bound, bound)
        divergence = px - F.pad(px[..., :-1], (1, 0)) + (py - F.pad(py[..., :-1, :], (0, 0, 1, 0)))
        new_u = u + pull[:, None] * gradient + theta * divergence
        slope_x = F.pad(new_u[..., 1:] - new_u[..., :-1], (0, 1))
        slope_y = F.pad(new_u[..., 1:, :] - new_u[..., :-1, :], (0, 0, 0, 1))
        shrink = 1 + step * (slope_x * slope_x + slope_y * slope_y).sqrt()
        new = new_u, (px + step * slope_x) / shrink, (py + step * slope_y) / shrink
        # Rows first, which are summed where they are computed and always in one order.
        change = (new_u - u).square().sum(-1).sum((1, 2))
        if going is None:
            u, px, py = new
            going = change > limit
        else:
            chosen = going[:, None, None, None]
            u, px, py = (
                torch.where(chosen, after, before)
                for after, before in zip(new, (u, px, py), strict=True)
            )
            going = going & (change > limit)
    return u, px, py, going


def _central_differences(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Returns derivatives of [N, C, H, W] along x and y; edges are repeated."""
    padded = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    rows, columns = padded[..., 1:-1, :], padded[..., 1:-1]
    along_y = 0.5 * (columns[..., 2:, :] - columns[..., :-2, :])
    return 0.5 * (rows[..., 2:] - rows[..., :-2]), along_y


def _warp(channels: Tensor, u: Tensor) -> Tensor:
    """Samples [N, C, H, W] where the flow u [N, 2, H, W] points to; outside is 0.

    Torch's bicubic kernel is OpenCV's: a = -0.75, a neighbour outside counts as 0.
    """
    height, width = u.shape[-2:]
    x = u[:, 0] + torch.arange(width, dtype=u.dtype, device=u.device)
    y = u[:, 1] + torch.arange(height, dtype=u.dtype, device=u.device)[:, None]
    # -1 and 1 are the outer edges of the picture. In float32 positions would be off by 1e-5 pixels,
    # and identical pictures would seem to have moved.
    places = [(2 * at.double() + 1) / side - 1 for at, side in ((x, width), (y, height))]
    grid = torch.stack(places, -1)
    return F.grid_sample(channels.double(), grid, "bicubic", "zeros", align_corners=False).float()


def _median(u: Tensor, side: int) -> Tensor:
    """Returns the median of each side x side neighbourhood; edges are repeated."""
    height, width = u.shape[-2:]
    padded = F.pad(u, (side // 2,) * 4, mode="replicate")
    places = itertools.product(range(side), range(side))
    values = [padded[..., y : y + height, x : x + width] for y, x in places]
    # The least and the greatest of more than half of the values are not the median.
    some, others = values[: len(values) // 2 + 2], values[len(values) // 2 + 2 :]
    while len(some) > 1:
        last = len(some) - 1
        for i in (*range(last), *range(last - 2, -1, -1)):  # exchange neighbours
            a, b = some[i : i + 2]
            some[i : i + 2] = torch.minimum(a, b), torch.maximum(a, b)
        some = some[1:-1] + others[:1]
        others = others[1:]
    return some[0]


class _Compiled:
    """A function compiled at its first call; if torch cannot, it warns and runs as it is."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        # Few graphs for any sizes: pairs leave the batch, and every level has its own size.
        self.call = torch.compile(function, dynamic=True)

    def __call__(self, *values: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self.call(*values)
        except TorchDynamoException as error:
            text = "flow takes longer, as torch cannot compile it. GPUs need triton. %s"
            logging.log_first_n(logging.WARNING, text, 1, error)
            self.call = self.function
            return self.function(*values)


_compiled = functools.cache(_Compiled)
