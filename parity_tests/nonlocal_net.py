"""I3D-ResNets and non-local nets in NumPy, float64, as published in video-nonlocal-net.

The input is Caffe2's blobs and clips [B, T, H, W, C]. Nothing is shared with `common.arch` and the
backends: names, shapes, kernels and strides are a second copy from the published tables.
Deliberately slow and simple.
"""

import fnmatch
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from parity_tests.reference import softmax

EPS = 1.0000001e-5  # of SpatialBN in the published nets
WINDOW = 7  # height and width of pool5
GROUP = 4  # time steps that attend to each other in conv3 of an affine net

Blobs = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """One stage of residual blocks, at full width.

    Attributes:
        name: 2 for res2.
        inner: Channels inside a block; a quarter of its output's.
        stride: Spatial stride of the first block.
        temporal: Whether each block's first convolution spans 3 time steps.
        attends: Indices of the blocks followed by a non-local block.
    """

    name: int
    inner: int
    stride: int
    temporal: tuple[int, ...]
    attends: tuple[int, ...] = ()


STAGES = {
    50: (
        Stage(2, 64, 1, (1, 1, 1)),
        Stage(3, 128, 2, (1, 0, 1, 0), (1, 3)),
        Stage(4, 256, 2, (1, 0, 1, 0, 1, 0), (1, 3, 5)),
        Stage(5, 512, 2, (0, 1, 0)),
    ),
    101: (
        Stage(2, 64, 1, (1, 1, 1)),
        Stage(3, 128, 2, (1, 0, 1, 0), (1, 3)),
        Stage(4, 256, 2, (*(1, 0) * 11, 1), (6, 13, 20)),
        Stage(5, 512, 2, (0, 1, 0)),
    ),
}

# Temporal strides of conv1 and of pool1, whose window has the same length; "8x8" is `resnet_video`,
# and "32x2" is `resnet_video_org`.
TEMPORAL_STRIDE = {"8x8": 1, "32x2": 2}


@dataclass(frozen=True)
class Variant:
    """One of the published nets.

    Attributes:
        depth: 50 or 101.
        timing: "8x8" or "32x2".
        non_local: With non-local blocks.
        affine: With scale and offset in place of batch norm, none in the non-local blocks, and with
            groups of time steps in conv3's non-local blocks.
        padded: With pool1 padded by 1 in space and of length 1 in time, as in PySlowFast ("8x8")
            and mmaction2 ("32x2").
    """

    depth: int = 50
    timing: str = "8x8"
    non_local: bool = False
    affine: bool = False
    padded: bool = False

    def __str__(self) -> str:
        """The name of the architecture in `common.arch`."""
        parts = [f"i3d_resnet{self.depth}", "nl" * self.non_local, self.timing]
        return "_".join(filter(None, [*parts, "affine" * self.affine, "padded" * self.padded]))


def forward(
    blobs: Blobs, clips: np.ndarray, variant: Variant, group: int = GROUP
) -> dict[str, np.ndarray]:
    """Returns all endpoints of the net for clips [B, T, H, W, C], in order.

    Attention, [B, groups, queries, keys], is added as "nonlocal_conv3_1/attention" and so on.
    `group` is the number of time steps that attend to each other in conv3 of an affine net.
    """
    step = TEMPORAL_STRIDE[variant.timing]
    # Padded variants have no temporal window.
    length, around = (1, (0, 1, 1)) if variant.padded else (step, (0, 0, 0))
    found = {}
    x = conv(clips.astype(np.float64), blobs["conv1_w"], (step, 2, 2))
    x = found["conv1"] = relu(norm(x, blobs, "res_conv1_bn"))
    x = found["pool1"] = max_pool(x, (length, 3, 3), (step, 2, 2), around)
    for stage in STAGES[variant.depth]:
        for index in range(len(stage.temporal)):
            name = f"res{stage.name}_{index}"
            x = found[name] = residual(x, blobs, name, 1 if index else stage.stride)
            if variant.non_local and index in stage.attends:
                name = f"nonlocal_conv{stage.name}_{index}"
                grouped = variant.affine and stage.name == 3
                steps = group if grouped else x.shape[1]
                x, found[f"{name}/attention"] = non_local(x, blobs, name, steps)
                found[name] = x
        if stage.name == 2:
            x = found["pool2"] = max_pool(x, (2, 1, 1), (2, 1, 1))
    # At 224 pixels, pool5's window is all of the input: T / 2 or T / 8, 7, 7.
    found["Features"] = x.mean(axis=(1, 2, 3), keepdims=True)
    found["Logits"] = classify(found["Features"], blobs)[:, 0, 0, 0]
    found["Predictions"] = softmax(found["Logits"])
    return found


