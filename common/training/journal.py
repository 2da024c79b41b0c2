"""What can be seen of a training run, while it goes on and afterwards.

    OUTPUT/log.jsonl      a line for each note: {"step": 500, "loss": 0.1, ...}
    OUTPUT/tensorboard    the same, and clips, for TensorBoard
    OUTPUT/curves.png     loss, learning rate and accuracy over the steps

and a bar on a terminal, or a line now and then in a log. Names of values are those of training,
or begin with "validation_".
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import replacing
from common.training._event_file import EventFile, append
from common.video import preview

LOG, CURVES = "log.jsonl", "curves.png"

_NAME = "train"  # what the bar and the lines begin with
_PAUSE = 60.0  # seconds between two lines in a log
_VALIDATION = "validation_"

# What is drawn together, each also of validation.
_PANELS = {
    "loss": ("loss",),
    "learning rate": ("learning_rate",),
    "accuracy": ("accuracy", "top_5_accuracy", "mean_average_precision"),
}
_LONG = 100  # notes, from which on a mean is drawn

_Points = list[tuple[int, float]]


class Journal:
    """Writes down a run; a context manager.

    Where a run goes on from a snapshot, what was noted of later steps is dropped: it comes again.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        total_steps: int,
        resume_step: int = 0,
        tensorboard: bool = True,
    ):
        """Opens the files.

        Args:
            folder: Of the run.
            total_steps: Of the whole run.
            resume_step: Steps that were done before.
            tensorboard: Whether to write for TensorBoard.

        Raises:
            ImportError: TensorBoard is wanted, and tensorboardX is not installed.
            ValueError: log.jsonl is damaged.
            OSError: The folder cannot be written.
        """
        from tqdm import tqdm

        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = _continued(self._folder / LOG, resume_step)
        self._events = (
            EventFile(self._folder / "tensorboard", resume_step + 1) if tensorboard else None
        )
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total_steps, initial=resume_step, desc=_NAME, unit="step", dynamic_ncols=True,
            smoothing=0.1, disable=not self._terminal,
        )  # fmt: skip
        self._total, self._first = total_steps, resume_step
        self._step, self._shown = resume_step, ""
        self._start = self._said = time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._log.close()
        if self._events:
            self._events.close()

    def advance(self, step: int) -> None:
        """Shows that `step` steps are done."""
        self._bar.update(step - self._step)
        self._step = step
        if not self._terminal and time.monotonic() - self._said >= _PAUSE:
            self._said = time.monotonic()
            print(self._line(self._said - self._start), file=sys.stderr, flush=True)

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values down, after `step` steps; one that is not finite becomes null in the log.

        The bar shows loss, learning_rate and data_wait (the share of time spent waiting for data).

        Raises:
            OSError: The disk takes no more.
        """
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        append(self._log, json.dumps({"step": step, **finite}).encode() + b"\n")
        if self._events:
            self._events.scalars(step, numbers)
        self._shown = _summary(numbers) or self._shown
        self._bar.set_postfix_str(self._shown, refresh=False)
        self.advance(step)

    def clip(self, step: int, name: str, clip: NDArray[Any], fps: float = 25) -> None:
        """Shows a clip in TensorBoard, where it moves.

        Args:
            step: Steps that are done.
            name: What it is called there.
            clip: [T, H, W, C]: RGB as uint8, or as float32 in [-1, 1], or flow in [-1, 1].
            fps: Frames a second.
        """
        if self._events is None:
            return
        if clip.dtype == np.uint8:
            clip = clip.astype(np.float32) / 127.5 - 1
        with tempfile.TemporaryDirectory() as folder:
            preview.write_gif(path := Path(folder) / "clip.gif", clip, fps)
            self._events.picture(step, name, path.read_bytes(), *clip.shape[1:3])

    def _line(self, seconds: float) -> str:
        from tqdm import tqdm

        line = f"{_NAME}: {self._step} of {self._total} steps"
        if self._shown:
            line += f", {self._shown}"
        done = self._step - self._first
        if not (done and seconds):
            return line
        left = tqdm.format_interval(seconds / done * (self._total - self._step))
        return f"{line}, {done / seconds:.2g} steps a second, {left} left"


def read_log(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """What was noted, in order: each a "step" and values by name, None where not finite.

    Raises:
        FileNotFoundError: There is no log.
        ValueError: A line is damaged.
    """
    path = Path(folder) / LOG
    return [_parsed(path, k, line) for k, line in enumerate(path.read_bytes().splitlines(), 1)]


def curves(folder: str | os.PathLike[str]) -> Path:
    """Draws curves.png of what was noted, all or nothing; returns its path.

    Raises:
        ImportError: matplotlib is not installed.
        FileNotFoundError: There is no log.
        ValueError: The log is damaged, or says nothing that could be drawn.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "curves need matplotlib: pip install 'i3d[torch]' or 'i3d[tf]'."
        ) from error
    notes = read_log(folder)
    panels = {title: _series(notes, names) for title, names in _PANELS.items()}
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        raise ValueError(f"{Path(folder) / LOG}: says nothing of {', '.join(_PANELS)} to draw.")
    figure = Figure(figsize=(9, 3 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        _draw(axis, title, series)
    axes[-1].set_xlabel("step")
    figure.align_ylabels(axes)
    path = Path(folder) / CURVES
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _continued(path: Path, step: int) -> FileIO:
    """The log, open at its end, without the lines of later steps."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]  # the last may have been cut off
    kept = [line for k, line in enumerate(whole, 1) if _parsed(path, k, line)["step"] <= step]
    if kept != lines:
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(kept))
    return path.open("ab", buffering=0)


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        note = json.loads(line)
        if isinstance(note, dict) and isinstance(note["step"], int):
            return note
        raise ValueError("no object with a step")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: line {number} is no note of a training run ({error}). Mend or remove it."
        ) from error


def _summary(values: Mapping[str, float]) -> str:
    """What the bar shows of the values of a step."""
    texts = []
    if "loss" in values:
        texts.append(f"loss {values['loss']:.4g}")
    if "learning_rate" in values:
        texts.append(f"rate {values['learning_rate']:.3g}")
    if "data_wait" in values:
        texts.append(f"{values['data_wait']:.0%} waiting for data")
    return ", ".join(texts)


def _series(notes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, _Points]:
    """Steps and values by name, of those that were noted."""
    found: dict[str, _Points] = {}
    for name in (*names, *(_VALIDATION + name for name in names)):
        points = [(note["step"], note[name]) for note in notes if note.get(name) is not None]
        if points:
            found[name] = points
    return found


def _draw(axis: Any, title: str, series: Mapping[str, _Points]) -> None:
    """One panel: training as a line, with its mean where it is long, and validation as dots."""
    for k, (name, points) in enumerate(series.items()):
        steps, values = np.array(points, np.float64).T
        label = name.replace("_", " ")
        if name.startswith(_VALIDATION):
            axis.plot(steps, values, f"C{k or 1}o-", markersize=4, label=label)
        elif len(values) < _LONG or title == "learning rate":
            axis.plot(steps, values, "C0", label=f"training {label}")
        else:
            width = len(values) // 25
            mean = np.convolve(values, np.ones(width) / width, "valid")
            first = (width - 1) // 2
            axis.plot(steps, values, "C0", alpha=0.3, linewidth=0.8)
            label = f"training {label}, mean of {width} notes"
            axis.plot(steps[first : first + len(mean)], mean, "C0", label=label)
    numbers = [value for points in series.values() for _, value in points]
    if title == "accuracy":
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter("{x:.0%}")
    elif min(numbers) > 0 and max(numbers) > 10 * min(numbers):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylabel(title)
    axis.grid(alpha=0.3)
    if title != "learning rate":
        axis.legend()
