"""The forms in which a network is run: each makes a call from the same clips to logits.

The first, PyTorch's plain one, is the usual port: eager, in the layout that torch calls contiguous,
with explicit padding and batch norm as an op of its own.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from comparing import Candidate, Case, torch_device
from measuring import Run
from numpy.typing import NDArray

from common import arch
from common.training.recipes import PRECISIONS


class Form(NamedTuple):
    """A row of `FORMS`.

    Attributes:
        make: Makes the call.
        kept: See `measuring.Work`; people's usual forms have the usual allocation.
        on_cpus: The precisions that are measured on a CPU.
    """

    make: Callable[[Case, Candidate], Run]
    kept: bool
    on_cpus: tuple[str, ...] = ("float32",)


def candidates(
    device: str, backends: Sequence[str], forms: Sequence[str], precisions: Sequence[str]
) -> Iterator[Candidate]:
    """Those that are asked for; the usual port is the first in any case."""
    yield USUAL
    for (backend, name), form in FORMS.items():
        for precision in precisions:
            known = device == "gpu" or precision in form.on_cpus
            candidate = Candidate(backend, name, precision, form.kept)
            if backend in backends and name in forms and known and candidate != USUAL:
                yield candidate


def make(case: Case, candidate: Candidate) -> Run:
    """The call of a candidate: logits [B, num_classes], float32, on the CPU."""
    return FORMS[candidate.backend, candidate.form].make(case, candidate)


@functools.lru_cache(maxsize=1)
def _inputs(case: Case) -> tuple[arch.Network, arch.Arrays, NDArray[np.float32]]:
    """Network, weights, and clips [B, T, H, W, C] in [-1, 1]."""
    net = arch.make(case.architecture)
    shape = (case.batch, case.frames, case.size, case.size, net.in_channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return net, arch.initial_arrays(net), clips


def _torch(case: Case, candidate: Candidate) -> Run:
    import torch

    import i3d_torch

    _, form, precision, _ = candidate
    net, arrays, clips = _inputs(case)
    place, dtype = torch_device(case.device), getattr(torch, precision)
    x = torch.tensor(clips, device=place).movedim(-1, 1).contiguous()
    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    model.to(place)
    if form == "channels last":
        model.to(memory_format=torch.channels_last_3d)
        x = x.contiguous(memory_format=torch.channels_last_3d)
    if form == "optimised":
        model = i3d_torch.optimize(model, precision)
    call = _logits(model)
    casts = form != "optimised" and precision != "float32"

    def run() -> NDArray[np.float32]:
        with torch.no_grad(), torch.autocast(place.type, dtype, enabled=casts):
            return call(x).float().cpu().numpy()

    return run


def _tensorflow(case: Case, candidate: Candidate) -> Run:
    import i3d_tf  # before TensorFlow, see there

    # isort: split
    import tensorflow as tf

    _, form, precision, _ = candidate
    net, arrays, clips = _inputs(case)
    with tf.device(f"/{case.device.upper()}:0"):
        x = tf.constant(clips)
        model = i3d_tf.VideoModel(net)
        i3d_tf.assign(model, arrays)
        if form == "optimised":
            model = i3d_tf.optimize(model, precision)
        else:
            x = tf.cast(x, precision)
    call = _logits(model)
    if form != "eager":
        call = tf.function(call, autograph=False)
    return lambda: tf.cast(call(x), tf.float32).numpy()


def _logits(model: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda clips: model(clips)[0]


_REDUCED = ("float32", "bfloat16")

FORMS: dict[tuple[str, str], Form] = {
    ("torch", "plain"): Form(_torch, False),
    ("torch", "channels last"): Form(_torch, False),
    ("torch", "optimised"): Form(_torch, True, _REDUCED),
    ("tensorflow", "eager"): Form(_tensorflow, False),
    ("tensorflow", "function"): Form(_tensorflow, False),
    ("tensorflow", "optimised"): Form(_tensorflow, True, _REDUCED),
}
"""By backend and name, in the order they are measured."""

BACKENDS = tuple(dict.fromkeys(backend for backend, _ in FORMS))
USUAL = Candidate("torch", "plain", PRECISIONS[0], FORMS["torch", "plain"].kept)