def views(blobs: Blobs, x: np.ndarray) -> np.ndarray:
    """Returns predictions [B, classes] of the fully convolutional test from the last block of res5.

    The softmax at every position of pool5's window is averaged: 2 x 2 positions for 256 pixels,
    one for 224.
    """
    _, _, height, width, _ = x.shape
    places = [
        x[:, :, i : i + WINDOW, j : j + WINDOW].mean(axis=(1, 2, 3), keepdims=True)
        for i in range(height - WINDOW + 1)
        for j in range(width - WINDOW + 1)
    ]
    scores = [softmax(classify(place, blobs))[:, 0, 0, 0] for place in places]
    return np.mean(scores, axis=0)


def residual(x: np.ndarray, blobs: Blobs, name: str, stride: int) -> np.ndarray:
    """A bottleneck with the stride in the middle, and a projected shortcut if there are weights."""
    y = relu(norm(conv(x, blobs[f"{name}_branch2a_w"]), blobs, f"{name}_branch2a_bn"))
    y = conv(y, blobs[f"{name}_branch2b_w"], (1, stride, stride))
    y = relu(norm(y, blobs, f"{name}_branch2b_bn"))
    y = norm(conv(y, blobs[f"{name}_branch2c_w"]), blobs, f"{name}_branch2c_bn")
    if f"{name}_branch1_w" in blobs:
        x = conv(x, blobs[f"{name}_branch1_w"], (1, stride, stride))
        x = norm(x, blobs, f"{name}_branch1_bn")
    return relu(x + y)


def non_local(x: np.ndarray, blobs: Blobs, name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the output and the attention of a non-local block in groups of `steps`.

    Raises:
        ValueError: The time steps of `x` are not a multiple of `steps`.
    """
    if x.shape[1] % steps:
        raise ValueError(f"{name}: {x.shape[1]} time steps are not a multiple of {steps}")
    groups = np.split(x, x.shape[1] // steps, axis=1)
    results, attention = zip(*(_attend(part, blobs, name) for part in groups), strict=True)
    y = conv(np.concatenate(results, axis=1), blobs[f"{name}_out_w"]) + blobs[f"{name}_out_b"]
    if f"{name}_bn_s" in blobs:
        y = norm(y, blobs, f"{name}_bn")
    return x + y, np.stack(attention, axis=1)


def _attend(x: np.ndarray, blobs: Blobs, name: str) -> tuple[np.ndarray, np.ndarray]:
    def project(x: np.ndarray, which: str) -> np.ndarray:
        """[B, places, inner]."""
        y = conv(x, blobs[f"{name}_{which}_w"]) + blobs[f"{name}_{which}_b"]
        return y.reshape(len(y), -1, y.shape[-1])

    pooled = max_pool(x, (1, 2, 2), (1, 2, 2))
    theta, phi, g = project(x, "theta"), project(pooled, "phi"), project(pooled, "g")
    attention = softmax(theta @ phi.swapaxes(1, 2) / np.sqrt(theta.shape[-1]))
    return (attention @ g).reshape(*x.shape[:-1], -1), attention


def conv(x: np.ndarray, kernel: np.ndarray, stride: Shape = (1, 1, 1)) -> np.ndarray:
    """Convolves with [out, in, t, h, w], padded by (size - 1) / 2: a product for each offset."""
    size = kernel.shape[2:]
    around = [(0, 0), *(((k - 1) // 2,) * 2 for k in size), (0, 0)]
    weights = kernel.astype(np.float64)
    shifted = _shifts(np.pad(x, around), size, stride)
    return sum(part @ weights[:, :, i, j, k].T for (i, j, k), part in shifted)


def max_pool(x: np.ndarray, size: Shape, stride: Shape, padding: Shape = (0, 0, 0)) -> np.ndarray:
    """Maximum of each window; windows beyond the end are dropped."""
    around = [(0, 0), *((n, n) for n in padding), (0, 0)]
    padded = np.pad(x, around, constant_values=-np.inf)
    return np.max([part for _, part in _shifts(padded, size, stride)], axis=0)


def _shifts(x: np.ndarray, size: Shape, stride: Shape) -> Iterator[tuple[Shape, np.ndarray]]:
    """Yields each offset in a window, and the values of all windows there, [B, T', H', W', C]."""
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], size, stride, strict=True)]
    for offset in np.ndindex(*size):
        cells = (
            slice(first, first + s * (count - 1) + 1, s)
            for first, s, count in zip(offset, stride, counts, strict=True)
        )
        yield offset, x[(slice(None), *cells)]


def norm(x: np.ndarray, blobs: Blobs, name: str) -> np.ndarray:
    """Batch norm, or scale and offset if there are no statistics."""
    scale, offset = (blobs[f"{name}_{part}"].astype(np.float64) for part in ("s", "b"))
    if f"{name}_rm" not in blobs:
        return scale * x + offset
    mean, variance = (blobs[f"{name}_{part}"].astype(np.float64) for part in ("rm", "riv"))
    return scale * (x - mean) / np.sqrt(variance + EPS) + offset


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def classify(x: np.ndarray, blobs: Blobs) -> np.ndarray:
    """Linear layer on the last axis; its matrix may be stored as a 1x1x1 kernel."""
    matrix = blobs["pred_w"].astype(np.float64)
    return x @ matrix.reshape(matrix.shape[:2]).T + blobs["pred_b"]


