"""A checkpoint with all that is needed to use it: network, weights, contract, class names."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common import arch, model_card, provenance
from common.annotations import label_maps
from common.io import CheckpointError
from common.model_card import ModelCard
from common.preprocessing import contracts
from common.preprocessing.contracts import CHANNELS, InputContract
from common.training.snapshot import RUN
from convert import checkpoints
from convert.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class Model:
    """A checkpoint.

    Attributes:
        net: The network.
        arrays: Its weights by canonical name.
        contract: What its clips are: of the published row, of the card beside a file that was
            trained here, else what its architecture usually expects.
        path: The file.
        row: Of a published checkpoint.
        card: Of one that was trained here.
        notes: What was made of the weights on the way, a sentence each.
    """

    net: arch.Network
    arrays: Mapping[str, NDArray[Any]]
    contract: InputContract
    path: Path
    row: Checkpoint | None
    card: ModelCard | None
    notes: tuple[str, ...] = ()

    @property
    def stream(self) -> str:
        """What the network sees: "rgb" or "flow"."""
        return next(name for name, count in CHANNELS.items() if count == self.net.in_channels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the logits; empty where nobody said them."""
        if self.card:
            return self.card.classes
        return label_maps.load(self.row.label_map) if self.row else ()

    @property
    def digests(self) -> dict[str, str]:
        """By file name, the digest that identifies the weights."""
        return provenance.weights(self.path, self.row)


class Predictor(Protocol):
    """A network in inference, in either framework.

    Clips are [B, T, H, W, C]: uint8 RGB, float32 RGB in 0 to 255, or float32 flow in [-1, 1].
    """

    def scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, classes], averaged over time."""
        ...

    def frame_scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, T, classes], one row a frame."""
        ...

    def features(self, clips: NDArray[Any], endpoint: str) -> NDArray[np.float32]:
        """An endpoint [B, T', D], averaged over height and width."""
        ...


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
    stream: str,
    architecture: str | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    snapshot: bool = False,
) -> Model:
    """Reads a checkpoint.

    Args:
        checkpoint: Name of a published checkpoint, or path of one in any format; a 2-D network is
            inflated.
        stream: Which it must be of: "rgb" or "flow".
        architecture: Which the weights are of, where their names fit several; else it is found out.
        num_classes: Another number than the checkpoint's makes a new classifier.
        seed: Of the new classifier's random values.
        snapshot: Whether it may be a snapshot of a run, of which the weights alone are taken: not
            their average.

    Raises:
        CheckpointError: The file is damaged or unknown, or a snapshot that it may not be.
        ValueError: The weights are for another stream.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    from convert import hub  # which imports what knows published checkpoints

    weights = hub.load(
        checkpoint, hub.Terms(architecture=architecture, num_classes=num_classes, seed=seed)
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
    if weights.net.in_channels != CHANNELS[stream]:
        raise ValueError(
            f"{checkpoint}: the weights are for another stream. Expected {stream}, "
            f"{CHANNELS[stream]} channels. Received: {weights.stream}."
        )
    path, row = checkpoints.resolve(os.fspath(checkpoint))
    card = None if row else model_card.read(path)
    if row:
        contract = row.contract
    elif card:
        contract = card.contract
    else:
        contract = contracts.of_stream(weights.net.name, stream)
    return Model(weights.net, weights.arrays, contract, path, row, card, notes)
