"""I3D-ResNets and non-local nets in NumPy, float64, as published in video-nonlocal-net.

The input is Caffe2's blobs and clips [B, T, H, W, C]. Nothing is shared with `common.arch` and the
backends: names, blocks and strides are a second copy from the published tables, and kernels have
the shapes of the blobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity_tests import reference
from parity_tests.reference import Shape, softmax

EPS = 1.0000001e-5  # of SpatialBN in the published nets
GROUP = 4  # time steps that attend to each other in conv3 of an affine net
ONE, POINT = (1, 1, 1), (0, 0, 0)

Blobs = Mapping[str, np.ndarray]

# Blocks of res2 to res5, and those of res3 and res4 that a non-local block follows.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
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


def forward(
    blobs: Blobs, clips: np.ndarray, variant: Variant, group: int = GROUP
) -> dict[str, np.ndarray]:
    """Returns all endpoints of the net for clips [B, T, H, W, C], in order.

    `group` is the number of time steps that attend to each other in conv3 of an affine net.
    """
    step = TEMPORAL_STRIDE[variant.timing]
    # Padded variants have no temporal window.
    length, around = (1, (0, 1, 1)) if variant.padded else (step, POINT)
    found = {}
    x = conv(clips.astype(np.float64), blobs["conv1_w"], (step, 2, 2))
    x = found["conv1"] = relu(norm(x, blobs, "res_conv1_bn"))
    x = found["pool1"] = reference.max_pool(x, (length, 3, 3), (step, 2, 2), around)
    blocks = enumerate(BLOCKS[variant.depth], 2)
    for stage, index in ((stage, index) for stage, count in blocks for index in range(count)):
        if (stage, index) == (3, 0):
            x = found["pool2"] = reference.max_pool(x, (2, 1, 1), (2, 1, 1), POINT)
        name = f"res{stage}_{index}"
        x = found[name] = residual(x, blobs, name, 2 if stage > 2 and index == 0 else 1)
        if variant.non_local and index in ATTENDS[variant.depth].get(stage, ()):
            name = f"nonlocal_conv{stage}_{index}"
            steps = group if variant.affine and stage == 3 else x.shape[1]
            x = found[name] = non_local(x, blobs, name, steps)
    # At 224 pixels, pool5's window is all of the input: T / 2 or T / 8, 7, 7.
    found["Features"] = x.mean(axis=(1, 2, 3), keepdims=True)
    matrix = blobs["pred_w"].astype(np.float64).reshape(len(blobs["pred_b"]), -1)
    found["Logits"] = found["Features"][:, 0, 0, 0] @ matrix.T + blobs["pred_b"]
    found["Predictions"] = softmax(found["Logits"])
    return found


def residual(x: np.ndarray, blobs: Blobs, name: str, stride: int) -> np.ndarray:
    """A bottleneck with the stride in the middle, and a projected shortcut if there are weights."""

    def branch(x: np.ndarray, which: str, stride: int = 1) -> np.ndarray:
        y = conv(x, blobs[f"{name}_{which}_w"], (1, stride, stride))
        return norm(y, blobs, f"{name}_{which}_bn")

    y = relu(branch(relu(branch(x, "branch2a")), "branch2b", stride))
    shortcut = branch(x, "branch1", stride) if f"{name}_branch1_w" in blobs else x
    return relu(shortcut + branch(y, "branch2c"))


def non_local(x: np.ndarray, blobs: Blobs, name: str, steps: int) -> np.ndarray:
    """A non-local block in groups of `steps`."""
    groups = np.split(x, x.shape[1] // steps, axis=1)
    results = [_attend(part, blobs, name) for part in groups]
    y = conv(np.concatenate(results, axis=1), blobs[f"{name}_out_w"]) + blobs[f"{name}_out_b"]
    if f"{name}_bn_s" in blobs:
        y = norm(y, blobs, f"{name}_bn")
    return x + y


def _attend(x: np.ndarray, blobs: Blobs, name: str) -> np.ndarray:
    def project(x: np.ndarray, which: str) -> np.ndarray:
        """[B, places, inner]."""
        y = conv(x, blobs[f"{name}_{which}_w"]) + blobs[f"{name}_{which}_b"]
        return y.reshape(len(y), -1, y.shape[-1])

    pooled = reference.max_pool(x, (1, 2, 2), (1, 2, 2), POINT)
    theta, phi, g = project(x, "theta"), project(pooled, "phi"), project(pooled, "g")
    attention = softmax(theta @ phi.swapaxes(1, 2) / np.sqrt(theta.shape[-1]))
    return (attention @ g).reshape(*x.shape[:-1], -1)


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