def to_affine(blobs: Blobs) -> dict[str, np.ndarray]:
    """Returns the blobs, float64, with batch norm folded into scale and offset.

    This includes the non-local blocks, which have none in the published affine nets.
    """
    result = {name: blob.astype(np.float64) for name, blob in blobs.items()}
    for name in [name.removesuffix("_riv") for name in blobs if name.endswith("_riv")]:
        mean, variance = result.pop(f"{name}_rm"), result.pop(f"{name}_riv")
        scale = result[f"{name}_s"] / np.sqrt(variance + 1e-5)
        result[f"{name}_s"], result[f"{name}_b"] = scale, result[f"{name}_b"] - mean * scale
    return result


def shapes(variant: Variant, divisor: int = 1, classes: int = 400) -> dict[str, Shape]:
    """Returns the shapes of all blobs by name, with all channels divided by `divisor`."""
    width = 64 // divisor
    found: dict[str, Shape] = {"conv1_w": (width, 3, 5, 7, 7)}
    found |= _norm_shapes("res_conv1_bn", width, variant)
    for stage in STAGES[variant.depth]:
        inner = stage.inner // divisor
        outer = 4 * inner
        for index, temporal in enumerate(stage.temporal):
            block = f"res{stage.name}_{index}"
            kernels = {
                "branch2a": (inner, width, 3 if temporal else 1, 1, 1),
                "branch2b": (inner, inner, 1, 3, 3),
                "branch2c": (outer, inner, 1, 1, 1),
            }
            if index == 0:
                kernels["branch1"] = (outer, width, 1, 1, 1)
            for name, shape in kernels.items():
                found[f"{block}_{name}_w"] = shape
                found |= _norm_shapes(f"{block}_{name}_bn", shape[0], variant)
            width = outer
            if variant.non_local and index in stage.attends:
                found |= _non_local_shapes(f"nonlocal_conv{stage.name}_{index}", outer, variant)
    return found | {"pred_w": (classes, width), "pred_b": (classes,)}


def _norm_shapes(name: str, channels: int, variant: Variant) -> dict[str, Shape]:
    parts = ("s", "b") if variant.affine else ("s", "b", "rm", "riv")
    return {f"{name}_{part}": (channels,) for part in parts}


def _non_local_shapes(name: str, channels: int, variant: Variant) -> dict[str, Shape]:
    inner = channels // 2
    found: dict[str, Shape] = {}
    for which in ("theta", "phi", "g"):
        found |= {f"{name}_{which}_w": (inner, channels, 1, 1, 1), f"{name}_{which}_b": (inner,)}
    found |= {f"{name}_out_w": (channels, inner, 1, 1, 1), f"{name}_out_b": (channels,)}
    return found if variant.affine else found | _norm_shapes(f"{name}_bn", channels, variant)


# Factors of kernels with variance 2 / fan-in: small before a sum, so that 33 blocks keep the scale,
# and such that no softmax is flat or saturated.
GAINS = {
    "*_branch2c": 0.2,
    "nonlocal_*_out": 0.3,
    "nonlocal_conv3_*_theta": 0.45,
    "nonlocal_conv3_*_phi": 0.45,
    "nonlocal_conv4_*_theta": 0.12,
    "nonlocal_conv4_*_phi": 0.12,
    "pred": 0.06,
}


def random(
    variant: Variant, divisor: int = 1, classes: int = 400, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns random blobs, float32, so that an exchange of any two has an effect.

    Kernels have variance 2 / fan-in, times `GAINS`; scales and variances lie in 0.5..1.5; the rest
    is 0.1 x normal.
    """
    blobs = {}
    for name, shape in shapes(variant, divisor, classes).items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        unit, _, part = name.rpartition("_")
        if part == "w":
            fits = (gain for pattern, gain in GAINS.items() if fnmatch.fnmatchcase(unit, pattern))
            blob = rng.normal(scale=next(fits, 1.0) * np.sqrt(2 / np.prod(shape[1:])), size=shape)
        elif part in ("s", "riv"):
            blob = rng.uniform(0.5, 1.5, shape)
        else:
            blob = rng.normal(scale=0.1, size=shape)
        blobs[name] = blob.astype(np.float32)
    return blobs


def extras(blobs: Blobs) -> dict[str, np.ndarray | int]:
    """Returns other contents of a training checkpoint: momenta, learning rate and iteration."""
    statistics = ("_rm", "_riv")
    momenta = {
        f"{name}_momentum": np.full_like(blob, np.nan)
        for name, blob in blobs.items()
        if not name.endswith(statistics)
    }
    return {**momenta, "lr": np.full((1,), 0.00125, np.float32), "model_iter": 400_000}
