"""Snapshots, from which a run is resumed, and the weights that it leaves.

    OUTPUT/snapshots/step_000500.safetensors          the last few snapshots
    OUTPUT/model.safetensors, model.json              the last weights, or their average
    OUTPUT/model_best.safetensors, model_best.json    the weights that were best in validation

A snapshot is the same from either framework: the arrays of `optim.State`, and "run", the rest as
JSON. `convert` reads it as a checkpoint of its weights. It holds no random state and no position in
the data: both follow from seed and step.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import model_card, models
from common.arch import Arrays
from common.io import CheckpointError, listing, sha256
from common.jobs import locks
from common.model_card import ModelCard
from common.models import RUN

FORMAT_VERSION = 1
_LEFT_BEHIND = ".i3d." + "[0-9a-f]" * 8 + ".tmp"  # by `common.io.replacing`, when it was killed
# Fields of a recipe that a resumed run may change, since they do not change what is computed; but
# a cosine ends with the steps.
_FREE = {"steps", "keep", "snapshot_every", "evaluate_every", "log_every", "recompute"}


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on as if it had not stopped."""

    step: int  # steps done
    architecture: str  # a name in `common.arch.ARCHITECTURES`
    arrays: Arrays  # a `TrainStep.state`
    recipe: Mapping[str, Any]  # as JSON
    # What else the numbers depend on, as JSON: annotations, first weights, how flow was computed.
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    best: tuple[int, float] | None = None  # step and value of the best evaluation so far

    def weights(self) -> dict[str, NDArray[Any]]:
        """The network's arrays by canonical name, averaged where there is an average."""
        own = {name: array for name, array in self.arrays.items() if "/" not in name}
        return {name: self.arrays.get(f"average/{name}", array) for name, array in own.items()}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder within its context; removes what a killed one left."""
    folder.mkdir(parents=True, exist_ok=True)
    with locks.held(folder / ".lock") as held:
        if not held:
            raise ValueError(f"{folder}: another run is writing to this folder: take another.")
        for rest in [*folder.glob(_LEFT_BEHIND), *folder.glob(f"snapshots/{_LEFT_BEHIND}")]:
            rest.unlink()
        yield


def write(folder: Path, snapshot: Snapshot, keep: int = 3) -> None:
    """Writes a snapshot atomically, then removes all but the last `keep`."""
    run = dataclasses.asdict(dataclasses.replace(snapshot, arrays={}))
    del run["arrays"]
    text = json.dumps({"format_version": FORMAT_VERSION, **run}, allow_nan=False)
    path = folder / "snapshots" / f"step_{snapshot.step:06d}.safetensors"
    _write(path, snapshot, {**snapshot.arrays, RUN: np.frombuffer(text.encode(), np.uint8)})
    for old in _paths(folder)[:-keep]:
        old.unlink()


def write_model(folder: Path, snapshot: Snapshot, card: ModelCard, name: str = "model") -> Path:
    """Writes weights, averaged where there is an average, and their card, filled in."""
    path = folder / f"{name}.safetensors"
    _write(path, snapshot, snapshot.weights())
    card = dataclasses.replace(
        card,
        architecture=snapshot.architecture,
        recipe=snapshot.recipe,
        step=snapshot.step,
        averaged=any(each.startswith("average/") for each in snapshot.arrays),
        weights=sha256("").of(path),
        versions=models.versions(card.backend),
    )
    model_card.write(path, card)
    return path


def latest(folder: Path) -> Snapshot | None:
    """The last snapshot of a run; None if there is none. `CheckpointError` if it is damaged."""
    if not (paths := _paths(folder)):
        return None
    path = paths[-1]
    try:
        arrays = models.read_arrays(path)
        run = json.loads(arrays.pop(RUN).tobytes())
        if (version := run.pop("format_version")) != FORMAT_VERSION:
            raise ValueError(f"its format version is {version}, not {FORMAT_VERSION}")
        best = run.pop("best")
        arrays.pop("architecture")
        return Snapshot(arrays=arrays, best=best and tuple(best), **run)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no whole snapshot ({error}). Remove it to go on from the one before."
        ) from error


def check_continues(found: Snapshot, new: Snapshot) -> None:
    """Raises `ValueError` unless a run, as its step 0 describes it, may go on from a snapshot."""
    one, other = _settings(found), _settings(new)
    free = _FREE - {"steps"} if new.recipe["schedule"] == "cosine" else _FREE
    wrong = [
        f"{name} was {one.get(name)}, is {other.get(name)}"
        for name in one | other
        if name not in free and one.get(name) != other.get(name)
    ]
    if found.step > new.recipe["steps"]:
        wrong.append(f"steps is {new.recipe['steps']}, and {found.step} are done")
    if wrong:
        raise ValueError(
            f"the snapshot of step {found.step} is of a run with other settings: "
            f"{'; '.join(wrong)}. Set them as they were, or use another --output."
        )


def _settings(run: Snapshot) -> dict[str, str]:
    """All settings by name, as JSON, in which a tuple is a list."""
    data = {f"data.{name}": value for name, value in run.data.items()}
    settings = {**run.recipe, **data, "architecture": run.architecture}
    return {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}


def _paths(folder: Path) -> list[Path]:
    found = folder.glob("snapshots/step_*.safetensors")
    return sorted(found, key=lambda path: int(path.stem.removeprefix("step_")))


def _write(path: Path, snapshot: Snapshot, arrays: Arrays) -> None:
    """Writes arrays of a snapshot, and the name of its network; the file is whole, or as it was."""
    if wrong := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ValueError(
            f"step {snapshot.step}: values that are not finite in {listing(wrong)}: the training "
            "diverged. The last snapshot is kept: try a lower learning rate, or clip gradients."
        )
    name = np.frombuffer(snapshot.architecture.encode(), np.uint8)
    try:
        models.safetensors.write(path, {**arrays, "architecture": name})
    except OSError as error:
        text = f"{path}: cannot be written ({error.strerror}); the last snapshot is whole."
        raise OSError(text) from error
