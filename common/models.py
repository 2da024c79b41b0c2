"""The seam: a checkpoint, by name or path, with network, weights, contract and class names."""

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch, hardware, model_card
from common.annotations import label_maps
from common.io import CheckpointError, sha256
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import CHANNELS, InputContract
from common.settings import UsageError, need, setting
from convert import formats, hub
from convert import published as published
from convert.formats import pickles as pickles
from convert.formats import release
from convert.formats import safetensors as safetensors
from convert.formats._raw import one_error as one_error
from convert.published import Checkpoint

PRECISIONS = ("float32", "bfloat16", "float16")
NO_FLOAT16 = "This processor has no float16 and emulates it slowly. Use bfloat16."

_DISTRIBUTIONS = {"i3d_tf": ("tensorflow", "dm-sonnet"), "i3d_torch": ("torch",)}

RUN = "run"  # array of a training run's snapshot that says how the run goes on

# Multiply-adds of a batch beyond which a larger one is no faster on a CPU: 64 frames of 224 pixels
# of InceptionI3D (1.1e11). A GPU takes sixteen times as many.
_BUSY = 10**11
_MOST = 32  # clips of a batch

TRAINING = "Raise --set accumulate=..., lower --set batch=..., or --set precision=bfloat16"
FEATURES = "Lower --batch_size, --chunk or --window, or --precision=bfloat16"
INFERENCE = "Evaluate with fewer --views_at_a_time, or train with --set precision=bfloat16"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSettings:
    """The weights of each stream."""

    checkpoint: str | None = setting(
        "Weights of the only stream: name of a published checkpoint, or path in any format.",
        None,
    )
    rgb_checkpoint: str | None = setting("Weights of the RGB stream.", None)
    flow_checkpoint: str | None = setting("Weights of the flow stream.", None)

    def choose(
        self, streams: Sequence[str], asked: str, usual: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The checkpoint of each stream, by name or path; by default that of `usual`.

        `asked` is the flag that asks for the streams. Raises `UsageError` if a stream has no
        checkpoint or two, or there is one of another stream.
        """
        given = {"rgb": self.rgb_checkpoint, "flow": self.flow_checkpoint}
        for stream in given:
            if given[stream] and stream not in streams:
                raise UsageError(f"--{stream}_checkpoint does not go with {asked}")
            if given[stream] and self.checkpoint and len(streams) == 1:
                raise UsageError(f"--checkpoint and --{stream}_checkpoint exclude each other")
        if self.checkpoint and len(streams) > 1:
            raise UsageError(
                f"--checkpoint is for one stream, and {asked} has two: use one for each"
            )
        chosen = {}
        for stream in streams:
            chosen[stream] = given[stream] or self.checkpoint or (usual or {}).get(stream, "")
            if not chosen[stream]:
                raise UsageError(f"--{stream}_checkpoint is needed")
        return chosen


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How a network runs: the flags of all commands that predict."""

    architecture: str | None = setting(
        "The network the weights belong to, where their names fit several.",
        None,
        choices=tuple(arch.ARCHITECTURES),
    )
    device: str = setting(
        "Where to compute: auto is a GPU if there is one.", "auto", choices=("auto", "cpu", "gpu")
    )
    precision: str = setting(
        "Precision the network computes in; results are float32.",
        "float32",
        choices=PRECISIONS,
    )
    threads: int | None = setting(
        "Threads of the network on a CPU; by default OMP_NUM_THREADS, or one a core.",
        None,
        minimum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSettings(NetworkSettings, WeightSettings):
    """The weights of each stream, and how their networks run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings(CheckpointSettings):
    """The streams, too."""

    streams: tuple[str, ...] = setting(
        "rgb, flow, or both: rgb,flow.", ("rgb",), choices=tuple(CHANNELS)
    )

    def checkpoints(self) -> dict[str, str]:
        """The checkpoint of each stream; raises `UsageError` as `choose` does, or for no stream."""
        if not self.streams or len(set(self.streams)) < len(self.streams):
            raise UsageError("--streams must be rgb, flow or rgb,flow")
        return self.choose(self.streams, f"--streams={','.join(self.streams)}")


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint, ready to use."""

    net: arch.Network
    arrays: Mapping[str, NDArray[Any]]  # by canonical name
    contract: InputContract  # of the row, else of the card, else the architecture's usual one
    path: Path
    row: Checkpoint | None  # of a published checkpoint
    card: ModelCard | None  # of weights that were trained with this project
    notes: tuple[str, ...] = ()  # what was changed in the weights while reading

    @property
    def name(self) -> str:
        """The published name, or the path."""
        return self.row.name if self.row else str(self.path)

    @property
    def stream(self) -> str:
        return next(name for name, count in CHANNELS.items() if count == self.net.in_channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty where nothing says them."""
        if self.card:
            return self.card.classes
        return label_maps.load(self.row.label_map) if self.row else ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for every logit: `classes`, else Kinetics' by their number, else "class 17"."""
        count = self.net.num_classes
        names = self.classes or label_maps.for_classes(count)
        return (*names, *(f"class {index}" for index in range(len(names), count)))

    @property
    def digests(self) -> dict[str, str]:
        """The digest that identifies the weights, by file name."""
        if self.row:
            return {file.file_name: str(file.digest) for file in self.row.files}
        files = formats.detect(self.path).files(self.path)
        return {file.name: f"sha256 {sha256('').of(file)}" for file in sorted(files)}

    def origin(self) -> dict[str, object]:
        """What a result says of the model it was made with, as JSON."""
        return {
            "checkpoint": self.name,
            "weights": self.digests,
            "contract": dataclasses.asdict(self.contract),
        }


class Predictor(Protocol):
    """A network in inference, in either framework.

    Clips are [B, T, H, W, C]: uint8 RGB, float32 RGB in 0 to 255, or float32 flow in [-1, 1].
    """

    on_gpu: bool

    def scores(self, clips: NDArray[Any], prepared: bool = False) -> NDArray[np.float32]:
        """Logits [B, classes], averaged over time.

        `prepared` clips are float32 in the value range of the model's contract already.
        """

    def frame_scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, T, classes], one row a frame."""

    def features(self, clips: NDArray[Any], endpoint: str) -> NDArray[np.float32]:
        """An endpoint [B, T', D], averaged over height and width."""


def check_predictor_inputs(
    clips: NDArray[Any], endpoint: str | None = None, kept: Sequence[str] = ()
) -> None:
    """Raises `ValueError` for clips, or an endpoint not in `kept`, that no `Predictor` takes."""
    if clips.dtype not in (np.uint8, np.float32):
        raise ValueError(
            "clips have the wrong type. Expected uint8 RGB, float32 RGB in 0 to 255, or float32 "
            f"flow in [-1, 1]. Received: {clips.dtype}."
        )
    if clips.dtype == np.float32 and not np.isfinite(clips.sum()):
        raise ValueError(arch.NOT_FINITE)
    if endpoint is not None and endpoint not in kept:
        raise ValueError(f"no features of {endpoint!r}. Expected one of {', '.join(kept)}.")


def check_precision(name: str, gpu: bool = True) -> None:
    """Raises `ValueError` unless it is one of `PRECISIONS`; warns where it is emulated."""
    need(name in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", name)
    if name == "float16" and not gpu and not hardware.has_float16():
        logging.warning(NO_FLOAT16)


def busy_batch(net: arch.Network, size: tuple[int, int, int], gpu: bool) -> int:
    """How many clips of `size`, (T, H, W), keep the processors busy."""
    busy = 16 * _BUSY if gpu else _BUSY
    return max(1, min(_MOST, -(-busy // arch.multiply_adds(net, size))))


def keep_freed_memory() -> None:
    """Keeps freed activation memory in the process (glibc), which saves a third of the time."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        # In malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX.
        for parameter, value in ((-3, 2**30), (-1, 2**31 - 1), (-8, 1)):
            libc.mallopt(parameter, value)


@contextlib.contextmanager
def explained(error: type[Exception], clips: NDArray[Any], advice: str) -> Iterator[None]:
    """Turns a framework's out-of-memory error into a `ValueError` that says what to do.

    Clips are [B, T, H, W, C]; the advice is `TRAINING`, `FEATURES` or `INFERENCE`.
    """
    try:
        yield
    except error as found:
        size = " x ".join(map(str, clips.shape[1:4]))
        text = f"out of memory with {len(clips)} clips of {size} (T x H x W). {advice}."
        raise ValueError(text) from found


class MakePredictor(Protocol):
    """Makes a framework's predictor; a function of a module, which other processes import."""

    def __call__(
        self,
        model: Model,
        *,
        endpoints: Sequence[str] = (),
        device: str = "auto",
        precision: str = "float32",
    ) -> Predictor:
        """A predictor of the model's scores, and of the features of `endpoints`."""


def load(
    checkpoint: str | os.PathLike[str],
    stream: str | None = None,
    architecture: str | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    snapshot: bool = False,
) -> Model:
    """Reads a checkpoint, a published name or a path in any format; a 2-D network is inflated.

    `stream` is the one it must be of, "rgb" or "flow"; None accepts either. `architecture` is the
    network, where names fit several. Another number of classes makes a new classifier with random
    values from `seed`. `snapshot` accepts one of a training run, with its weights, not their mean.

    `CheckpointError` for a damaged or unknown file, or an unwanted snapshot; `ValueError` for
    another stream or a damaged card; `FileNotFoundError` if no source has the file.
    """
    if architecture is None and os.fspath(checkpoint) in published.CHECKPOINTS:
        architecture = published.CHECKPOINTS[os.fspath(checkpoint)].architecture
    weights = hub.load(
        checkpoint,
        hub.ConversionOptions(architecture=architecture, num_classes=num_classes, seed=seed),
    )
    notes = weights.notes
    if RUN in weights.ignored:
        if not snapshot:
            raise CheckpointError(
                f"{checkpoint}: a snapshot of a training run, which does not say what its clips "
                "and classes are. Use the run's model.safetensors or model_best.safetensors."
            )
        notes = (*notes, "a snapshot's own weights, not their average")
    stream = stream or weights.stream
    if weights.net.in_channels != CHANNELS.get(stream):
        raise ValueError(
            f"{checkpoint}: the weights are for another stream. Expected {stream}, "
            f"{CHANNELS.get(stream, '3 or 2')} channels. Received: {weights.stream}."
        )
    path, row = weights.path, weights.row
    assert path is not None  # it was read from a file
    card = None if row else model_card.read(path)
    usual = row or card
    contract = usual.contract if usual else contracts.of_stream(weights.net.name, stream)
    return Model(weights.net, weights.arrays, contract, path, row, card, notes)


def versions(backend: str) -> dict[str, str | None]:
    """Versions of Python and of the packages that can change a number; None for missing ones."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("i3d", "numpy", "av", *_DISTRIBUTIONS.get(backend, ())):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a safetensors file into memory; `CheckpointError` if it is damaged."""
    arrays = {}
    for name, stored in safetensors.read(path).items():
        arrays[name] = np.array(stored)  # the file may be removed, and written again
        release(stored)
    return arrays


def export(
    net: arch.Network, arrays: Mapping[str, NDArray[Any]], folder: Path, dialect: str
) -> Path:
    """Writes weights for another tool, as FOLDER/model_DIALECT with the tool's suffix.

    Raises `ValueError` if there is no such dialect, or it has no names for the network, and
    `CheckpointError` if it cannot hold the network exactly.
    """
    # How a head pools is in no file: other tools know these weights as the plain network's.
    net = dataclasses.replace(net, name=net.name.removesuffix("_global"))
    path = folder / f"model_{dialect}{_suffix(dialect)}"
    hub.write(hub.Weights(net, arrays), path, dialect, overwrite=True)
    return path


def _suffix(dialect: str) -> str:
    """The shortest suffix of the format that is usual for a dialect; PyTorch's if none is."""
    usual = (name for name, among in hub.USUAL_DIALECTS.items() if dialect.startswith(among))
    return str(min(formats.FORMATS[next(usual, "torch_pt")].SUFFIXES, key=len))
