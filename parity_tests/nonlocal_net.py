"""I3D-ResNet and the non-local nets in NumPy, float64, as video-nonlocal-net publishes them.

It takes Caffe2's blobs and clips [B, T, H, W, C], knows no `common.arch` and shares no line with
the backends: names, shapes, kernels and strides are a second copy, from the published tables.
Slow and plain on purpose.
"""

import fnmatch
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

EPS = 1.0000001e-5  # SpatialBN's, as the published nets were trained.
WINDOW = 7  # pool5's height and width.
GROUP = 4  # Time steps that attend to each other in conv3 of an affine net.

Blobs = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """One stage of residual blocks, at full width.

    Attributes:
        name: 2 for res2.
        inner: Channels between a block's first and last convolution; four times as many leave.
        stride: In height and width, of the first block.
        temporal: For each block whether its first convolution spans 3 time steps.
        attends: Indices of the blocks that a non-local block follows.
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

# Strides in time of conv1 and of pool1, whose window is as long: "8x8" is `resnet_video` and
# "32x2" `resnet_video_org`.
TEMPORAL_STRIDE = {"8x8": 1, "32x2": 2}


@dataclass(frozen=True)
class Variant:
    """One of the published nets.

    Attributes:
        depth: 50 or 101.
        timing: "8x8" or "32x2".
        non_local: With non-local blocks.
        affine: With a scale and offset for every batch norm, none in the non-local blocks, and
            conv3's non-local blocks in groups of time steps.
        padded: With pool1 padded by 1 in height and width and 1 long in time, as PySlowFast
            ("8x8") and mmaction2 ("32x2") have it.
    """

    depth: int = 50
    timing: str = "8x8"
    non_local: bool = False
    affine: bool = False
    padded: bool = False

    def __str__(self) -> str:
        """Our name of the architecture."""
        parts = [f"i3d_resnet{self.depth}", "nl" * self.non_local, self.timing]
        return "_".join(filter(None, [*parts, "affine" * self.affine, "padded" * self.padded]))


def forward(
    blobs: Blobs, clips: np.ndarray, variant: Variant, group: int = GROUP
) -> dict[str, np.ndarray]:
    """Everything that the net computes for clips [B, T, H, W, C], by name, in order.

    Besides conv1, pool1, res2_0, ..., Features, Logits and Predictions these are
    "nonlocal_conv3_1/attention" and so on, [B, groups, queries, keys]. `group` is how many time
    steps attend to each other in conv3 of an affine net.
    """
    step = TEMPORAL_STRIDE[variant.timing]
    # Those that pad take every second step, and no maximum over two.
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
    # pool5's window is all of what 224 pixels leave: T / 2 or T / 8, 7, 7.
    found["Features"] = x.mean(axis=(1, 2, 3), keepdims=True)
    found["Logits"] = classify(found["Features"], blobs)[:, 0, 0, 0]
    found["Predictions"] = softmax(found["Logits"])
    return found


def views(blobs: Blobs, x: np.ndarray) -> np.ndarray:
    """Predictions [B, classes] of the fully convolutional test, from res5's last block.

    The softmax is taken at every place of pool5's window and then averaged: 2 x 2 places for 256
    pixels, one for 224.
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
    """A bottleneck, whose middle convolution strides; a shortcut is projected where it has to."""
    y = relu(norm(conv(x, blobs[f"{name}_branch2a_w"]), blobs, f"{name}_branch2a_bn"))
    y = conv(y, blobs[f"{name}_branch2b_w"], (1, stride, stride))
    y = relu(norm(y, blobs, f"{name}_branch2b_bn"))
    y = norm(conv(y, blobs[f"{name}_branch2c_w"]), blobs, f"{name}_branch2c_bn")
    if f"{name}_branch1_w" in blobs:
        x = conv(x, blobs[f"{name}_branch1_w"], (1, stride, stride))
        x = norm(x, blobs, f"{name}_branch1_bn")
    return relu(x + y)


