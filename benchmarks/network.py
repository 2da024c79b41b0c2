"""Measures inference of networks in every form.

    python benchmarks/network.py [--rounds=5] [--results=FILE.md]
    python benchmarks/network.py --device=gpu --results=FILE.md
    python benchmarks/network.py --architectures=r2plus1d_18 --batches=1,4 --frames=16 --size=112

The first form, PyTorch's plain one, is the usual port: eager, contiguous layout, explicit padding,
and batch norm as an op of its own. All forms take turns in one process. The peak is that of a
matrix product in the same framework and precision, measured in the same turns. Peak memory is
measured in one process for each form. Logits are compared with the usual port's.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import comparing
import numpy as np
from comparing import Candidate, Case, torch_device
from measuring import Run
from numpy.typing import NDArray

from common import arch, command
from common.arch import ARCHITECTURES
from common.models import PRECISIONS
from common.preprocessing import contracts
from common.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(comparing.Settings):
    """Measures inference of networks in every form."""

    architectures: tuple[str, ...] = setting(
        "Networks: all forms of the first, the usual and fastest ones of the others.",
        ("inception_i3d", "i3d_resnet50_8x8", "r2plus1d_34"),
        choices=ARCHITECTURES,
    )
    precisions: tuple[str, ...] = setting("Precisions; float16 needs a GPU.", PRECISIONS)
    batches: tuple[int, ...] = setting("Clips at a time. Default: 1, and 1,8,32 on a GPU.", ())
    frames: tuple[int, ...] = setting("Frames of a clip. Default: as the weights expect.", ())
    size: int | None = setting("Pixels. Default: as the weights expect.", None)


# Backend, form, whether memory is kept, precisions on a CPU; in the order of measurement. Networks
# after the first are measured in the forms of `FOR_ALL`.
FORMS = (
    ("torch", "plain", False, ("float32",)),
    ("torch", "channels last", False, ("float32",)),
    ("torch", "optimised", True, ("float32", "bfloat16")),
    ("tensorflow", "eager", False, ("float32",)),
    ("tensorflow", "function", False, ("float32",)),
    ("tensorflow", "optimised", True, ("float32", "bfloat16")),
)
FOR_ALL = ("plain", "function", "optimised")


def make(case: Case, candidate: Candidate) -> Run:
    """Returns a call that computes logits [B, classes], float32, on the CPU."""
    return (_torch if candidate.backend == "torch" else _tensorflow)(case, candidate)


@functools.lru_cache(maxsize=1)
def _inputs(case: Case) -> tuple[arch.Network, arch.Arrays, NDArray[np.float32]]:
    """Returns a network, its weights, and clips [B, T, H, W, C] in [-1, 1]."""
    net = arch.make(case.architecture)
    shape = (case.batch, case.frames, case.size, case.size, net.in_channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return net, arch.initial_arrays(net), clips


def _torch(case: Case, candidate: Candidate) -> Run:
    import torch

    import i3d_torch

    net, arrays, clips = _inputs(case)
    place, dtype = torch_device(case.device), getattr(torch, candidate.precision)
    x = torch.tensor(clips, device=place).movedim(-1, 1).contiguous()
    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    model.to(place)
    if candidate.form == "channels last":
        model.to(memory_format=torch.channels_last_3d)
        x = x.contiguous(memory_format=torch.channels_last_3d)
    fast = candidate.form == "optimised"
    call = i3d_torch.optimize(model, candidate.precision) if fast else model
    casts = not fast and candidate.precision != "float32"

    def run() -> NDArray[np.float32]:
        with torch.no_grad(), torch.autocast(place.type, dtype, enabled=casts):
            return call(x)[0].float().cpu().numpy()

    return run


def _tensorflow(case: Case, candidate: Candidate) -> Run:
    import i3d_tf  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    net, arrays, clips = _inputs(case)
    with tf.device(f"/{case.device.upper()}:0"):
        x = tf.constant(clips)
        model: Any = i3d_tf.VideoModel(net)
        i3d_tf.assign(model, arrays)
        if candidate.form == "optimised":
            model = i3d_tf.optimize(model, candidate.precision)
        else:
            x = tf.cast(x, candidate.precision)

    def logits(clips: tf.Tensor) -> tf.Tensor:
        return model(clips)[0]

    call = logits if candidate.form == "eager" else tf.function(logits, autograph=False)
    return lambda: tf.cast(call(x), tf.float32).numpy()


def cases(settings: Settings) -> Iterator[tuple[Case, list[Candidate]]]:
    """Yields the cases with their candidates, the usual port first."""
    batches = settings.batches or ((1,) if settings.device == "cpu" else (1, 8, 32))
    for name, batch in itertools.product(settings.architectures, batches):
        candidates = [
            Candidate(backend, form, precision, kept)
            for backend, form, kept, on_cpus in FORMS
            for precision in settings.precisions
            if (form in FOR_ALL or name == settings.architectures[0])
            and (settings.device == "gpu" or precision in on_cpus)
        ]
        usual = contracts.usual(name)
        size = settings.size or usual.crop
        for frames in settings.frames or (usual.frames,):
            yield Case(name, batch, frames, size, settings.device), candidates


def main(settings: Settings) -> None:
    comparing.report(settings, cases(settings), make)


if __name__ == "__main__":
    command.start(main, Settings)
