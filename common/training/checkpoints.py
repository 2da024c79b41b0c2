"""Snapshots, from which a run is resumed, and the weights at its end.

    OUTPUT/snapshots/step_000500.safetensors          the last few snapshots and the best
    OUTPUT/best.json                                  step and value of the best snapshot
    OUTPUT/model.safetensors, model.json              the last weights, or their average
    OUTPUT/model_best.safetensors, model_best.json    the weights that were best in validation

A snapshot is the same from either framework. Weights have their canonical names, momentum is
"momentum/NAME", the moving average "average/NAME", the loss scale of float16 "scaler/...", and
"run" holds the rest as JSON. `convert` reads it as a checkpoint of its weights. It holds no random
state and no position in the data: both follow from seed and step.
"""

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import model_card, models
from common.io import CheckpointError, listing, sha256, to_json, write_text
from common.jobs import locks
from common.model_card import ModelCard
from common.models import RUN

Array = NDArray[Any]

FORMAT_VERSION = 1

ARCHITECTURE, AVERAGE = "architecture", "average/"

RESUME = ("auto", "never")
"""Values of --resume: continue from the last snapshot if there is one, or refuse a folder that has
any. Every other value is the path of a snapshot."""

_NAME = re.compile(r"step_(\d{6,})\.safetensors")
_LEFT_BEHIND = ".*." + "[0-9a-f]" * 8 + ".tmp"  # by `common.io.replacing`, when it was killed

# Fields of a recipe that a resumed run may change, since they do not change what is computed, and
# the field that each schedule depends on nevertheless: a cosine ends with the steps, and the
# patience of a plateau counts evaluations. "compiled" is in snapshots of earlier versions.
_FREE = {"steps", "keep", "snapshot_every", "evaluate_every", "log_every", "recompute", "compiled"}
_COUNTS_IN = {"cosine": "steps", "plateau": "evaluate_every"}


@dataclasses.dataclass(frozen=True)
class Best:
    """The best evaluation of a run so far; higher values are better."""

    step: int
    value: float


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on as if it had not stopped.

    Attributes:
        step: Steps done.
        architecture: A name in `common.arch.ARCHITECTURES`.
        num_classes: Classes of the head.
        in_channels: 3 for RGB, 2 for flow.
        arrays: A `TrainStep.state`.
        recipe: The recipe as JSON.
        data: What else the numbers depend on, as JSON: the count of clips, the digest of the
            annotations, how the flow was computed.
        schedule: State of the learning-rate schedule as JSON.
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
        return any(name.startswith(AVERAGE) for name in self.arrays)

    def weights(self) -> dict[str, Array]:
        """The network's arrays by canonical name, averaged where there is an average."""
        own = {name: array for name, array in self.arrays.items() if "/" not in name}
        return {name: self.arrays.get(AVERAGE + name, array) for name, array in own.items()}


def read(path: Path) -> Snapshot:
    """Reads a snapshot.

    Raises:
        CheckpointError: The file is damaged, or no snapshot.
        FileNotFoundError: There is no such file.
    """
    arrays = models.read_arrays(path)
    if RUN not in arrays:
        raise CheckpointError(
            f"{path}: no snapshot of a run, which has an array {RUN!r}. To begin with the weights "
            "of this file, give it as --checkpoint."
        )
    text = arrays.pop(RUN).tobytes()
    arrays.pop(ARCHITECTURE, None)
    try:
        run = json.loads(text)
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


def as_array(text: str) -> NDArray[np.uint8]:
    """The UTF-8 bytes of a text, [N]."""
    return np.frombuffer(text.encode(), np.uint8)


