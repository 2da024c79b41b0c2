"""Features: an endpoint of a network, averaged in space; the twin of `i3d_tf/extractor.py`."""

import numpy as np
import torch

from common import arch, memory
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from i3d_torch import devices, preprocessing, weights
from i3d_torch.model import VideoModel, blank
from i3d_torch.optimize import optimize


class Extractor:
    """Rows of clips [B, T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].

    Attributes:
        model: On any device.
        contract: What the network expects of clips.
        endpoint: What is taken; rows are float32.
    """

    def __init__(self, model: VideoModel, contract: InputContract, endpoint: str):
        self.model = model
        self.contract = contract
        self.endpoint = endpoint

    @torch.no_grad()
    def rows(self, clips: np.ndarray) -> np.ndarray:
        """The endpoint [B, T', D], float32, averaged over its height and width."""
        device = next(self.model.parameters()).device
        x = torch.tensor(clips, device=device).movedim(-1, 1).contiguous()
        if self.contract.channels == "rgb":
            x = preprocessing.to_contract(x, self.contract)
        with memory.explained(torch.OutOfMemoryError, clips, memory.FEATURES):
            _, endpoints = self.model(x, final_endpoint=self.endpoint)
        found = endpoints[self.endpoint].float()
        if found.ndim == 2:  # logits and predictions have no time
            return found[:, None].cpu().numpy()
        return found.mean(dim=(3, 4)).movedim(1, 2).contiguous().cpu().numpy()


def create(
    net: arch.Network,
    arrays: Arrays,
    contract: InputContract,
    endpoint: str,
    precision: str = "float32",
    device: str = "auto",
    compiled: bool = False,
) -> Extractor:
    """Makes an extractor of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        endpoint: What is taken.
        precision: One of `optimize.PRECISIONS`.
        device: "cpu", "gpu", or "auto": a GPU where there is one.
        compiled: See `optimize`.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: There is no GPU.
    """
    place = torch.device("cpu") if device == "cpu" else devices.choose()
    if device == "gpu" and place.type == "cpu":
        raise ValueError("there is no GPU that PyTorch can use. Leave out --device=gpu.")
    model = blank(lambda: VideoModel(net), place).eval()
    weights.assign(model, arrays)
    return Extractor(optimize(model, precision, [endpoint], compiled), contract, endpoint)
