"""The network of a stream, and the batches in which it computes the rows of a video."""

import dataclasses
import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch, models
from common.features.settings import Extraction, Settings
from common.models import MakePredictor, Model, Predictor
from common.preprocessing.crops import Frames

Floats = NDArray[np.float32]

# Multiply-adds of a batch beyond which a larger one is no faster: 64 frames of 224 pixels of
# InceptionI3D on a CPU (1.1e11), and sixteen of them on a GPU.
_BUSY = 10**11
_BUSY_GPU = 16 * _BUSY
_MOST = 32  # windows of a batch

# One batch at a time, since a framework uses all processors for it. A process waits at its end for
# this thread: to end while a thread is inside a framework would abort it.
_computing = ThreadPoolExecutor(1, "network")


@dataclasses.dataclass(frozen=True)
class Network:
    """The network of a stream; a process makes its predictor once, where it is first used.

    Attributes:
        make: The framework's function that makes a predictor.
        settings: Those of the task: nothing is left open in their `extraction`.
        stream: "rgb" or "flow".
        checkpoint: A path.
        net: The architecture.
        short_side: Shorter side of the frames it was trained on, pixels.
        endpoint: The endpoint that is taken.
        batch_size: Windows that the network sees at once.
        model: The checkpoint as it was read; other processes read it again.
    """

    make: MakePredictor
    settings: Settings
    stream: str
    checkpoint: str
    net: arch.Network
    short_side: int
    endpoint: str
    batch_size: int
    model: Model | None = dataclasses.field(compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}

    def rows(self, clips: Frames) -> Floats:
        """The rows [B, T', D] of clips [B, T, H, W, C]; T' is 1 but for "dense"."""
        rows = _predictor(self).features(clips, self.endpoint)
        if self.settings.extraction.mode == "dense":
            return rows
        # Few numbers, summed in order: the same in every backend.
        return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64), np.float32)

    def width(self) -> int:
        """The length of a row."""
        frames, height, width = arch.smallest_size(self.net)
        frames = -(-frames // 64) * 64  # which any grouping of time steps divides
        return arch.endpoint_shapes(self.net, (frames, height, width))[self.endpoint][-1]


def read(checkpoint: str, stream: str, settings: Settings) -> Model:
    """Reads a checkpoint; its contract has the range of RGB that the settings ask for.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: See `models.load`.
    """
    model = models.load(checkpoint, stream, settings.architecture)
    if not settings.extraction.rgb_range or stream == "flow":
        return model
    low, high = settings.extraction.rgb_range
    contract = dataclasses.replace(model.contract, value_range=(low, high), mean=(), std=())
    return dataclasses.replace(model, contract=contract)


def create(make: MakePredictor, settings: Settings, model: Model, gpu: bool) -> Network:
    """The network of a model that was read; `gpu` says whether it will be on one.

    Raises:
        ValueError: There is no such endpoint, or the network takes no such windows.
    """
    usual = usual_batch(model.net, settings.extraction, gpu)  # which checks the window, too
    return Network(
        make=make,
        settings=settings,
        stream=model.stream,
        checkpoint=str(model.path),
        net=model.net,
        short_side=model.contract.short_side,
        endpoint=find_endpoint(model.net, settings.extraction),
        batch_size=settings.batch_size or usual,
        model=model,
    )


def find_endpoint(net: arch.Network, extraction: Extraction) -> str:
    """The endpoint that is taken: by default the pooled features before the classifier.

    "dense" takes the map before them if the pool spans all time.

    Raises:
        ValueError: There is no such endpoint.
    """
    arch.check_endpoint(net, extraction.endpoint)
    if extraction.endpoint:
        return extraction.endpoint
    if extraction.mode == "dense" and net.head.pool is None:
        return net.nodes[-2].name
    return net.head.features


@functools.lru_cache(maxsize=2)  # two streams; only the computing thread calls it
def _predictor(network: Network) -> Predictor:
    settings = network.settings
    model = network.model or read(network.checkpoint, network.stream, settings)
    return network.make(
        model,
        endpoints=[network.endpoint],
        device=settings.device,
        precision=settings.precision,
    )


def usual_batch(net: arch.Network, extraction: Extraction, gpu: bool) -> int:
    """How many windows keep the processors busy; a batch that is not full costs as much.

    It is the same for all videos of a run, since the last digits of rows may change with it.

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


def clear() -> None:
    """Drops the networks, and the batches that wait: of videos that failed, or of a stopped run."""
    global _computing
    _computing.shutdown(wait=False, cancel_futures=True)
    _computing = ThreadPoolExecutor(1, "network")
    _predictor.cache_clear()


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
        if len(self._clips) == self.network.batch_size:
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
        batch = np.zeros((self.network.batch_size, *self._clips[0].shape), self._clips[0].dtype)
        batch[: len(self._clips)] = self._clips
        self._batches.append((_computing.submit(self.network.rows, batch), len(self._clips)))
        self._clips = []
