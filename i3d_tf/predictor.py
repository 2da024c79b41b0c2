"""A network in inference: from decoded clips to scores and features; twin of `i3d_torch`'s."""

import contextlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from common import arch, hardware
from common.models import Model, check_predictor_inputs
from common.preprocessing.contracts import InputContract
from i3d_tf import devices, losses, preprocessing, weights
from i3d_tf.model import VideoModel
from i3d_tf.optimize import PRECISIONS, optimize


class Predictor:
    """A `common.models.Predictor`: clips [B, T, H, W, C] to float32 arrays.

    Attributes:
        model: The network.
        contract: The input that the network expects; clips are converted to it.
        precision: The precision of a model that is not optimised, one of `PRECISIONS`.
        device: TensorFlow's name of the device; None leaves the choice to TensorFlow.
    """

    def __init__(
        self,
        model: VideoModel,
        contract: InputContract,
        precision: str = "float32",
        device: str | None = None,
    ):
        self.model = model
        self.contract = contract
        self.precision = precision
        self.device = device

    def scores(self, clips: np.ndarray, prepared: bool = False) -> np.ndarray:
        """Logits [B, num_classes], averaged over time.

        `prepared` clips are float32 in the contract's value range already.
        """
        return tf.reduce_mean(self._logits(clips, prepared), axis=1).numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits [B, T, num_classes], one row a frame."""
        return losses.frame_logits(self._logits(clips), clips.shape[1]).numpy()

    def features(self, clips: np.ndarray, endpoint: str) -> np.ndarray:
        """An endpoint [B, T', D], averaged over height and width; T' is 1 where it has no time."""
        check_predictor_inputs(clips, endpoint, self.model.returned)
        with self._running(clips, hardware.FEATURES):
            return self._features(tf.constant(clips), endpoint).numpy()

    def time_steps(
        self,
        clips: tf.Tensor,
        dropout: tf.Tensor | None = None,
        is_training: bool = False,
        prepared: bool = False,
    ) -> tf.Tensor:
        """Logits [B, T', num_classes] before they are averaged.

        Args:
            clips: As above.
            dropout: What to multiply the features with; see `layers.Head`.
            is_training: See `VideoModel`.
            prepared: See `scores`.
        """
        head = self.model.net.head
        x = clips if prepared else self._inputs(clips)
        x = tf.cast(x, PRECISIONS[self.precision])
        features, _ = self.model(x, is_training, final_endpoint=head.features)
        return self.model.layers[head.name].time_steps(features, is_training, dropout)

    def _inputs(self, clips: tf.Tensor) -> tf.Tensor:
        """Clips in the network's value range."""
        if self.contract.channels == "rgb" or clips.dtype == tf.uint8:
            return preprocessing.to_contract(clips, self.contract)
        return clips

    def _logits(self, clips: np.ndarray, prepared: bool = False) -> tf.Tensor:
        check_predictor_inputs(clips)
        with self._running(clips, hardware.INFERENCE):
            return self._infer(tf.constant(clips), prepared)

    @contextlib.contextmanager
    def _running(self, clips: np.ndarray, advice: str):
        place = tf.device(self.device) if self.device else contextlib.nullcontext()
        with hardware.explained(tf.errors.ResourceExhaustedError, clips, advice), place:
            yield

    # Videos differ in length, and a graph for each length would take longer than to compute it.
    @tf.function(autograph=False, reduce_retracing=True)
    def _infer(self, clips: tf.Tensor, prepared: bool) -> tf.Tensor:
        return self.time_steps(clips, prepared=prepared)

    @tf.function(autograph=False, reduce_retracing=True)
    def _features(self, clips: tf.Tensor, endpoint: str) -> tf.Tensor:
        _, endpoints = self.model(self._inputs(clips), final_endpoint=endpoint)
        found = tf.cast(endpoints[endpoint], tf.float32)
        if found.shape.rank == 2:  # logits and predictions
            return found[:, None]
        return tf.reduce_mean(found, axis=(2, 3))


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
    place = devices.choose(device)
    with tf.device(place):
        net = VideoModel(model.net)
        weights.assign(net, model.arrays)
        kept = [model.net.head.features, *endpoints]
        fast = optimize(net, precision, kept)
    return Predictor(fast, model.contract, device=place)
