"""One snapshot of a training run: all that it goes on from, in one file.

It is the same from either framework: canonical names hold the weights, "momentum/NAME" the
optimiser's buffers, "average/NAME" the averaged weights, "scaler/..." the loss scale of float16,
and "run" all else as JSON. `convert` reads it as a checkpoint of its weights. It needs no random
state and no position in the data: both follow from seed and step.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import CheckpointError

Array = NDArray[Any]

FORMAT_VERSION = 1

RUN, ARCHITECTURE, _AVERAGE = "run", "architecture", "average/"


@dataclasses.dataclass(frozen=True)
class Best:
    """The best evaluation of a run so far: higher values are better."""

    step: int
    value: float


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on as if it had not stopped.

    Attributes:
        step: Steps that are done.
        architecture: A name in `common.arch.ARCHITECTURES`.
        num_classes: Of the classifier.
        in_channels: 3 for RGB, 2 for flow.
        arrays: A learner's whole state, by the names above.
        recipe: As JSON can hold it.
        data: What else has to be the same for the same numbers: how many clips, the digest of the
            annotations, how the flow was made; as JSON can hold it.
        schedule: The state of the learning rate, as JSON can hold it.
        best: The best evaluation up to this step; None before the first.
    """

    step: int
    architecture: str
    num_classes: int
    in_channels: int
    arrays: Mapping[str, Array]
    recipe: Mapping[str, Any]
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schedule: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    best: Best | None = None

    @property
    def has_average(self) -> bool:
        """Whether there is an average of the weights."""
        return any(name.startswith(_AVERAGE) for name in self.arrays)

    def weights(self, averaged: bool) -> dict[str, Array]:
        """The network's arrays by canonical name; with `averaged`, the averages that there are."""
        own = {name: array for name, array in self.arrays.items() if "/" not in name}
        if not averaged:
            return own
        return {name: self.arrays.get(_AVERAGE + name, array) for name, array in own.items()}


def read(path: Path) -> Snapshot:
    """Reads a snapshot, with arrays in memory of their own.

    Raises:
        CheckpointError: The file is damaged, or no snapshot.
        FileNotFoundError: There is no such file.
    """
    from convert.formats import release, safetensors

    stored = safetensors.read(path)
    if RUN not in stored:
        raise CheckpointError(
            f"{path}: no snapshot of a run, which has an array {RUN!r}. To begin with the weights "
            "of this file, give it as --checkpoint."
        )
    arrays = {}
    for name in stored:
        if name not in (RUN, ARCHITECTURE):
            arrays[name] = np.array(stored[name])  # the file may be removed, and written again
            release(stored[name])
    try:
        run = json.loads(stored[RUN].tobytes())
        version = run.pop("format_version")
        if version == FORMAT_VERSION:
            best = run.pop("best")
            return Snapshot(arrays=arrays, best=best and Best(**best), **run)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its array {RUN!r} is not what this software writes: {error}."
        ) from error
    raise CheckpointError(
        f"{path}: expected a snapshot of format version {FORMAT_VERSION}. Received: {version!r}. "
        "A later version of this software wrote it; use that one."
    )


def write(path: Path, snapshot: Snapshot) -> None:
    """Writes a snapshot, all or nothing, and waits until it is on the disk.

    Raises:
        OSError: The disk takes no more.
    """
    from convert.formats import safetensors

    safetensors.write(path, _packed(snapshot))
    for place in (path, path.parent):  # the bytes, and their name
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def as_array(text: str) -> NDArray[np.uint8]:
    """A text as an array [N] of its UTF-8 bytes."""
    return np.frombuffer(text.encode(), np.uint8)


def _packed(snapshot: Snapshot) -> dict[str, Array]:
    """All arrays of the file, the weights first."""
    record = dataclasses.asdict(dataclasses.replace(snapshot, arrays={}))
    del record["arrays"]
    run = json.dumps({"format_version": FORMAT_VERSION, **record}, allow_nan=False)
    arrays = {name: np.asarray(array) for name, array in snapshot.arrays.items()}
    return arrays | {ARCHITECTURE: as_array(snapshot.architecture), RUN: as_array(run)}
