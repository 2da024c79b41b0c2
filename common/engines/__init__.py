"""Other engines than a framework that run a network in inference: ONNX Runtime and OpenVINO.

They get the network with its batch norm folded, as the ONNX model that `convert` would write of it,
and run it on CPUs. Neither needs a framework. "native" is the framework itself.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch, processors
from common.io import listing

NATIVE = "native"
ENGINES = (NATIVE, "onnxruntime", "openvino")

PRECISIONS = {"onnxruntime": ("float32",), "openvino": ("float32", "bfloat16")}
"""What each engine computes in."""

Floats = NDArray[np.float32]

_Infer = Callable[[Floats], Floats]  # contiguous clips [B, C, T, H, W] to the output


@dataclasses.dataclass(frozen=True)
class Session:
    """A network that is loaded into an engine; one call at a time.

    Attributes:
        net: Its description.
        infer: The engine: clips [B, C, T, H, W] to the output, channels first.
    """

    net: arch.Network
    infer: _Infer

    def __call__(self, clips: Floats) -> Floats:
        """Runs a batch of clips.

        Args:
            clips: [B, T, H, W, C] in the values that the network expects. Nothing is copied where
                they are a view of contiguous [B, C, T, H, W].

        Returns:
            The output: [B, T, H, W, C] of an endpoint, [B, K] of logits and predictions,
            [B, T, K] of time steps.

        Raises:
            ValueError: The clips do not fit the network.
        """
        arch.check_clips(self.net, clips.shape, "BTHWC")
        found = self.infer(np.ascontiguousarray(np.moveaxis(clips, -1, 1), np.float32))
        return np.moveaxis(found, 1, -1) if found.ndim == 5 else found


def check(engine: str, precision: str = "float32", device: str = "auto") -> None:
    """Refuses, before anything is loaded, what `create` would.

    Args:
        engine: One of `PRECISIONS`.
        precision: What it should compute in.
        device: Where: "auto", "cpu" or "gpu".

    Raises:
        ValueError: There is no such engine, it has no such precision, or no GPU.
        ImportError: It is not installed.
    """
    if engine not in PRECISIONS:
        raise ValueError(f"no such engine. Expected {listing(PRECISIONS)}. Received: {engine!r}.")
    if precision not in PRECISIONS[engine]:
        raise ValueError(
            f"{engine} computes in {' or '.join(PRECISIONS[engine])}. Received: {precision}. Leave "
            "the precision or the engine out."
        )
    if device == "gpu":
        raise ValueError(f"{engine} computes on CPUs here. Leave out --device=gpu or the engine.")
    if importlib.util.find_spec(engine) is None:
        raise ImportError(
            f"--engine={engine} needs {engine}. Install it: pip install 'i3d[{engine}]'"
        )


def create(
    engine: str,
    net: arch.Network,
    arrays: Mapping[str, NDArray[Any]],
    output: str,
    precision: str = "float32",
    threads: int | None = None,
) -> Session:
    """Loads a network into an engine.

    Args:
        engine: One of `PRECISIONS`.
        net: The network.
        arrays: Its weights by canonical name.
        output: An endpoint, or `convert.exports.onnx.TIME_STEPS`, the logits of time steps.
        precision: What the engine computes in; its output is float32.
        threads: How many it uses; None is what OMP_NUM_THREADS says, else one a processor.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: As `check`; there is no such endpoint; or the processor lacks bfloat16.
        ImportError: The engine is not installed.
    """
    check(engine, precision)
    from convert.exports import onnx  # which knows formats of weights, and those `common`

    if threads is None:
        told = "OMP_NUM_THREADS" in os.environ
        threads = processors.share() if told else processors.count()
    model = onnx.model(*arch.folded(net, arrays), output)
    load = {"onnxruntime": _onnxruntime, "openvino": _openvino}[engine]
    return Session(net, load(model, precision, threads))


def _onnxruntime(model: bytes, precision: str, threads: int) -> _Infer:
    """Precision is float32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # not that weights behind the output are unused
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (clips,) = session.get_inputs()

    def infer(values: Floats) -> Floats:
        (found,) = session.run(None, {clips.name: values})
        return np.asarray(found, np.float32)

    return infer


def _openvino(model: bytes, precision: str, threads: int) -> _Infer:
    import openvino

    core = openvino.Core()
    able: list[str] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in able:
        raise ValueError("this processor has no bfloat16. Leave the precision out.")
    settings = {
        # Said in any case: by itself it takes bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def infer(values: Floats) -> Floats:
        (found,) = request.infer([values], share_inputs=True).values()
        return np.asarray(found, np.float32)

    return infer
