"""A network in inference: clips as they are read, to logits; the twin of `i3d_tf/scorer.py`."""

import numpy as np
import torch
from torch import Tensor

from common import arch, memory
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from i3d_torch import devices, losses, preprocessing, weights
from i3d_torch.model import VideoModel, blank
from i3d_torch.optimize import PRECISIONS, optimize


class Scorer:
    """Scores clips [B, T, H, W, C]: uint8, RGB as float32 in 0 to 255, or float32 flow in [-1, 1].

    Attributes:
        model: On any device.
        contract: What the network expects of clips.
        precision: One of `PRECISIONS`, for a model that has none of its own; logits are float32.
    """

    def __init__(self, model: VideoModel, contract: InputContract, precision: str = "float32"):
        self.model = model
        self.contract = contract
        self.precision = precision

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits [B, num_classes], float32."""
        return self._logits(clips).mean(dim=1).cpu().numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits of all frames, [B, T, num_classes], float32."""
        return losses.frame_logits(self._logits(clips), clips.shape[1]).cpu().numpy()

    def time_steps(self, clips: np.ndarray, dropout: Tensor | None = None) -> Tensor:
        """Logits of time steps, [B, T', num_classes], in the mode that the model is in.

        Args:
            clips: As above.
            dropout: What to multiply the features with; see `layers.Head`.
        """
        device = next(self.model.parameters()).device
        x = torch.tensor(clips, device=device).movedim(-1, 1).contiguous()
        if self.contract.channels == "rgb" or clips.dtype == np.uint8:
            x = preprocessing.to_contract(x, self.contract)
        head = self.model.net.head
        dtype = PRECISIONS[self.precision]
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            features, _ = self.model(x, final_endpoint=head.features)
        return self.model.get_submodule(head.name).time_steps(features, dropout)

    def _logits(self, clips: np.ndarray) -> Tensor:
        with memory.explained(torch.OutOfMemoryError, clips, memory.INFERENCE):
            return self._infer(clips)

    @torch.no_grad()
    def _infer(self, clips: np.ndarray) -> Tensor:
        training = self.model.training
        self.model.eval()
        logits = self.time_steps(clips)
        self.model.train(training)
        return logits


def create(
    net: arch.Network,
    arrays: Arrays,
    contract: InputContract,
    precision: str = "float32",
    compiled: bool = False,
) -> Scorer:
    """Makes a scorer of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        precision: One of `PRECISIONS`.
        compiled: See `optimize`.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: As `devices.choose`.
    """
    model = blank(lambda: VideoModel(net), devices.choose()).eval()
    weights.assign(model, arrays)
    return Scorer(optimize(model, precision, [net.head.features], compiled), contract)
