"""I3D-ResNets and non-local nets in NumPy, float64, as published in video-nonlocal-net.

The input is Caffe2's blobs and clips [B, T, H, W, C]. Nothing is shared with `common.arch` and the
backends: names, shapes, kernels and strides are a second copy from the published tables.
"""

import fnmatch
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from parity_tests import reference
from parity_tests.reference import Shape, softmax

EPS = 1.0000001e-5  # of SpatialBN in the published nets
WINDOW = 7  # height and width of pool5
GROUP = 4  # time steps that attend to each other in conv3 of an affine net
ONE, POINT = (1, 1, 1), (0, 0, 0)

Blobs = Mapping[str, np.ndarray]

# The temporal kernel of the first convolution in each block of res2 to res5, and the blocks of res3
# and res4 that a non-local block follows.
KERNELS = {
    50: ("333", "3131", "313131", "131"),
    101: ("333", "3131", "31" * 11 + "3", "131"),
}
ATTENDS = {50: {3: (1, 3), 4: (1, 3, 5)}, 101: {3: (1, 3), 4: (6, 13, 20)}}

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

    def blocks(self) -> Iterator[tuple[int, int, int, bool]]:
        """Yields stage, index and temporal kernel of each block; and if a non-local one follows."""
        for stage, kernels in enumerate(KERNELS[self.depth], 2):
            for index, kernel in enumerate(kernels):
                attends = self.non_local and index in ATTENDS[self.depth].get(stage, ())
                yield stage, index, int(kernel), attends


def forward(
    blobs: Blobs, clips: np.ndarray, variant: Variant, group: int = GROUP
) -> dict[str, np.ndarray]:
    """Returns all endpoints of the net for clips [B, T, H, W, C], in order.

    Attention, [B, groups, queries, keys], is added as "nonlocal_conv3_1/attention" and so on.
    `group` is the number of time steps that attend to each other in conv3 of an affine net.
    """
    step = TEMPORAL_STRIDE[variant.timing]
    # Padded variants have no temporal window.
    length, around = (1, (0, 1, 1)) if variant.padded else (step, POINT)
    found = {}
    x = conv(clips.astype(np.float64), blobs["conv1_w"], (step, 2, 2))
    x = found["conv1"] = relu(norm(x, blobs, "res_conv1_bn"))
    x = found["pool1"] = reference.max_pool(x, (length, 3, 3), (step, 2, 2), around)
    for stage, index, _, attends in variant.blocks():
        if (stage, index) == (3, 0):
            x = found["pool2"] = reference.max_pool(x, (2, 1, 1), (2, 1, 1), POINT)
        name = f"res{stage}_{index}"
        x = found[name] = residual(x, blobs, name, 2 if stage > 2 and index == 0 else 1)
        if attends:
            name = f"nonlocal_conv{stage}_{index}"
            steps = group if variant.affine and stage == 3 else x.shape[1]
            x, found[f"{name}/attention"] = non_local(x, blobs, name, steps)
            found[name] = x
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

    def branch(x: np.ndarray, which: str, stride: int = 1) -> np.ndarray:
        y = conv(x, blobs[f"{name}_{which}_w"], (1, stride, stride))
        return norm(y, blobs, f"{name}_{which}_bn")

    y = relu(branch(relu(branch(x, "branch2a")), "branch2b", stride))
    shortcut = branch(x, "branch1", stride) if f"{name}_branch1_w" in blobs else x
    return relu(shortcut + branch(y, "branch2c"))


def non_local(x: np.ndarray, blobs: Blobs, name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the output and the attention of a non-local block in groups of `steps`."""
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

    pooled = reference.max_pool(x, (1, 2, 2), (1, 2, 2), POINT)
    theta, phi, g = project(x, "theta"), project(pooled, "phi"), project(pooled, "g")
    attention = softmax(theta @ phi.swapaxes(1, 2) / np.sqrt(theta.shape[-1]))
    return (attention @ g).reshape(*x.shape[:-1], -1), attention


def conv(x: np.ndarray, kernel: np.ndarray, stride: Shape = ONE) -> np.ndarray:
    """Convolves with [out, in, t, h, w], padded by (size - 1) / 2."""
    return reference.conv(x, kernel, stride, tuple((k - 1) // 2 for k in kernel.shape[2:]))


def norm(x: np.ndarray, blobs: Blobs, name: str) -> np.ndarray:
    """Batch norm, or scale and offset if there are no statistics."""
    scale, offset = (blobs[f"{name}_{part}"].astype(np.float64) for part in ("s", "b"))
    if f"{name}_rm" not in blobs:
        return scale * x + offset
    mean, variance = (blobs[f"{name}_{part}"] for part in ("rm", "riv"))
    return reference.batch_norm(x, mean, variance, offset, EPS, scale)


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


def units(
    variant: Variant, divisor: int, classes: int
) -> Iterator[tuple[str, Shape, bool, str | None]]:
    """Yields name, shape of the kernel, whether it has a bias, and the name of its norm."""
    width = 64 // divisor
    yield "conv1", (width, 3, 5, 7, 7), False, "res_conv1_bn"
    for stage, index, kernel, attends in variant.blocks():
        inner, outer = (n * 2**stage // divisor for n in (16, 64))
        rows = {
            "branch2a": (inner, width, kernel, 1, 1),
            "branch2b": (inner, inner, 1, 3, 3),
            "branch2c": (outer, inner, *ONE),
        }
        if index == 0:
            rows["branch1"] = (outer, width, *ONE)
        for which, shape in rows.items():
            name = f"res{stage}_{index}_{which}"
            yield name, shape, False, f"{name}_bn"
        width = outer
        if attends:
            name = f"nonlocal_conv{stage}_{index}"
            for which in ("theta", "phi", "g"):
                yield f"{name}_{which}", (width // 2, width, *ONE), True, None
            last = None if variant.affine else f"{name}_bn"
            yield f"{name}_out", (width, width // 2, *ONE), True, last
    yield "pred", (classes, width), True, None


def shapes(variant: Variant, divisor: int = 1, classes: int = 400) -> dict[str, Shape]:
    """Returns the shapes of all blobs by name, with all channels divided by `divisor`."""
    found: dict[str, Shape] = {}
    parts = ("s", "b") if variant.affine else ("s", "b", "rm", "riv")
    for name, shape, bias, of_norm in units(variant, divisor, classes):
        found[f"{name}_w"], vector = shape, shape[:1]
        if bias:
            found[f"{name}_b"] = vector
        if of_norm:
            found |= {f"{of_norm}_{part}": vector for part in parts}
    return found


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
