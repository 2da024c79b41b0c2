"""TV-L1 on the CPU: OpenCV's algorithm with one fused pass over memory per iteration.

The pyramid, the warping and the median filter are OpenCV's own functions, so that only the order
of additions differs from its engine. All fields of a row lie side by side at a distance that the
compiler knows, so no two can overlap and every loop becomes SIMD code; row y of the flow and row
y - 1 of the dual variables are updated together, while both are in the cache.
"""

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from common.flow import Flow as Floats
from common.flow import Grey, TVL1Params
from common.preprocessing import compiled

# Fields of a pixel, in this order: the flow u, the dual variables p of its two components, the
# gradient of the warped frame, the residual without the flow, and 1 / |gradient|^2.
_FIELDS = 10
_U1, _U2, _P11, _P12, _P21, _P22, _GRAD_X, _GRAD_Y, _REST, _INVERSE = range(_FIELDS)

_LANES = 16  # widest SIMD registers, in floats: rows are padded to a multiple
_NO_GRADIENT = np.float32(1.1920929e-07)  # OpenCV's: below, the data term is left out
_SMALLEST_LEVEL = 16  # pixels; OpenCV leaves out smaller levels of the pyramid


def flow(previous: Grey, following: Grey, params: TVL1Params) -> Floats:
    """Computes flow [H, W, 2] in pixels of two frames [H, W], uint8 or float32, in 0..255."""
    pyramid = _pyramid(previous.astype(np.float32), following.astype(np.float32), params)
    memory = _memory(*previous.shape)
    u1, u2 = (np.zeros_like(pyramid[-1][0]) for _ in range(2))
    for number, (earlier, later) in enumerate(reversed(pyramid)):
        if number:
            size, grown = earlier.shape[::-1], np.float32(1 / params.scale_step)
            u1, u2 = (cv2.resize(u, size, interpolation=cv2.INTER_LINEAR) * grown for u in (u1, u2))
        u1, u2 = _solve(earlier, later, u1, u2, memory, params)
    return np.stack([u1, u2], axis=-1)


