"""The network of a stream, and the batches in which it computes the rows of a video."""

import dataclasses
import functools
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from common import arch, models
from common.features.settings import Extraction, Settings
from common.models import MakePredictor, Model, Predictor
from common.preprocessing.crops import Frames

Floats = NDArray[np.float32]

# One batch at a time, since a framework uses all processors for it. To end a process while a thread
# is inside a framework would abort it; this one is waited for.
_computing = ThreadPoolExecutor(1, "network")


@dataclasses.dataclass(frozen=True)
class Network:
    """The network of a stream; a process makes its predictor once, where it is first used."""

    make: MakePredictor
    settings: Settings  # with nothing left open in their `extraction`
    stream: str
    endpoint: str
    batch_size: int
    model: Model = dataclasses.field(compare=False, repr=False)

    def rows(self, clips: Frames) -> Floats:
        """The rows [B, T', D] of clips [B, T, H, W, C]; T' is 1 but for "dense"."""
        rows = _predictor(self).features(clips, self.endpoint)
        if self.settings.extraction.mode == "dense":
            return rows
        # Few numbers, summed in order: the same in every backend.
        return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64), np.float32)

    @functools.cached_property
    def origin(self) -> dict[str, object]:
        """What the network is, for the record."""
        return {
            "architecture": self.model.net.name,
            "weights": self.model.digests,
            "contract": dataclasses.asdict(self.model.contract),
            "endpoint": self.endpoint,
            "precision": self.settings.precision,
        }

    def width(self) -> int:
        """The length of a row."""
        frames, height, width = arch.smallest_size(self.model.net)
        frames = -(-frames // 64) * 64  # which any grouping of time steps divides
        return arch.endpoint_shapes(self.model.net, (frames, height, width))[self.endpoint][-1]


def find_endpoint(net: arch.Network, extraction: Extraction) -> str:
    """By default the pooled features; for "dense" the map before if the pool spans all time."""
    arch.check_endpoint(net, extraction.endpoint)
    whole = extraction.mode == "dense" and net.head.pool is None
    return extraction.endpoint or (net.nodes[-2].name if whole else net.head.features)


def usual_batch(net: arch.Network, extraction: Extraction, gpu: bool) -> int:
    """How many windows keep the processors busy, the same for all videos: rows may change with it.

    `ValueError` if the network takes no such windows.
    """
    if extraction.mode == "dense":
        return 1  # chunks are large, and of several lengths
    side = extraction.crop_size or 1
    size = (extraction.window or 1, side, side)
    arch.check_clips(net, (1, *size, net.in_channels), "BTHWC")
    return models.busy_batch(net, size, gpu)


@functools.lru_cache(maxsize=2)  # two streams; only the computing thread calls it
def _predictor(network: Network) -> Predictor:
    settings, endpoints = network.settings, [network.endpoint]
    return network.make(
        network.model, endpoints=endpoints, device=settings.device, precision=settings.precision
    )


def clear() -> None:
    """Drops the networks, and the batches that wait: of videos that failed, or of a stopped run."""
    global _computing
    _computing.shutdown(wait=False, cancel_futures=True)
    _computing = ThreadPoolExecutor(1, "network")
    _predictor.cache_clear()


class Batches:
    """Computes the rows of one subject's clips, a batch at a time, while the next is being filled.

    Every batch has `batch_size` clips of one shape, if need be with zeros: so rows do not depend
    on what is extracted at the same time.
    """

    def __init__(self, network: Network):
        self.network = network
        self._clips: list[Frames] = []
        self._batches: list[tuple[Future[Floats], int]] = []

    def add(self, clip: Frames) -> None:
        """Takes a clip [T, H, W, C]."""
        if self._clips and self._clips[0].shape != clip.shape:
            self._start()
        self._clips.append(clip)
        if len(self._clips) == self.network.batch_size:
            self._start()

    def rows(self) -> list[Floats]:
        """The rows [T', D] of every clip, in order; waits for them."""
        self._start()
        return [row for batch, count in self._batches for row in batch.result()[:count]]

    def _start(self) -> None:
        if not self._clips:
            return
        if self._batches:
            self._batches[-1][0].result()  # no more than one is waiting
        batch = np.zeros((self.network.batch_size, *self._clips[0].shape), self._clips[0].dtype)
        batch[: len(self._clips)] = self._clips
        self._batches.append((_computing.submit(self.network.rows, batch), len(self._clips)))
        self._clips = []
