"""A network in inference by an engine; the twin of `i3d_torch/scorer.py` without a framework."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch, engines
from common.engines import Floats, Session
from common.preprocessing import frames
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames
from common.training.optimisation import interpolation


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Scores clips [B, T, H, W, C]: uint8, RGB as float32 in 0 to 255, or float32 flow in [-1, 1].

    Attributes:
        session: Gives the logits of time steps.
        contract: What the network expects of clips.
    """

    session: Session
    contract: InputContract

    def scores(self, clips: Frames) -> Floats:
        """Logits [B, num_classes], float32."""
        logits: Floats = self._steps(clips).mean(axis=1)
        return logits

    def frame_scores(self, clips: Frames) -> Floats:
        """Logits of all frames, [B, T, num_classes], float32."""
        steps = self._steps(clips)
        return interpolation(steps.shape[1], clips.shape[1]) @ steps

    def _steps(self, clips: Frames) -> Floats:
        return self.session(values(clips, self.contract))


def create(
    net: arch.Network,
    arrays: Mapping[str, NDArray[Any]],
    contract: InputContract,
    precision: str = "float32",
    *,
    engine: str,
) -> Scorer:
    """Makes a scorer of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        precision: One of `engines.PRECISIONS[engine]`.
        engine: Which one.

    Raises:
        CheckpointError, ValueError, ImportError: As `engines.create`.
    """
    from convert.exports import onnx  # as in `engines`

    return Scorer(engines.create(engine, net, arrays, onnx.TIME_STEPS, precision), contract)


def values(clips: Frames, contract: InputContract) -> Floats:
    """Clips [B, T, H, W, C] as a network is fed them: a view of contiguous [B, C, T, H, W]."""
    # Moved while a value is a byte, if it is one; what follows keeps the order in memory.
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(clips, -1, 1)), 1, -1)
    if contract.channels == "rgb" or clips.dtype == np.uint8:
        return frames.to_contract(moved, contract)
    return moved.astype(np.float32, copy=False)