def _memory(height: int, width: int) -> Floats:
    """Returns zeros [row, field, column], with a row above and below, and padding before each."""
    size = (height + 2) * _FIELDS * _pitch(width)
    memory = np.zeros(size + 2 * _LANES, np.float32)
    # Column 0 starts a cache line, with at least one float in front of it.
    first = _LANES + (-memory.ctypes.data // 4) % _LANES
    return memory[first : first + size].reshape(height + 2, _FIELDS, -1)


def _pyramid(first: Floats, second: Floats, params: TVL1Params) -> list[tuple[Floats, Floats]]:
    """Returns both frames at every level, the finest first."""
    levels = [(first, second)]
    step = params.scale_step
    while len(levels) < params.scales:
        first, second = (
            cv2.resize(frame, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
            for frame in levels[-1]
        )
        if min(first.shape) < _SMALLEST_LEVEL:
            break
        levels.append((first, second))
    return levels


def _solve(
    earlier: Floats, later: Floats, u1: Floats, u2: Floats, fields: Floats, params: TVL1Params
) -> tuple[Floats, Floats]:
    """Returns the flow at one level, starting from u1 and u2."""
    height, width = earlier.shape
    fields[:] = 0
    iterate = _iteration(fields.shape[2])
    numbers = (params.lambda_ * params.theta, params.theta, params.tau / params.theta)
    limit = params.epsilon**2 * height * width
    u = [fields[1 : height + 1, component, :width] for component in (_U1, _U2)]
    u[0][:], u[1][:] = u1, u2
    # The frame and its central differences are warped in one go.
    differ = functools.partial(cv2.Sobel, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    channels = cv2.merge([later, *(differ(later, -1, x, 1 - x) for x in (1, 0))])
    xs, ys = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for _ in range(params.warps):
        warped = cv2.remap(channels, xs + u[0], ys + u[1], interpolation=cv2.INTER_CUBIC)
        _linearise(fields, earlier, warped)
        change: float = np.inf
        for _ in range(params.outer_iterations):
            if not change > limit:
                break
            if params.median > 1:
                for component in u:
                    component[:] = cv2.medianBlur(np.ascontiguousarray(component), params.median)
            change = iterate(
                fields.reshape(-1), height, width, params.inner_iterations, limit,
                *map(np.float32, numbers),
            )  # fmt: skip
    return u[0].copy(), u[1].copy()


def _pitch(width: int) -> int:
    """Returns the floats from one field of a row to the next, with room for the padding.

    Each is compiled separately, so widths share few; odd cache lines spread fields over the cache.
    """
    lines = 1 + -(-width // _LANES)
    pitch = 9
    while pitch < lines:
        pitch += max(2, pitch // 6 // 2 * 2)
    return pitch * _LANES


@functools.cache
def _iteration(pitch: int) -> Callable[..., float]:
    """Returns the compiled iterations for a pitch."""
    u1_at, u2_at, p11_at, p12_at, p21_at, p22_at, gx_at, gy_at, rest_at, inverse_at = (
        np.uint64(field * pitch) for field in range(_FIELDS)
    )
    row, one, lanes = np.uint64(_FIELDS * pitch), np.uint64(1), np.uint64(_LANES)

    def iterate(s, height, width, most, limit, bound, theta, step):  # type: ignore[no-untyped-def]
        # Indices are unsigned, as numba lets negative ones count from the end.
        last = np.uint64(width - 1)
        padded = (last // lanes + one) * lanes
        change, count, unit = np.inf, 0, np.float32(1)
        while change > limit and count < most:
            change = 0.0
            for y in range(height + 1):
                if y < height:
                    base = np.uint64(y + 1) * row
                    part: Any = np.float32(0)  # float32 sums are SIMD sums
                    for i in range(padded):
                        x = base + i
                        u1, u2 = s[x + u1_at], s[x + u2_at]
                        gx, gy = s[x + gx_at], s[x + gy_at]
                        residual = s[x + rest_at] + gx * u1 + gy * u2
                        pull = min(max(-residual * s[x + inverse_at], -bound), bound)
                        div1 = s[x + p11_at] - s[x + p11_at - one]
                        div1 += s[x + p12_at] - s[x + p12_at - row]
                        div2 = s[x + p21_at] - s[x + p21_at - one]
                        div2 += s[x + p22_at] - s[x + p22_at - row]
                        change1 = pull * gx + theta * div1
                        change2 = pull * gy + theta * div2
                        s[x + u1_at] = u1 + change1
                        s[x + u2_at] = u2 + change2
                        part += change1 * change1 + change2 * change2
                    change += part
                    s[base + u1_at + last + one] = s[base + u1_at + last]  # past the edge
                    s[base + u2_at + last + one] = s[base + u2_at + last]
                    if y == height - 1:
                        for i in range(padded):
                            s[base + row + u1_at + i] = s[base + u1_at + i]
                            s[base + row + u2_at + i] = s[base + u2_at + i]
                if y > 0:
                    base = np.uint64(y) * row
                    for i in range(padded):
                        x = base + i
                        u1, u2 = s[x + u1_at], s[x + u2_at]
                        u1_x, u1_y = s[x + u1_at + one] - u1, s[x + u1_at + row] - u1
                        u2_x, u2_y = s[x + u2_at + one] - u2, s[x + u2_at + row] - u2
                        shrink1 = unit / (unit + step * np.sqrt(u1_x * u1_x + u1_y * u1_y))
                        shrink2 = unit / (unit + step * np.sqrt(u2_x * u2_x + u2_y * u2_y))
                        s[x + p11_at] = (s[x + p11_at] + step * u1_x) * shrink1
                        s[x + p12_at] = (s[x + p12_at] + step * u1_y) * shrink1
                        s[x + p21_at] = (s[x + p21_at] + step * u2_x) * shrink2
                        s[x + p22_at] = (s[x + p22_at] + step * u2_y) * shrink2
                    for i in range(last + one, padded):
                        x = base + i
                        s[x + p11_at] = s[x + p12_at] = s[x + p21_at] = s[x + p22_at] = 0
            count += 1
        return change

    return compiled(iterate, fastmath=True)


@functools.partial(compiled, fastmath=True)
def _linearise(fields, earlier, warped):  # type: ignore[no-untyped-def]
    """Sets the fields of the data term, linearised around the flow so far."""
    height, width = earlier.shape
    for y in range(height):
        u1, u2 = fields[y + 1, _U1], fields[y + 1, _U2]
        for x in range(width):
            gx, gy = warped[y, x, 1], warped[y, x, 2]
            square = gx * gx + gy * gy
            fields[y + 1, _GRAD_X, x] = gx
            fields[y + 1, _GRAD_Y, x] = gy
            rest = warped[y, x, 0] - gx * u1[x] - gy * u2[x] - earlier[y, x]
            fields[y + 1, _REST, x] = rest
            inverse = np.float32(1) / square if square > _NO_GRADIENT else np.float32(0)
            fields[y + 1, _INVERSE, x] = inverse
