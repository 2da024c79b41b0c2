"""The network of a stream that rows are made with; loaded once in a process."""

import atexit
import dataclasses
import functools
import threading

import numpy as np
from numpy.typing import NDArray

from common import arch, models
from common.features.batching import Batcher
from common.features.extraction import Extraction
from common.models import MakePredictor, Model
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames

Floats = NDArray[np.float32]

# Multiply-adds of a batch, above which a larger one is no faster: 64 frames of 224 pixels of
# InceptionI3D on a CPU (1.1e11), and sixteen of them on a GPU.
_BUSY = 10**11
_BUSY_GPU = 16 * _BUSY
_PERIOD = 64
_MOST = 32  # windows of a batch

_loading = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the network of a stream comes from, and how it is used.

    Attributes:
        make: The framework's.
        stream: "rgb" or "flow".
        checkpoint: A published name, or a file.
        architecture: Where the names of the weights do not say it.
        endpoint: What is taken.
        precision: That the network computes in.
        device: "auto", "cpu" or "gpu".
        batch_size: Windows that it sees at once.
        side: Of its clips, pixels.
        average: Rows of a clip are averaged over its time.
        values: What RGB 0 to 255 is mapped onto, in place of what the weights expect.
    """

    make: MakePredictor
    stream: str
    checkpoint: str
    architecture: str | None
    endpoint: str
    precision: str
    device: str
    batch_size: int
    side: int
    average: bool = True
    values: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is loaded, and what computes with it.

    Attributes:
        net: Its description.
        endpoint: What is taken of it.
        batcher: Clips [T, side, side, C] to rows [T', width].
        side: Of its clips, pixels.
        short_side: That frames are resized to before they are cropped, pixels.
        width: Numbers of a row.
    """

    net: arch.Network
    endpoint: str
    batcher: Batcher
    side: int
    short_side: int
    width: int


def contract_of(loaded: Model, values: tuple[float, ...]) -> InputContract:
    """The contract of weights, with other values where they are given."""
    if not values or loaded.stream == "flow":
        return loaded.contract
    low, high = values
    return dataclasses.replace(loaded.contract, value_range=(low, high), mean=(), std=())


def load(source: Source) -> Network:
    """The network; whoever asks first loads it.

    Raises:
        CheckpointError, ValueError, FileNotFoundError: As `models.load`.
    """
    with _loading:
        return _load(source)


@functools.lru_cache(maxsize=2)
def _load(source: Source) -> Network:
    loaded = models.load(source.checkpoint, source.stream, source.architecture)
    contract = contract_of(loaded, source.values)
    predictor = source.make(
        dataclasses.replace(loaded, contract=contract),
        endpoints=[source.endpoint],
        device=source.device,
        precision=source.precision,
    )

    def compute(clips: Frames) -> Floats:
        rows = predictor.features(clips, source.endpoint)
        if not source.average:
            return rows
        # Of few numbers, and in their order: the same in every backend.
        return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64), np.float32)

    batcher = Batcher(compute, source.batch_size)
    # What a video that failed has left may be at work when all is done, and a process that ends
    # under a thread that is inside a framework is aborted.
    atexit.register(batcher.close)
    return Network(
        net=loaded.net,
        endpoint=source.endpoint,
        batcher=batcher,
        side=source.side,
        short_side=contract.short_side,
        width=width(loaded.net, source.endpoint, source.side),
    )


def batch_size(net: arch.Network, extraction: Extraction, gpu: bool) -> int:
    """How many windows the network sees at once: as many as keep the processors busy.

    A batch that is not full costs as much as one that is, so no more than that. It is the same for
    all videos of a run, for with it the last digits of rows may change.

    Args:
        net: The network.
        extraction: `filled`.
        gpu: Whether the network is on a GPU.

    Raises:
        ValueError: The network takes no such windows.
    """
    if extraction.mode == "dense":
        return 1  # chunks are large, and of several lengths
    size = (extraction.window or 1, extraction.crop or 1, extraction.crop or 1)
    arch.check_clips(net, (1, *size, net.in_channels), "BTHWC")
    busy = _BUSY_GPU if gpu else _BUSY
    return max(1, min(_MOST, -(-busy // arch.multiply_adds(net, size))))


def width(net: arch.Network, endpoint: str, side: int) -> int:
    """Numbers of a row."""
    frames, _, _ = arch.smallest_size(net)
    frames = -(-frames // _PERIOD) * _PERIOD  # which any grouping of time steps divides
    return arch.endpoint_shapes(net, (frames, side, side))[endpoint][-1]
