"""The log of a training run.

    OUTPUT/log.jsonl      one line per entry: {"step": 500, "loss": 0.1, ...}
    OUTPUT/tensorboard    the same, and clips, for TensorBoard
    OUTPUT/curves.png     loss, learning rate and accuracy over the steps

Progress goes to stderr: a bar on a terminal, elsewhere a line a minute. Names of validation results
begin with "validation_".
"""

import contextlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import replacing
from common.video import preview

LOG, CURVES = "log.jsonl", "curves.png"

_PAUSE = 60.0  # seconds from one line of progress to the next
_VALIDATION = "validation_"

# The values that each panel of curves.png shows, in training and in validation.
_PANELS = {
    "loss": ("loss",),
    "learning rate": ("learning_rate",),
    "accuracy": ("accuracy", "mean_average_precision"),
}

# The values that the progress shows.
_SHOWN = {
    "loss": "loss {:.4g}",
    "learning_rate": "rate {:.3g}",
    "data_wait": "{:.0%} waiting for data",
    "validation_accuracy": "validation accuracy {:.1%}",
    "validation_mean_average_precision": "validation mAP {:.1%}",
}

_Points = list[tuple[int, float]]


class MetricsLogger:
    """Logs a run; a context manager.

    A run that is resumed drops the entries of later steps, which are logged again.
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
            folder: Folder of the run.
            total_steps: Steps of the whole run.
            resume_step: Steps done before.
            tensorboard: Whether to write TensorBoard's files.

        Raises:
            ImportError: tensorboardX is not installed, and `tensorboard` is true.
            ValueError: log.jsonl is damaged.
            OSError: The folder cannot be written.
        """
        from tqdm import tqdm

        self._path = Path(folder) / LOG
        self._path.parent.mkdir(parents=True, exist_ok=True)
        events = Path(folder) / "tensorboard"
        self._events = _Events(events, resume_step + 1) if tensorboard else None
        _drop_later(self._path, resume_step)
        self._log = self._path.open("ab", buffering=0)  # a full disk shows in the call that fails
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total_steps, initial=resume_step, desc="train", unit="step", dynamic_ncols=True,
            smoothing=0.1, disable=not self._terminal,
        )  # fmt: skip
        self._total, self._first, self._step = total_steps, resume_step, resume_step
        self._values: dict[str, float] = {}
        self._start, self._said = time.monotonic(), -math.inf

    def __enter__(self) -> "MetricsLogger":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._log.close()
        if self._events:
            with contextlib.suppress(OSError) if error[0] else contextlib.nullcontext():
                self._events.close()

    def advance(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Shows progress and the latest values without logging them."""
        self._values.update(values or {})
        self._bar.set_postfix_str(self._summary(), refresh=False)
        self._bar.update(step - self._step)
        self._step = step
        if not self._terminal and time.monotonic() - self._said >= _PAUSE:
            self._said = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values after `step` steps; one that is not finite becomes null in log.jsonl.

        Raises:
            OSError: The disk is full.
        """
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        line = json.dumps({"step": step, **finite}).encode() + b"\n"
        with _writing(self._path):
            while line:  # the rest of what a full disk took in part raises the error
                line = line[self._log.write(line) :]
        if self._events:
            self._events.scalars(step, numbers)
        self.advance(step, numbers)

    def clip(self, step: int, name: str, clip: NDArray[Any], fps: float = 25) -> None:
        """Shows a moving clip in TensorBoard.

        Args:
            step: Steps done.
            name: Its tag.
            clip: [T, H, W, C]: RGB as uint8, or as float32 in [-1, 1], or flow in [-1, 1].
            fps: Frames a second.
        """
        if self._events is None:
            return
        if clip.dtype == np.uint8:
            clip = clip.astype(np.float32) / 127.5 - 1
        with tempfile.TemporaryDirectory() as folder:
            preview.write_gif(path := Path(folder) / "clip.gif", clip, fps)
            self._events.gif(step, name, path.read_bytes(), *clip.shape[1:3])

    def _summary(self) -> str:
        known = (name for name in _SHOWN if name in self._values)
        return ", ".join(_SHOWN[name].format(self._values[name]) for name in known)

    def _line(self) -> str:
        from tqdm import tqdm

        line = f"train: {self._step} of {self._total} steps"
        if summary := self._summary():
            line += f", {summary}"
        done, seconds = self._step - self._first, self._said - self._start
        if not (done and seconds):
            return line
        left = tqdm.format_interval(seconds / done * (self._total - self._step))
        return f"{line}, {done / seconds:.2g} steps a second, {left} left"


class _Events:
    """A TensorBoard file; files of earlier processes stay.

    tensorboardX's SummaryWriter writes in a thread, which ends when the disk is full, and the
    training waits for it forever; this writes at once.
    """

    def __init__(self, folder: Path, first_step: int):
        """Begins by voiding the entries from `first_step` on of earlier files."""
        try:
            from tensorboardX import event_file_writer
            from tensorboardX.proto import event_pb2, summary_pb2
        except ImportError as error:
            raise ImportError(
                "TensorBoard's files need tensorboardX: pip install 'i3d[torch]' or 'i3d[tf]', or "
                "do without them (--notensorboard)."
            ) from error
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with _writing(folder):  # TensorBoard reads files in the order of their names
            name = str(folder / "events")
            self._file = event_file_writer.EventsWriter(name, f".{time.time_ns()}")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        rows = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write(step=step, summary=self._summary(value=rows))

    def gif(self, step: int, tag: str, encoded: bytes, height: int, width: int) -> None:
        size = {"height": height, "width": width, "colorspace": 3}
        rows = [{"tag": tag, "image": {**size, "encoded_image_string": encoded}}]
        self._write(step=step, summary=self._summary(value=rows))

    def close(self) -> None:
        with _writing(self._folder):
            self._file.close()

    def _write(self, **content: Any) -> None:
        with _writing(self._folder):
            self._file.write_event(self._event(wall_time=time.time(), **content))
            self._file.flush()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Names the file in an error, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error}).") from error


