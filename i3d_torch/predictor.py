"""A network in inference: from decoded clips to scores and features; twin of `i3d_tf`'s."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common import arch, hardware
from common.models import Model, check_predictor_inputs
from common.preprocessing.contracts import InputContract
from i3d_torch import devices, losses, preprocessing, weights
from i3d_torch.model import VideoModel, blank
from i3d_torch.optimize import PRECISIONS, optimize


class Predictor:
    """A `common.models.Predictor`: clips [B, T, H, W, C] to float32 arrays.

    Attributes:
        model: The network, on any device.
        contract: The input that the network expects; clips are converted to it.
        precision: The precision of a model that is not optimised, one of `PRECISIONS`.
    """

    def __init__(self, model: VideoModel, contract: InputContract, precision: str = "float32"):
        self.model = model
        self.contract = contract
        self.precision = precision

    def scores(self, clips: np.ndarray, prepared: bool = False) -> np.ndarray:
        """Logits [B, num_classes], averaged over time.

        `prepared` clips are float32 in the contract's value range already.
        """
        return self._infer(clips, prepared).mean(dim=1).cpu().numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits [B, T, num_classes], one row a frame."""
        return losses.frame_logits(self._infer(clips), clips.shape[1]).cpu().numpy()

    @torch.no_grad()
    def features(self, clips: np.ndarray, endpoint: str) -> np.ndarray:
        """An endpoint [B, T', D], averaged over height and width; T' is 1 where it has no time."""
        check_predictor_inputs(clips, endpoint, self.model.returned)
        with hardware.explained(torch.OutOfMemoryError, clips, hardware.FEATURES):
            _, endpoints = self.model(self._inputs(clips), final_endpoint=endpoint)
        found = endpoints[endpoint].float()
        if found.ndim == 2:  # logits and predictions
            return found[:, None].cpu().numpy()
        return found.mean(dim=(3, 4)).movedim(1, 2).contiguous().cpu().numpy()

    def time_steps(
        self, clips: np.ndarray, dropout: Tensor | None = None, prepared: bool = False
    ) -> Tensor:
        """Logits [B, T', num_classes] before they are averaged, in the model's current mode.

        Args:
            clips: As above.
            dropout: What to multiply the features with; see `layers.Head`.
            prepared: See `scores`.
        """
        head = self.model.net.head
        x = self._inputs(clips, prepared)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            features, _ = self.model(x, final_endpoint=head.features)
        return self.model.get_submodule(head.name).time_steps(features, dropout)

    def _inputs(self, clips: np.ndarray, prepared: bool = False) -> Tensor:
        """Clips [B, C, T, H, W] in the network's value range, on its device."""
        device = next(self.model.parameters()).device
        x = torch.tensor(clips, device=device).movedim(-1, 1)
        if prepared:
            return x
        x = x.contiguous()
        if self.contract.channels == "rgb" or clips.dtype == np.uint8:
            return preprocessing.to_contract(x, self.contract)
        return x

    @torch.no_grad()
    def _infer(self, clips: np.ndarray, prepared: bool = False) -> Tensor:
        check_predictor_inputs(clips)
        training = self.model.training
        self.model.eval()
        with hardware.explained(torch.OutOfMemoryError, clips, hardware.INFERENCE):
            logits = self.time_steps(clips, prepared=prepared)
        self.model.train(training)
        return logits


def make_predictor(
    model: Model,
    *,
    endpoints: Sequence[str] = (),
    device: str = "auto",
    precision: str = "float32",
) -> Predictor:
    """Makes a predictor whose network is optimised for inference.

    `endpoints` are those that `features` will be asked for; precisions are those of `optimize`.

    Raises:
        CheckpointError: The weights do not belong to the network.
        ValueError: An unknown endpoint or precision, or no GPU.
    """
    for endpoint in endpoints:
        arch.check_endpoint(model.net, endpoint)
    net = blank(lambda: VideoModel(model.net), devices.choose(device)).eval()
    weights.assign(net, model.arrays)
    kept = [model.net.head.features, *endpoints]
    return Predictor(optimize(net, precision, kept), model.contract)
