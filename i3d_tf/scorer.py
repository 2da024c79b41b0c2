"""A network in inference: clips as they are read, to logits; the twin of `i3d_torch/scorer.py`."""

import numpy as np
import tensorflow as tf

from common import arch, memory
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from i3d_tf import losses, preprocessing, weights
from i3d_tf.model import VideoModel
from i3d_tf.optimize import PRECISIONS, optimize


class Scorer:
    """Scores clips [B, T, H, W, C]: uint8, RGB as float32 in 0 to 255, or float32 flow in [-1, 1].

    Attributes:
        model: Where its variables are.
        contract: What the network expects of clips.
        precision: One of `PRECISIONS`, for a model that has none of its own; logits are float32.
    """

    def __init__(self, model: VideoModel, contract: InputContract, precision: str = "float32"):
        self.model = model
        self.contract = contract
        self.precision = precision

    def scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits [B, num_classes], float32."""
        return tf.reduce_mean(self._logits(clips), axis=1).numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        """Logits of all frames, [B, T, num_classes], float32."""
        return losses.frame_logits(self._logits(clips), clips.shape[1]).numpy()

    def time_steps(
        self, clips: tf.Tensor, dropout: tf.Tensor | None = None, is_training: bool = False
    ) -> tf.Tensor:
        """Logits of time steps, [B, T', num_classes].

        Args:
            clips: As above.
            dropout: What to multiply the features with; see `layers.Head`.
            is_training: See `VideoModel`.
        """
        x = clips
        if self.contract.channels == "rgb" or clips.dtype == tf.uint8:
            x = preprocessing.to_contract(x, self.contract)
        head = self.model.net.head
        x = tf.cast(x, PRECISIONS[self.precision])
        features, _ = self.model(x, is_training, final_endpoint=head.features)
        return self.model.layers[head.name].time_steps(features, is_training, dropout)

    def _logits(self, clips: np.ndarray) -> tf.Tensor:
        with memory.explained(tf.errors.ResourceExhaustedError, clips, memory.INFERENCE):
            return self._infer(tf.constant(clips))

    # Videos differ in length, and a graph for each length would take longer than to compute it.
    @tf.function(autograph=False, reduce_retracing=True)
    def _infer(self, clips: tf.Tensor) -> tf.Tensor:
        return self.time_steps(clips)


def create(
    net: arch.Network, arrays: Arrays, contract: InputContract, precision: str = "float32"
) -> Scorer:
    """Makes a scorer of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        precision: One of `PRECISIONS`.

    Raises:
        CheckpointError: The arrays are not the network's.
    """
    model = VideoModel(net)
    weights.assign(model, arrays)
    return Scorer(optimize(model, precision, [net.head.features]), contract)
