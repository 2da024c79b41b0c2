"""A network in inference: from decoded clips to scores and features; twin of `i3d_torch`'s."""

import contextlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf

from common import arch, models
from common.models import Model, check_predictor_inputs
from common.preprocessing.contracts import InputContract
from common.preprocessing.frames import standardisation
from common.training.optim import interpolation
from i3d_tf import devices
from i3d_tf import model as video_model
from i3d_tf.model import VideoModel, finite

PRECISIONS = {name: getattr(tf, name) for name in models.PRECISIONS}


class Predictor:
    """A `common.models.Predictor`; `precision` is that of a model that is not optimised."""

    def __init__(
        self,
        model: VideoModel,
        contract: InputContract,
        precision: str = "float32",
        device: str | None = None,  # None leaves the choice to TensorFlow
    ):
        self.model = model
        self.contract = contract
        self.precision = precision
        self.device = device
        self.on_gpu = device is not None and "GPU" in device

    def scores(self, clips: np.ndarray, prepared: bool = False) -> np.ndarray:
        return tf.reduce_mean(self._logits(clips, prepared), axis=1).numpy()

    def frame_scores(self, clips: np.ndarray) -> np.ndarray:
        return frame_logits(self._logits(clips), clips.shape[1]).numpy()

    def features(self, clips: np.ndarray, endpoint: str) -> np.ndarray:
        check_predictor_inputs(clips, endpoint, self.model.returned)
        with self._running(clips, models.FEATURES):
            return self._features(tf.constant(clips), endpoint).numpy()

    def time_steps(
        self,
        clips: tf.Tensor,
        dropout: tf.Tensor | None = None,
        is_training: bool = False,
        prepared: bool = False,
    ) -> tf.Tensor:
        """Logits [B, T', num_classes] before they are averaged; for `dropout` see `layers.Head`."""
        head = self.model.net.head
        x = tf.cast(self._inputs(clips, prepared), PRECISIONS[self.precision])
        features, _ = self.model(x, is_training, final_endpoint=head.features)
        return self.model.layers[head.name].time_steps(features, is_training, dropout)

    def _inputs(self, clips: tf.Tensor, prepared: bool) -> tf.Tensor:
        """Clips in the network's value range."""
        if prepared or (self.contract.channels == "flow" and clips.dtype != tf.uint8):
            return clips
        shift, scale = standardisation(self.contract, clips.shape[-1], clips.dtype.name)
        return (tf.cast(clips, tf.float32) - shift) / scale

    def _logits(self, clips: np.ndarray, prepared: bool = False) -> tf.Tensor:
        check_predictor_inputs(clips)
        with self._running(clips, models.INFERENCE):
            return self._infer(tf.constant(clips), prepared)

    @contextlib.contextmanager
    def _running(self, clips: np.ndarray, advice: str) -> Iterator[None]:
        place = tf.device(self.device) if self.device else contextlib.nullcontext()
        with models.explained(tf.errors.ResourceExhaustedError, clips, advice), place:
            yield

    # Videos differ in length, and a graph for each length would take longer than to compute it.
    @tf.function(autograph=False, reduce_retracing=True)
    def _infer(self, clips: tf.Tensor, prepared: bool) -> tf.Tensor:
        return self.time_steps(clips, prepared=prepared)

    @tf.function(autograph=False, reduce_retracing=True)
    def _features(self, clips: tf.Tensor, endpoint: str) -> tf.Tensor:
        _, endpoints = self.model(self._inputs(clips, prepared=False), final_endpoint=endpoint)
        found = tf.cast(endpoints[endpoint], tf.float32)
        if found.shape.rank == 2:  # logits and predictions
            return found[:, None]
        return tf.reduce_mean(found, axis=(2, 3))


def frame_logits(steps: tf.Tensor, count: int) -> tf.Tensor:
    """Interpolates logits of time steps [B, T, num_classes] linearly to `count` frames."""
    return tf.matmul(interpolation(steps.shape[1], count), steps)


def make_predictor(
    model: Model,
    *,
    endpoints: Sequence[str] = (),
    device: str = "auto",
    precision: str = "float32",
) -> Predictor:
    """See `common.models.MakePredictor`; `ValueError` for an unknown endpoint, or without a GPU."""
    for endpoint in endpoints:
        arch.check_endpoint(model.net, endpoint)
    place, kept = devices.choose(device), (model.net.head.features, *endpoints)
    with tf.device(place):
        fast = inference_model(model.net, model.arrays, precision, kept)
    return Predictor(fast, model.contract, device=place)


def optimize(
    model: VideoModel, precision: str = "float32", endpoints: Collection[str] | None = None
) -> VideoModel:
    """A copy of a model for inference: a graph, with batch norm folded into the convolutions.

    In float32 its results differ by rounding alone; endpoints before the head are in `precision`.

    Args:
        model: Any model, which is not changed.
        precision: One of `PRECISIONS`; the head computes in float32.
        endpoints: Those that a call returns; None are the model's. Fewer take less memory.

    Raises:
        ValueError: A weight is not finite, a batch norm cannot be folded, or an unknown precision.
    """
    kept = model.returned if endpoints is None else tuple(endpoints)
    return inference_model(model.net, video_model.arrays(model), precision, kept)


def inference_model(
    net: arch.Network, arrays: arch.Arrays, precision: str, endpoints: tuple[str, ...]
) -> VideoModel:
    """Makes a model of `arrays` for inference alone; see `optimize`."""
    models.check_precision(precision, gpu=bool(tf.config.list_logical_devices("GPU")))
    net, arrays = arch.folded(net, arrays)
    fast = _Inference(net, PRECISIONS[precision])
    video_model.assign(fast, arrays)
    fast.returned = endpoints
    return fast


class _Inference(VideoModel):
    """A model for inference in one graph, which computes in another precision than its clips'."""

    def __init__(self, net: arch.Network, dtype: tf.DType):
        super().__init__(net)
        self.dtype = dtype

    def __call__(
        self,
        clips: tf.Tensor,
        is_training: bool = False,
        final_endpoint: str | None = None,
        dropout: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        clips = tf.convert_to_tensor(clips)
        arch.check_dtype(self.net, clips.dtype.name)
        return self._run(finite(self.net, clips), is_training, final_endpoint, dropout)

    @tf.function(autograph=False)
    def _run(
        self, clips: tf.Tensor, is_training: bool, final_endpoint: str | None, dropout: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        x = tf.cast(clips, self.dtype)
        return super().__call__(x, is_training, final_endpoint, dropout)
