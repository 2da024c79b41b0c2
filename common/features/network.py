"""The network of a stream, and the batches it computes rows in."""

import dataclasses
import functools
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import arch, models
from common.features.settings import Extraction, Settings
from common.models import MakePredictor, Model
from common.preprocessing.crops import Frames

Floats = NDArray[np.float32]

# Multiply-adds of a batch beyond which a larger one is no faster: 64 frames of 224 pixels of
# InceptionI3D on a CPU (1.1e11), and sixteen of them on a GPU.
_BUSY = 10**11
_BUSY_GPU = 16 * _BUSY
_PERIOD = 64
_MOST = 32  # windows of a batch

# One batch at a time, since a framework uses all processors for it. A process waits at its end for
# this thread: to end while a thread is inside a framework would abort it.
_computing = ThreadPoolExecutor(1, "network")

_loading = threading.Lock()


class Source(NamedTuple):
    """Where the network of a stream comes from and how it is used; other processes get this.

    Attributes:
        make: The framework's function that makes a predictor.
        settings: Those of the task: nothing is left open in their `extraction`.
        stream: "rgb" or "flow".
        checkpoint: A path.
        endpoint: The endpoint that is taken.
        batch_size: Windows that the network sees at once.
    """

    make: MakePredictor
    settings: Settings
    stream: str
    checkpoint: str
    endpoint: str
    batch_size: int


class Network:
    """A network, ready to compute; the threads of a process share it."""

    def __init__(self, model: Model, source: Source):
        self.net = model.net
        self.source = source
        self.short_side = model.contract.short_side
        self.crop_size = source.settings.extraction.crop_size or model.contract.crop
        self.width = width(model.net, source.endpoint, self.crop_size)
        self._predictor = source.make(
            model,
            endpoints=[source.endpoint],
            device=source.settings.device,
            precision=source.settings.precision,
        )

    def rows(self, clips: Frames) -> Floats:
        """The rows [B, T', D] of clips [B, T, H, W, C]; T' is 1 but for "dense"."""
        rows = self._predictor.features(clips, self.source.endpoint)
        if self.source.settings.extraction.mode == "dense":
            return rows
        # Few numbers, summed in order: the same in every backend.
        return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64), np.float32)


class Batches:
    """Computes the rows of one video, a batch at a time, while the next is being filled.

    Every batch has `batch_size` clips of one shape, if need be with zeros, and all are of one
    video: so its rows do not depend on the videos that are extracted at the same time.
    """

    def __init__(self, network: Network):
        self.network = network
        self._clips: list[Frames] = []
        self._batches: list[tuple[Future[Floats], int]] = []
        self._count = 0

    def add(self, clip: Frames) -> int:
        """Takes a clip [T, H, W, C]; returns its number, by which `rows` has its rows."""
        if self._clips and self._clips[0].shape != clip.shape:
            self._start()
        self._clips.append(clip)
        if len(self._clips) == self.network.source.batch_size:
            self._start()
        self._count += 1
        return self._count - 1

    def rows(self) -> list[Floats]:
        """The rows [T', D] of every clip; waits for them."""
        self._start()
        return [row for batch, count in self._batches for row in batch.result()[:count]]

    def _start(self) -> None:
        """Hands over what was collected, once the batch before is done."""
        if not self._clips:
            return
        if self._batches:
            self._batches[-1][0].result()
        first = self._clips[0]
        batch = np.zeros((self.network.source.batch_size, *first.shape), first.dtype)
        batch[: len(self._clips)] = self._clips
        self._batches.append((_computing.submit(self.network.rows, batch), len(self._clips)))
        self._clips = []


_models: dict[Source, Model] = {}  # that are read, and whose network is not made yet


def offer(found: Mapping[Source, Model]) -> None:
    """Lets `load` use models that this process has read; drops the networks of a task before."""
    _load.cache_clear()
    _models.clear()
    _models.update(found)


def give_up() -> None:
    """Drops the batches that wait, of videos that failed or a run that was interrupted."""
    global _computing
    _computing.shutdown(wait=False, cancel_futures=True)
    _computing = ThreadPoolExecutor(1, "network")


def load(source: Source) -> Network:
    """The network of a source; whoever asks first makes it.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: See `models.load`.
    """
    with _loading:
        return _load(source)


@functools.lru_cache(maxsize=2)  # two streams
def _load(source: Source) -> Network:
    model = _models.pop(source, None)
    if model is None:  # in another process
        model = models.load(source.checkpoint, source.stream, source.settings.architecture)
        model = with_range(model, source.settings.extraction.rgb_range)
    return Network(model, source)


def with_range(model: Model, rgb_range: tuple[float, ...]) -> Model:
    """The model with RGB 0 to 255 mapped onto another range, if one is given."""
    if not rgb_range or model.stream == "flow":
        return model
    low, high = rgb_range
    contract = dataclasses.replace(model.contract, value_range=(low, high), mean=(), std=())
    return dataclasses.replace(model, contract=contract)


def batch_size(net: arch.Network, extraction: Extraction, gpu: bool) -> int:
    """How many windows the network sees at once: as many as keep the processors busy.

    A batch that is not full costs as much as one that is, so no more than that. It is the same for
    all videos of a run, since the last digits of rows may change with it.

    Args:
        net: The network.
        extraction: Complete settings.
        gpu: Whether the network is on a GPU.

    Raises:
        ValueError: The network takes no such windows.
    """
    if extraction.mode == "dense":
        return 1  # chunks are large, and of several lengths
    side = extraction.crop_size or 1
    size = (extraction.window or 1, side, side)
    arch.check_clips(net, (1, *size, net.in_channels), "BTHWC")
    busy = _BUSY_GPU if gpu else _BUSY
    return max(1, min(_MOST, -(-busy // arch.multiply_adds(net, size))))


def width(net: arch.Network, endpoint: str, side: int) -> int:
    """The length of a row."""
    frames, _, _ = arch.smallest_size(net)
    frames = -(-frames // _PERIOD) * _PERIOD  # which any grouping of time steps divides
    return arch.endpoint_shapes(net, (frames, side, side))[endpoint][-1]
