"""Features: an endpoint of a network, averaged in space; the twin of `i3d_torch/extractor.py`."""

import numpy as np
import tensorflow as tf

from common import arch, memory
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from i3d_tf import preprocessing, weights
from i3d_tf.model import VideoModel
from i3d_tf.optimize import optimize


class Extractor:
    """Rows of clips [B, T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].

    Attributes:
        model: Where its variables are.
        contract: What the network expects of clips.
        endpoint: What is taken; rows are float32.
        device: TensorFlow's name of it.
    """

    def __init__(
        self,
        model: VideoModel,
        contract: InputContract,
        endpoint: str,
        device: str = "/CPU:0",
    ):
        self.model = model
        self.contract = contract
        self.endpoint = endpoint
        self.device = device

    def rows(self, clips: np.ndarray) -> np.ndarray:
        """The endpoint [B, T', D], float32, averaged over its height and width."""
        failed = tf.errors.ResourceExhaustedError
        with memory.explained(failed, clips, memory.FEATURES), tf.device(self.device):
            return self._infer(tf.constant(clips)).numpy()

    @tf.function(autograph=False, reduce_retracing=True)
    def _infer(self, clips: tf.Tensor) -> tf.Tensor:
        x = clips
        if self.contract.channels == "rgb":
            x = preprocessing.to_contract(x, self.contract)
        _, endpoints = self.model(x, final_endpoint=self.endpoint)
        found = tf.cast(endpoints[self.endpoint], tf.float32)
        if found.shape.rank == 2:  # logits and predictions have no time
            return found[:, None]
        return tf.reduce_mean(found, axis=(2, 3))


def create(
    net: arch.Network,
    arrays: Arrays,
    contract: InputContract,
    endpoint: str,
    precision: str = "float32",
    device: str = "auto",
) -> Extractor:
    """Makes an extractor of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        endpoint: What is taken.
        precision: One of `optimize.PRECISIONS`.
        device: "cpu", "gpu", or "auto": a GPU where there is one.

    Raises:
        CheckpointError: The arrays are not the network's.
        ValueError: There is no GPU.
    """
    found = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not found:
        raise ValueError("there is no GPU that TensorFlow can use. Leave out --device=gpu.")
    place = "/GPU:0" if found and device != "cpu" else "/CPU:0"
    with tf.device(place):
        model = VideoModel(net)
        weights.assign(model, arrays)
        model = optimize(model, precision, [endpoint])
    return Extractor(model, contract, endpoint, place)
