"""The seam: a checkpoint, by name or path, with network, weights, contract and class names."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common import arch, model_card
from common.annotations import label_maps
from common.io import CheckpointError, sha256
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import CHANNELS, InputContract
from common.settings import need
from convert import download, formats, hub
from convert import published as published
from convert import samples as samples
from convert.formats import pickles as pickles
from convert.formats import release
from convert.formats import safetensors as safetensors
from convert.formats._mapped_file import one_error as one_error
from convert.published import Checkpoint

PRECISIONS = ("float32", "bfloat16", "float16")
NO_FLOAT16 = "This processor has no float16 and emulates it slowly. Use bfloat16."

_DISTRIBUTIONS = {"i3d_tf": ("tensorflow", "dm-sonnet"), "i3d_torch": ("torch",)}

RUN = "run"
"""Array of a training run's snapshot, beside its weights, that says how the run goes on."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint, ready to use.

    Attributes:
        net: The network.
        arrays: Its weights by canonical name.
        contract: What its clips must be: the published row's, else the card's beside weights that
            were trained with this project, else what the architecture usually expects.
        path: The file.
        row: The row of a published checkpoint.
        card: The card of weights that were trained with this project.
        notes: What was changed in the weights while reading, a sentence each.
    """

    net: arch.Network
    arrays: Mapping[str, NDArray[Any]]
    contract: InputContract
    path: Path
    row: Checkpoint | None
    card: ModelCard | None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The published name, or the path."""
        return self.row.name if self.row else str(self.path)

    @property
    def stream(self) -> str:
        """What the network sees: "rgb" or "flow"."""
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

    def scores(self, clips: NDArray[Any], prepared: bool = False) -> NDArray[np.float32]:
        """Logits [B, classes], averaged over time.

        `prepared` clips are float32 in the value range of the model's contract already.
        """
        ...

    def frame_scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, T, classes], one row a frame."""
        ...

    def features(self, clips: NDArray[Any], endpoint: str) -> NDArray[np.float32]:
        """An endpoint [B, T', D], averaged over height and width."""
        ...


def check_predictor_inputs(
    clips: NDArray[Any], endpoint: str | None = None, kept: Sequence[str] = ()
) -> None:
    """Refuses what a `Predictor` does not take.

    Args:
        clips: The clips.
        endpoint: The endpoint whose features are asked for.
        kept: The endpoints that the predictor's network returns.

    Raises:
        ValueError: The clips have another type or are not finite, or the endpoint is not kept.
    """
    if clips.dtype not in (np.uint8, np.float32):
        raise ValueError(
            "clips have the wrong type. Expected uint8 RGB, float32 RGB in 0 to 255, or float32 "
            f"flow in [-1, 1]. Received: {clips.dtype}."
        )
    if clips.dtype == np.float32 and not np.isfinite(clips.sum()):
        raise ValueError(arch.NOT_FINITE)
    if endpoint is not None and endpoint not in kept:
        raise ValueError(
            f"the predictor has no features of {endpoint!r}. Expected one of {', '.join(kept)}. "
            "Name the endpoint when you make the predictor."
        )


def check_precision(name: str) -> None:
    """Raises `ValueError` unless it is one of `PRECISIONS`."""
    need(name in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", name)


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
        ...


def load(
    checkpoint: str | os.PathLike[str],
    stream: str | None = None,
    architecture: str | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    snapshot: bool = False,
) -> Model:
    """Reads a checkpoint once, with everything that is known about it.

    Args:
        checkpoint: Name of a published checkpoint, or path of one in any format; a 2-D network is
            inflated.
        stream: Which stream it must be of, "rgb" or "flow"; None accepts either.
        architecture: The network the weights belong to, where their names fit several.
        num_classes: A number other than the checkpoint's makes a new classifier.
        seed: Seed of the new classifier's random values.
        snapshot: Accepts a snapshot of a training run, of which the plain weights are taken, not
            their average.

    Raises:
        CheckpointError: The file is damaged or unknown, or an unwanted snapshot.
        ValueError: The weights are for another stream, or the card beside them is damaged.
        FileNotFoundError: There is no such file, or no source has it.
    """
    weights = hub.load(
        checkpoint,
        hub.ConversionOptions(architecture=architecture, num_classes=num_classes, seed=seed),
    )
    notes = weights.notes
    if RUN in weights.ignored:
        if not snapshot:
            raise CheckpointError(
                f"{checkpoint}: a snapshot of a training run, which does not say what its clips "
                "and classes are. Use model.safetensors, the last weights, or "
                "model_best.safetensors, which the run writes into its folder at its end."
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
    if row:
        contract = row.contract
    elif card:
        contract = card.contract
    else:
        contract = contracts.of_stream(weights.net.name, stream)
    return Model(weights.net, weights.arrays, contract, path, row, card, notes)


def fetch_sample(name: str, stream: str) -> Path:
    """The file of a published sample's stream, downloaded if need be.

    Raises:
        ValueError: No such sample, or no such stream of it.
        FileNotFoundError: No source has the file (`AssetError`).
    """
    (path,) = download.fetch(samples.asset(name, stream))
    return path


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
    """Reads all arrays of a safetensors file into memory.

    Raises:
        CheckpointError: The file is damaged.
        FileNotFoundError: There is no such file.
    """
    arrays = {}
    for name, stored in safetensors.read(path).items():
        arrays[name] = np.array(stored)  # the file may be removed, and written again
        release(stored)
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a safetensors file atomically; raises `OSError` where the disk is full."""
    safetensors.write(path, arrays)


def export(
    net: arch.Network, arrays: Mapping[str, NDArray[Any]], folder: Path, dialect: str
) -> Path:
    """Writes weights for another tool, as FOLDER/model_DIALECT with the tool's suffix.

    Raises:
        ValueError: There is no such dialect, or it has no names for the network.
        CheckpointError: It cannot hold the network exactly.
    """
    # How a head pools is in no file: other tools know these weights as the plain network's.
    net = dataclasses.replace(net, name=net.name.removesuffix("_global"))
    path = folder / f"model_{dialect}{_suffix(dialect)}"
    hub.write(hub.Weights(net, arrays), path, dialect, overwrite=True)
    return path


def _suffix(dialect: str) -> str:
    """The shortest suffix of the format that is usual for a dialect; PyTorch's if none is."""
    # Two dialects come in the files of another.
    dialect = {"kinetics_i3d_600": "kinetics_i3d", "mindspore_finetuned": "mindspore"}.get(
        dialect, dialect
    )
    usual = {name: among for name, among in hub.USUAL_DIALECTS.items() if dialect in among}
    if not usual:
        return ".pt"
    first = min(usual, key=lambda name: usual[name].index(dialect))
    suffixes: tuple[str, ...] = formats.FORMATS[first].SUFFIXES
    return min(suffixes, key=len)