def non_local(x: np.ndarray, blobs: Blobs, name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A non-local block over every `steps` time steps: its output and the attention.

    Raises:
        ValueError: `steps` does not divide the time steps of `x`.
    """
    if x.shape[1] % steps:
        raise ValueError(f"{name}: {x.shape[1]} time steps are no groups of {steps}")
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
    """A convolution [out, in, t, h, w] padded by (size - 1) / 2: one product for each offset."""
    size = kernel.shape[2:]
    around = [(0, 0), *(((k - 1) // 2,) * 2 for k in size), (0, 0)]
    weights = kernel.astype(np.float64)
    shifted = _shifts(np.pad(x, around), size, stride)
    return sum(part @ weights[:, :, i, j, k].T for (i, j, k), part in shifted)


def max_pool(x: np.ndarray, size: Shape, stride: Shape, padding: Shape = (0, 0, 0)) -> np.ndarray:
    """The largest of each window; a window that hangs over the end is left out."""
    around = [(0, 0), *((n, n) for n in padding), (0, 0)]
    padded = np.pad(x, around, constant_values=-np.inf)
    return np.max([part for _, part in _shifts(padded, size, stride)], axis=0)


def _shifts(x: np.ndarray, size: Shape, stride: Shape) -> Iterator[tuple[Shape, np.ndarray]]:
    """For each offset within a window what all windows have there, [B, T', H', W', C]."""
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], size, stride, strict=True)]
    for offset in np.ndindex(*size):
        cells = (
            slice(first, first + s * (count - 1) + 1, s)
            for first, s, count in zip(offset, stride, counts, strict=True)
        )
        yield offset, x[(slice(None), *cells)]


def norm(x: np.ndarray, blobs: Blobs, name: str) -> np.ndarray:
    """Batch norm, or only its scale and offset where there are no statistics."""
    scale, offset = (blobs[f"{name}_{part}"].astype(np.float64) for part in ("s", "b"))
    if f"{name}_rm" not in blobs:
        return scale * x + offset
    mean, variance = (blobs[f"{name}_{part}"].astype(np.float64) for part in ("rm", "riv"))
    return scale * (x - mean) / np.sqrt(variance + EPS) + offset


def relu(x: np.ndarray) -> np.ndarray:
    """What is above zero."""
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def classify(x: np.ndarray, blobs: Blobs) -> np.ndarray:
    """The linear layer on the last axis; its matrix may be stored as a 1x1x1 kernel."""
    matrix = blobs["pred_w"].astype(np.float64)
    return x @ matrix.reshape(matrix.shape[:2]).T + blobs["pred_b"]


def to_affine(blobs: Blobs) -> dict[str, np.ndarray]:
    """The blobs, float64, with every batch norm as a scale and an offset, as published.

    A non-local block's norm becomes one too, which the published affine nets do not have.
    """
    result = {name: blob.astype(np.float64) for name, blob in blobs.items()}
    for name in [name.removesuffix("_riv") for name in blobs if name.endswith("_riv")]:
        mean, variance = result.pop(f"{name}_rm"), result.pop(f"{name}_riv")
        scale = result[f"{name}_s"] / np.sqrt(variance + 1e-5)
        result[f"{name}_s"], result[f"{name}_b"] = scale, result[f"{name}_b"] - mean * scale
    return result


def shapes(variant: Variant, divisor: int = 1, classes: int = 400) -> dict[str, Shape]:
    """Shape of each parameter and statistic by blob name, all channels divided by `divisor`."""
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


# Factors of kernels with variance 2 / fan-in. What is added again stays small, so that the sum of
# 33 blocks keeps its scale; scores before a softmax make it neither flat nor saturated.
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
    """Blobs, float32, where no two could be exchanged unseen.

    Kernels have variance 2 / fan-in, times `GAINS`; scales and variances lie in 0.5..1.5; all
    else is 0.1 x normal.
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
    """What training leaves in the file beside the parameters: momenta, rate and iteration."""
    statistics = ("_rm", "_riv")
    momenta = {
        f"{name}_momentum": np.full_like(blob, np.nan)
        for name, blob in blobs.items()
        if not name.endswith(statistics)
    }
    return {**momenta, "lr": np.full((1,), 0.00125, np.float32), "model_iter": 400_000}
