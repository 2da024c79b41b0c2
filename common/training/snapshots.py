"""The folder of a training run: the snapshots from which it goes on, and which is the best.

OUTPUT/snapshots/step_000500.safetensors    the last few, and the best
OUTPUT/best.json                            which one is the best
"""

import dataclasses
import json
import math
import os
import re
from pathlib import Path

import numpy as np

from common import provenance
from common.io import CheckpointError, listing, write_text
from common.jobs import locks
from common.training.snapshot import Best, Snapshot, read, write

RESUME = ("auto", "never")
"""Goes on from the last snapshot where there is one, or refuses a folder that has any; else it is
the path of a snapshot."""

_NAME = re.compile(r"step_(\d{6,})\.safetensors")
_LEFT_BEHIND = ".*." + "[0-9a-f]" * 8 + ".tmp"  # by `common.io.replacing`, when it was killed

# What says how long a run is and what is kept of it, and changes no number, but for schedules that
# count in them: the rate of a cosine ends with the steps, a plateau is a number of evaluations. And
# how it is computed, which changes no more than rounding.
# Runs of earlier versions may have "compiled".
_FREE = {"steps", "keep", "snapshot_every", "evaluate_every", "log_every", "recompute", "compiled"}
_COUNTS_IN = {"cosine": "steps", "plateau": "evaluate_every"}


class RunFolder:
    """The folder of one run.

    One process at a time writes to it, inside `lock()`; any may read.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 3):
        """Makes nothing yet.

        Args:
            path: The folder.
            keep: How many snapshots stay, from the last one back; the best stays besides.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1 snapshot. Received: {keep}.")
        self.path = Path(path)
        self._keep = keep

    def lock(self) -> locks.Lock:
        """Keeps other runs out while its context lasts, and removes what a killed one left.

        Raises:
            ValueError: Another run is at work here.
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
        """Writes a snapshot, all or nothing, and then removes those that need not stay.

        Args:
            snapshot: What to write; its `best` is that of the steps before.
            value: Of an evaluation of these weights, higher being better; None without one. Of
                equal ones the first stays the best.

        Returns:
            The snapshot as it was written, with the best of now.

        Raises:
            ValueError: Values are not finite.
            OSError: The disk takes no more; the snapshots before are untouched.
        """
        before = self._said_last()
        if value is not None and not math.isfinite(value):
            raise ValueError(f"the value of step {snapshot.step} is {value}, not finite; {before}.")
        if value is not None and (snapshot.best is None or value > snapshot.best.value):
            snapshot = dataclasses.replace(snapshot, best=Best(snapshot.step, value))
        wrong = [name for name, array in snapshot.arrays.items() if not np.isfinite(array).all()]
        if wrong:
            raise ValueError(
                f"step {snapshot.step}: values that are not finite in {listing(wrong)}, so the "
                f"training diverged; {before}. Try a lower learning rate, or clip gradients."
            )
        path = self._at(snapshot.step)
        try:
            write(path, snapshot)
            self._note_best(snapshot.best)
        except OSError as error:
            raise OSError(
                f"{path}: cannot be written ({error.strerror or error}); {before}. Make room, and "
                "start again with --resume=auto."
            ) from error
        self._prune(snapshot.best)
        return snapshot

    def latest(self) -> Snapshot | None:
        """The last snapshot; None where there is none.

        Raises:
            CheckpointError: It is damaged; the text names the last one that is not.
        """
        steps = self._steps()
        if not steps:
            return None
        try:
            return read(self._at(steps[-1]))
        except CheckpointError as error:
            whole = next((s for s in map(self._at, steps[-2::-1]) if _is_whole(s)), None)
            advice = (
                f"The last whole one is {whole}: remove the damaged one, and the run goes on there"
                if whole
                else "There is no other: remove it, and the run begins anew"
            )
            raise CheckpointError(f"{str(error).rstrip('.')}. {advice}.") from error

    def best(self, last: Snapshot) -> Snapshot | None:
        """The best snapshot up to the last, if it is here: the run may have begun elsewhere.

        Raises:
            CheckpointError: It is damaged.
        """
        path = self._at(last.best.step) if last.best else None
        return read(path) if path and path.exists() else None

    def resume(self, how: str, new: Snapshot, restarted: bool = False) -> Snapshot | None:
        """The snapshot to go on from; None where the run begins.

        Args:
            how: "auto", "never" or the path of a snapshot, see `RESUME`.
            new: What the run would begin with; of its arrays nothing is asked.
            restarted: Whether the run is at work already and one of its processes died, so that
                snapshots which may not be there are its own: it goes on from the last.

        Raises:
            ValueError: The snapshot is of a run that had other numbers, and all differences are
                listed; or the folder has snapshots that may not be there.
            CheckpointError: It is damaged.
            FileNotFoundError: There is no such snapshot.
        """
        steps = self._steps()
        if how == "never" and steps and not restarted:
            raise ValueError(
                f"{self.path}: has snapshots of a run, the last at step {steps[-1]}, and is not to "
                "go on with it. Use --resume=auto, or another folder."
            )
        if how in RESUME:
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
        if found is not None and (wrong := _differences(found, new)):
            raise ValueError(
                f"{path}: the run had other settings, and would not be the same run: "
                f"{'; '.join(wrong)}. Set them as they were, or use another folder."
            )
        return found

    def _at(self, step: int) -> Path:
        return self.path / "snapshots" / f"step_{step:06d}.safetensors"

    def _steps(self) -> list[int]:
        """The steps of all snapshots, in order."""
        found = (_NAME.fullmatch(path.name) for path in self._at(0).parent.glob("*.safetensors"))
        return sorted(int(name[1]) for name in found if name)

    def _said_last(self) -> str:
        steps = self._steps()
        return f"the last snapshot is {self._at(steps[-1])}" if steps else "there is none before it"

    def _note_best(self, best: Best | None) -> None:
        """Says which is the best, if it is here: the run may have begun in another folder."""
        if best and self._at(best.step).exists():
            record = {"snapshot": f"snapshots/{self._at(best.step).name}", **vars(best)}
            write_text(self.path / "best.json", provenance.to_json(record))

    def _prune(self, best: Best | None) -> None:
        for step in self._steps()[: -self._keep]:
            if best is None or step != best.step:
                self._at(step).unlink()


def _is_whole(path: Path) -> bool:
    try:
        read(path)
    except CheckpointError:
        return False
    return True


def _differences(old: Snapshot, new: Snapshot) -> list[str]:
    """What makes the runs of two snapshots different ones, a text each."""
    free = _FREE - {_COUNTS_IN.get(str(run.recipe.get("schedule"))) for run in (old, new)}
    known = {name: value for name, value in new.data.items() if name in old.data}
    # Earlier versions said less about the data.
    one, other = _settings(old), _settings(dataclasses.replace(new, data=known))
    return [
        f"{name} was {one.get(name, 'not given')}, is {other.get(name, 'not given')}"
        for name in one | other
        if name not in free and one.get(name) != other.get(name)
    ]


def _settings(run: Snapshot) -> dict[str, str]:
    """By name, as text: after JSON, a tuple is a list."""
    network = {name: getattr(run, name) for name in ("architecture", "num_classes", "in_channels")}
    data = {f"data.{name}": value for name, value in run.data.items()}
    settings = {**run.recipe, **network, **data}
    return {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
