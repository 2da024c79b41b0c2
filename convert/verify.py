"""Runs the network with the weights of both sides of a conversion, and compares the endpoints."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from common import arch
from common.io import CheckpointError
from convert import hub

Arrays = Mapping[str, np.ndarray]

# What the two backends differ by on random weights is some 1e-6, behind sharp attention 1e-4.
TOLERANCE = 1e-3

# Enough for several time steps at the end, and quick on a CPU.
CLIP = (16, 112, 112)

_TENSORFLOW = ("tf1_checkpoint", "tf1_v1_checkpoint", "tf2_checkpoint")


def verify(report: hub.Report) -> str:
    """A line with the largest difference of an endpoint, relative to its largest value.

    Each side runs in the framework its format belongs to if that is installed; the target of a
    format that belongs to neither runs in the one that the source does not. A whole model runs in
    its own runtime, and is compared at its outputs.

    Raises:
        CheckpointError: The sides differ.
        ImportError: Neither framework is installed, or not what runs a whole model.
    """
    source, target = report.source, report.target
    if not _backends():
        raise ImportError(
            "--verify runs the network and needs PyTorch or TensorFlow: pip install '.[torch]' or"
            " '.[tf]'. The file was written, read back and found equal."
        )
    clips = _clips(source.net)
    first = _choice(source.format, "tf")
    one = _backends()[first](source.net, source.arrays, clips)
    if target.format in _RUNTIMES:
        second, run = _RUNTIMES[target.format]
        if not importlib.util.find_spec(second):
            raise ImportError(
                f"--verify runs {report.path} and needs {second}: pip install {second}. The file"
                " was written, read back and found equal."
            )
        other = run(report.path, clips)
    else:
        second = _choice(target.format, "tf" if first == "torch" else "torch")
        other = _backends()[second](target.net, target.arrays, clips)
    shared = [name for name in one if name in other]
    worst = max(shared, key=lambda name: _difference(one[name], other[name]))
    largest = _difference(one[worst], other[worst])
    size = "x".join(str(n) for n in clips.shape[1:4])
    what = (
        f"on a clip of {size}: source in {first}, target in {second}, largest difference"
        f" {largest:.1e} of {len(shared)} endpoints ({worst})"
    )
    if not largest <= TOLERANCE:
        raise CheckpointError(
            f"{report.path}: the two sides differ {what}; expected at most {TOLERANCE:g}. The file"
            " stays, for you to look at."
        )
    return f"verified {what}"


def _choice(container: str, default: str) -> str:
    preferred = "tf" if container in _TENSORFLOW else "torch" if "torch" in container else default
    return preferred if preferred in _backends() else next(iter(_backends()))


def _backends() -> dict[str, Callable[[arch.Network, Arrays, np.ndarray], dict[str, np.ndarray]]]:
    found: dict[str, Callable[[arch.Network, Arrays, np.ndarray], dict[str, np.ndarray]]] = {}
    if importlib.util.find_spec("sonnet"):
        found["tf"] = _in_tensorflow
    if importlib.util.find_spec("torch"):
        found["torch"] = _in_torch
    return found


def _clips(net: arch.Network) -> np.ndarray:
    """[1, T, H, W, C] in [-1, 1], the same each time."""
    size = [max(n, least) for n, least in zip(CLIP, arch.smallest_size(net), strict=True)]
    if any(isinstance(node, arch.NonLocal) and node.group for node in net.nodes):
        size[0] = 32  # divides into groups after the eighth that either timing leaves
    shape = (1, *size, net.in_channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference over the largest value; inf where a value is not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("inf")
    largest = np.abs(one).max()
    return float(np.abs(one - other).max() / largest) if largest else float(np.abs(other).max())


def _in_tensorflow(net: arch.Network, arrays: Arrays, clips: np.ndarray) -> dict[str, np.ndarray]:
    import i3d_tf  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    model = i3d_tf.VideoModel(net)
    i3d_tf.assign(model, arrays)
    _, endpoints = model(tf.constant(clips))
    return {name: x.numpy() for name, x in endpoints.items()}


def _in_torch(net: arch.Network, arrays: Arrays, clips: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    import i3d_torch

    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    with torch.inference_mode():
        _, endpoints = model(torch.from_numpy(np.moveaxis(clips, -1, 1).copy()))
    return {name: x.movedim(1, -1).numpy() for name, x in endpoints.items()}


def _in_onnxruntime(path: Path, clips: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits, features = session.run(
        ["logits", "features"], {"clips": np.moveaxis(clips, -1, 1).copy()}
    )
    return {"Features": np.moveaxis(features, 1, -1), "Logits": logits}


def _in_saved_model(path: Path, clips: np.ndarray) -> dict[str, np.ndarray]:
    import i3d_tf  # noqa: F401  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    found = serve(clips=tf.constant(clips))
    return {name.capitalize(): x.numpy() for name, x in found.items()}


# Of whole models: the package that runs them, and how.
_RUNTIMES = {
    "onnx": ("onnxruntime", _in_onnxruntime),
    "saved_model": ("tensorflow", _in_saved_model),
}