class RunFolder:
    """The snapshots of one run. One process at a time writes, inside `lock()`; any may read."""

    def __init__(self, path: str | os.PathLike[str], keep: int = 3):
        """Creates nothing yet; `keep` last snapshots stay, besides the best."""
        self.path = Path(path)
        self._keep = keep

    def lock(self) -> locks.Lock:
        """Keeps other runs out within its context, and removes what a killed one left.

        Raises:
            ValueError: Another run writes to this folder.
            OSError: The folder cannot be written, or its file system has no locks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        held = locks.acquire(self.path / ".lock")
        if held is None:
            raise ValueError(
                f"{self.path}: another run is writing to this folder. Wait for it, or give this "
                "one a folder of its own."
            )
        for folder in (self.path, self.path / "snapshots"):
            for rest in folder.glob(_LEFT_BEHIND):
                rest.unlink()
        return held

    def write(self, snapshot: Snapshot, value: float | None = None) -> Snapshot:
        """Writes a snapshot atomically, then removes those that need not stay.

        Args:
            snapshot: The snapshot; its `best` is that of the steps before.
            value: Validation result of these weights, higher being better; None without one. Of
                equal values the first stays the best.

        Returns:
            The snapshot as written, with the best up to now.

        Raises:
            ValueError: Values are not finite.
            OSError: The disk is full; earlier snapshots are untouched.
        """
        step, steps = snapshot.step, self._steps()
        before = f"the last snapshot is {self._at(steps[-1])}" if steps else "there is none before"
        if value is not None and not math.isfinite(value):
            raise ValueError(f"the value of step {step} is {value}, not finite; {before}.")
        if value is not None and (snapshot.best is None or value > snapshot.best.value):
            snapshot = dataclasses.replace(snapshot, best=Best(step, value))
        wrong = [name for name, array in snapshot.arrays.items() if not np.isfinite(array).all()]
        if wrong:
            raise ValueError(
                f"step {step}: values that are not finite in {listing(wrong)}: the training "
                f"diverged; {before}. Try a lower learning rate, or clip gradients."
            )
        path, best = self._at(step), snapshot.best
        try:
            models.write_arrays(path, _to_arrays(snapshot))
            if best and self._at(best.step).exists():  # the run may have begun in another folder
                record = {"snapshot": f"snapshots/{self._at(best.step).name}", **vars(best)}
                write_text(self.path / "best.json", to_json(record))
        except OSError as error:
            raise OSError(
                f"{path}: cannot be written ({error.strerror or error}); {before}. Make room, and "
                "start again with --resume=auto."
            ) from error
        for old in self._steps()[: -self._keep]:
            if best is None or old != best.step:
                self._at(old).unlink()
        return snapshot

    def latest(self) -> Snapshot | None:
        """The last snapshot; None if there is none.

        Raises:
            CheckpointError: It is damaged; the message names the one before.
        """
        steps = self._steps()
        if not steps:
            return None
        try:
            return read(self._at(steps[-1]))
        except CheckpointError as error:
            before = f"with {self._at(steps[-2])}" if len(steps) > 1 else "at the start"
            raise CheckpointError(
                f"{str(error).rstrip('.')}. Remove it, and the run goes on {before}."
            ) from error

    def best(self, last: Snapshot) -> Snapshot | None:
        """The best snapshot up to the last; None if it is not here, as the run began elsewhere."""
        path = self._at(last.best.step) if last.best else None
        return read(path) if path and path.exists() else None

    def resume(self, how: str, new: Snapshot, restarted: bool = False) -> Snapshot | None:
        """The snapshot to continue from; None to begin.

        Args:
            how: "auto", "never" or the path of a snapshot, see `RESUME`.
            new: The snapshot of step 0, whose arrays do not matter.
            restarted: A process of this very run died and all were started again: snapshots in
                this folder are its own, and it continues from the last.

        Raises:
            ValueError: The snapshot belongs to a run with other settings, all of which are listed;
                or the folder has snapshots that it must not have.
            CheckpointError: The snapshot is damaged.
            FileNotFoundError: There is no such snapshot.
        """
        steps = self._steps()
        if how in RESUME:
            if how == "never" and steps and not restarted:
                raise ValueError(
                    f"{self.path}: has snapshots of a run, the last at step {steps[-1]}, which "
                    "--resume=never must not go on with. Use --resume=auto, or another folder."
                )
            found, path = self.latest(), self._at(steps[-1]) if steps else self.path
        else:
            found, path = read(Path(how)), Path(how)
            later = [self._at(step).name for step in steps if step > found.step]
            if later and restarted:
                return self.resume("auto", new)
            if later:
                raise ValueError(
                    f"{self.path}: has snapshots of later steps than {path}: {listing(later)}. Use "
                    "--resume=auto to go on from them, remove them, or use another folder."
                )
        if found is not None and (wrong := list(_differences(found, new))):
            raise ValueError(
                f"{path}: is of a run with other settings: {'; '.join(wrong)}. Set them as they "
                "were, or use another folder."
            )
        return found

    def _at(self, step: int) -> Path:
        return self.path / "snapshots" / f"step_{step:06d}.safetensors"

    def _steps(self) -> list[int]:
        """The steps of all snapshots, in order."""
        found = (_NAME.fullmatch(path.name) for path in self._at(0).parent.glob("*.safetensors"))
        return sorted(int(name[1]) for name in found if name)


def write_model(folder: Path, snapshot: Snapshot, card: ModelCard, name: str = "model") -> Path:
    """Writes the weights of a snapshot, averaged where it has an average, and their card.

    Args:
        folder: Folder of the run.
        snapshot: The last, or the best.
        card: The fields that a snapshot does not have; the others are filled in.
        name: Name of both files without the suffix.

    Returns:
        The path of the weights.

    Raises:
        ValueError: There are more or fewer names than classes.
        OSError: The disk is full; each file is whole, or as it was.
    """
    if len(card.classes) != snapshot.num_classes:
        raise ValueError(
            f"expected the names of {snapshot.num_classes} classes. Received: {len(card.classes)}."
        )
    path = folder / f"{name}.safetensors"
    models.write_arrays(path, snapshot.weights() | {ARCHITECTURE: as_array(snapshot.architecture)})
    card = dataclasses.replace(
        card,
        architecture=snapshot.architecture,
        recipe=snapshot.recipe,
        step=snapshot.step,
        averaged=snapshot.has_average,
        weights=sha256("").of(path),
        versions=models.versions(card.backend),
    )
    model_card.write(path, card)
    return path


def _to_arrays(snapshot: Snapshot) -> dict[str, Array]:
    """What `read` reads."""
    record = dataclasses.asdict(dataclasses.replace(snapshot, arrays={}))
    del record["arrays"]
    run = json.dumps({"format_version": FORMAT_VERSION, **record}, allow_nan=False)
    arrays = {name: np.asarray(array) for name, array in snapshot.arrays.items()}
    return arrays | {ARCHITECTURE: as_array(snapshot.architecture), RUN: as_array(run)}


def _differences(old: Snapshot, new: Snapshot) -> Iterator[str]:
    """Describes each setting by which two runs differ."""
    free = _FREE - {_COUNTS_IN.get(str(run.recipe.get("schedule"))) for run in (old, new)}
    # Snapshots of earlier versions say less about the data.
    known = {name: value for name, value in new.data.items() if name in old.data}
    one, other = _settings(old), _settings(dataclasses.replace(new, data=known))
    for name in one | other:
        was, now = one.get(name, "not given"), other.get(name, "not given")
        if name not in free and was != now:
            yield f"{name} was {was}, is {now}"


def _settings(run: Snapshot) -> dict[str, str]:
    """All settings by name, as JSON, in which a tuple is a list."""
    network = {name: getattr(run, name) for name in ("architecture", "num_classes", "in_channels")}
    data = {f"data.{name}": value for name, value in run.data.items()}
    settings = {**run.recipe, **network, **data}
    return {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
