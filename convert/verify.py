"""Runs the network with the weights of both sides of a conversion, and compares every endpoint."""

import importlib.util
from collections.abc import Callable, Mapping

import numpy as np

from common import arch
from convert import hub

Arrays = Mapping[str, np.ndarray]
Run = Callable[[arch.Network, Arrays, np.ndarray], dict[str, np.ndarray]]

# Enough for several time steps at the end, and quick on a CPU.
CLIP = (16, 112, 112)

_TENSORFLOW = ("tf1_checkpoint", "tf1_v1_checkpoint", "tf2_checkpoint", "saved_model")


def verify(report: hub.Report) -> str:
    """A line with the largest difference of an endpoint, relative to its largest value.

    Each side runs in the framework its format belongs to if that is installed, and two sides
    that could both run in either run in one each.

    Raises:
        ImportError: Neither framework is installed.
    """
    source, target = report.source, report.target
    runs = _frameworks()
    if not runs:
        raise ImportError(
            "--verify runs the network and needs PyTorch or TensorFlow: pip install '.[torch]' or"
            " '.[tf]'. The file was written, read back and found equal."
        )
    names = [_choice(source.format, "tf", runs), _choice(target.format, "torch", runs)]
    clips = _clips(source.net)
    one, other = (
        runs[name](weights.net, weights.arrays, clips)
        for name, weights in zip(names, (source, target), strict=True)
    )
    worst = max(one, key=lambda name: _difference(one[name], other[name]))
    size = "x".join(str(n) for n in clips.shape[1:4])
    return (
        f"verified on a clip of {size}: source in {names[0]}, target in {names[1]}, largest"
        f" difference {_difference(one[worst], other[worst]):.1e} of {len(one)} endpoints"
        f" ({worst})"
    )


def _choice(container: str, default: str, runs: Mapping[str, Run]) -> str:
    preferred = "tf" if container in _TENSORFLOW else "torch" if "torch" in container else default
    return preferred if preferred in runs else next(iter(runs))


def _frameworks() -> dict[str, Run]:
    found: dict[str, Run] = {}
    if importlib.util.find_spec("sonnet"):
        found["tf"] = _in_tensorflow
    if importlib.util.find_spec("torch"):
        found["torch"] = _in_torch
    return found


def _clips(net: arch.Network) -> np.ndarray:
    """[1, T, H, W, C] in [-1, 1], the same each time."""
    size = [max(n, least) for n, least in zip(CLIP, arch.smallest_size(net), strict=True)]
    shape = (1, *size, net.in_channels)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    largest = np.abs(one).max()
    return float(np.abs(one - other).max() / largest) if largest else float(np.abs(other).max())


def _in_tensorflow(net: arch.Network, arrays: Arrays, clips: np.ndarray) -> dict[str, np.ndarray]:
    import tensorflow as tf

    import i3d_tf

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
