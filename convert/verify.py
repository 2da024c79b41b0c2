"""Runs the network with the weights of both sides of a conversion, and compares the endpoints."""

import importlib.util
from collections.abc import Mapping

import numpy as np

from common import arch
from common.io import CheckpointError
from convert import hub
from convert.arrays import Array
from convert.compare import measure
from convert.exports import EXPORTS

# The two backends differ by some 1e-6 on random weights, and by 1e-4 behind sharp attention.
TOLERANCE = 1e-3

# Enough for several time steps at the end, and quick on a CPU.
CLIP = (16, 112, 112)

_PACKAGES = {"tf": "sonnet", "torch": "torch"}  # what each framework's backend needs
_TENSORFLOW = ("tf1_checkpoint", "tf1_v1_checkpoint", "tf2_checkpoint")


def verify(report: hub.Report) -> str:
    """Returns a line with the largest difference of an endpoint, relative to its largest value.

    Each side runs in the framework that its format belongs to if that is installed; the target of
    a format that belongs to neither runs in the one that the source does not. A whole model runs in
    its own runtime, and is compared at its outputs.

    Raises:
        CheckpointError: The sides differ.
        ImportError: Neither framework is installed, or not what runs a whole model.
    """
    source, target = report.source, report.target
    installed = [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package)]
    if not installed:
        raise ImportError(
            "--verify runs the network and needs PyTorch or TensorFlow: pip install '.[torch]' or"
            " '.[tf]'. The file was written, read back and found equal."
        )

    def choose(format: str, default: str) -> str:
        preferred = "tf" if format in _TENSORFLOW else "torch" if "torch" in format else default
        return preferred if preferred in installed else installed[0]

    clips = _clips(source.net)
    first = choose(source.format, "tf")
    one = _run(first, source.net, source.arrays, clips)
    if export := EXPORTS.get(target.format):
        second = export.runtime
        if not importlib.util.find_spec(second):
            raise ImportError(
                f"--verify runs {report.path} and needs {second}: pip install {second}. The file"
                " was written, read back and found equal."
            )
        other = export.load().run(report.path, clips)
    else:
        second = choose(target.format, "tf" if first == "torch" else "torch")
        other = _run(second, target.net, target.arrays, clips)
    differences = {name: measure(one[name], other[name])[1] for name in one if name in other}
    worst = max(differences, key=differences.__getitem__)
    size = "x".join(str(n) for n in clips.shape[1:4])
    what = (
        f"on a clip of {size}: source in {first}, target in {second}, largest difference"
        f" {differences[worst]:.1e} of {len(differences)} endpoints ({worst})"
    )
    if not differences[worst] <= TOLERANCE:
        raise CheckpointError(
            f"{report.path}: the two sides differ {what}; expected at most {TOLERANCE:g}. The file"
            " stays, for you to look at."
        )
    return f"verified {what}"


def _clips(net: arch.Network) -> Array:
    """Returns clips [1, T, H, W, C] in [-1, 1], the same each time."""
    size = [max(n, least) for n, least in zip(CLIP, arch.smallest_size(net), strict=True)]
    if any(isinstance(node, arch.NonLocal) and node.group for node in net.nodes):
        size[0] = 32  # divides into groups after the eighth that either timing leaves
    shape = (1, *size, net.in_channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _run(
    framework: str, net: arch.Network, arrays: Mapping[str, Array], clips: Array
) -> dict[str, Array]:
    """Returns the endpoints [B, T, H, W, C] of clips in a framework's backend."""
    if framework == "tf":
        import i3d_tf  # before TensorFlow, see there

        # isort: split
        import tensorflow as tf

        model = i3d_tf.VideoModel(net)
        i3d_tf.assign(model, arrays)
        return {name: x.numpy() for name, x in model(tf.constant(clips))[1].items()}
    import torch

    import i3d_torch

    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    with torch.inference_mode():
        _, endpoints = model(torch.from_numpy(np.moveaxis(clips, -1, 1).copy()))
    return {name: x.movedim(1, -1).numpy() for name, x in endpoints.items()}