def curves(folder: str | os.PathLike[str]) -> Path:
    """Draws curves.png from log.jsonl, atomically; returns its path.

    Raises:
        ImportError: matplotlib is not installed.
        FileNotFoundError: There is no log.
        ValueError: The log is damaged, or has nothing to draw.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "curves need matplotlib: pip install 'i3d[torch]' or 'i3d[tf]'."
        ) from error
    log = Path(folder) / LOG
    lines = log.read_bytes().splitlines()
    entries = [_parsed(log, k, line) for k, line in enumerate(lines, 1)]
    panels = {title: _series(entries, names) for title, names in _PANELS.items()}
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        raise ValueError(f"{log}: has no {', '.join(_PANELS)} to draw.")
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


def _drop_later(path: Path, step: int) -> None:
    """Drops the entries of later steps from a log, and a line that was cut off."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    kept = [line for k, line in enumerate(whole, 1) if _parsed(path, k, line)["step"] <= step]
    if kept != lines:
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(kept))


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if isinstance(entry, dict) and isinstance(entry["step"], int):
            return entry
        raise ValueError("no object with a step")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: line {number} is no entry of a training log ({error}). Mend or remove it."
        ) from error


def _series(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, _Points]:
    """Steps and values by name, of those that were logged."""
    found: dict[str, _Points] = {}
    for name in (*names, *(_VALIDATION + name for name in names)):
        points = [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]
        if points:
            found[name] = points
    return found


def _draw(axis: Any, title: str, series: Mapping[str, _Points]) -> None:
    """One panel: training as a line, validation as dots."""
    for k, (name, points) in enumerate(series.items()):
        style = f"C{k or 1}o-" if name.startswith(_VALIDATION) else "C0"
        axis.plot(*zip(*points, strict=True), style, markersize=4, label=name.replace("_", " "))
    numbers = [value for points in series.values() for _, value in points]
    if title == "accuracy":
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter("{x:.0%}")
    elif min(numbers) > 0 and max(numbers) > 10 * min(numbers):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylabel(title)
    axis.grid(alpha=0.3)
    axis.legend()
