"""The log of a training run: log.jsonl, the same for TensorBoard, curves.png, and progress."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import replacing
from common.jobs.parallel import Progress
from common.video import preview

LOG = "log.jsonl"
# The values that each panel of curves.png shows, in training and in validation.
_PANELS = {
    "loss": ("loss", "validation_loss"),
    "learning rate": ("learning_rate",),
    "accuracy": ("accuracy", "validation_accuracy", "validation_mean_average_precision"),
}
_SHOWN = ("loss", "learning_rate", "data_wait", *_PANELS["accuracy"][1:])  # by the progress


class MetricsLogger:
    """Logs a run; a context manager. It writes at once, as a thread would end at a full disk."""

    def __init__(self, folder: Path, total: int, done: int = 0, tensorboard: bool = True):
        """Opens the files of a run of `total` steps, and drops the entries after `done` steps."""
        self._log, self._events, self._values = folder / LOG, None, dict[str, float]()
        lines = [json.dumps(entry) for entry in read(folder) if entry["step"] <= done]
        with replacing(self._log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))
        if tensorboard:
            from tensorboardX.event_file_writer import EventsWriter

            (folder / "tensorboard").mkdir(exist_ok=True)
            # TensorBoard reads files in the order of their names.
            self._events = EventsWriter(str(folder / "tensorboard/events"), f".{time.time_ns()}")
            self._write_event(done + 1, session_log={"status": "START"})
        self._bar = Progress("train", total, "steps", done)

    def __enter__(self) -> "MetricsLogger":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._events:
            self._events.close()

    def advance(self, step: int, values: Mapping[str, float]) -> None:
        """Shows progress and the latest values without logging them."""
        self._values.update(values)
        known = (f"{name} {self._values[name]:.3g}" for name in _SHOWN if name in self._values)
        self._bar.show(step, ", ".join(known))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values after `step` steps; raises `OSError` where the disk is full."""
        with self._log.open("a") as log:
            log.write(json.dumps({"step": step, **values}) + "\n")
        rows = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write_event(step, summary={"value": rows})
        self.advance(step, values)

    def clip(self, step: int, name: str, clip: NDArray[Any]) -> None:
        """Shows a clip, [T, H, W, C] of uint8 RGB or flow in [-1, 1], moving in TensorBoard."""
        if self._events is None:
            return
        if clip.dtype == np.uint8:
            clip = clip.astype(np.float32) / 127.5 - 1
        with tempfile.TemporaryDirectory() as folder:
            preview.write_gif(path := Path(folder) / "clip.gif", clip)
            gif = path.read_bytes()
        height, width = clip.shape[1:3]
        picture = {"encoded_image_string": gif, "height": height, "width": width, "colorspace": 3}
        self._write_event(step, summary={"value": [{"tag": name, "image": picture}]})

    def _write_event(self, step: int, **content: Any) -> None:
        if self._events:
            from tensorboardX.proto.event_pb2 import Event

            self._events.write_event(Event(wall_time=time.time(), step=step, **content))
            self._events.flush()


def read(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run's log; a line that was cut off is none."""
    path = folder / LOG
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}). Mend or remove it.") from error


def curves(folder: Path) -> Path | None:
    """Draws curves.png from the log; None where there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points: dict[str, list[tuple[int, float]]] = {}
    for entry in read(folder):
        for name, value in entry.items():
            points.setdefault(name, []).append((entry["step"], value))
    panels = {title: [x for x in names if x in points] for title, names in _PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    if not panels:
        return None
    figure = Figure(figsize=(9, 3 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:  # training as a line, validation as dots
            style = "C1o-" if name.startswith("validation_") else "C0"
            axis.plot(*zip(*points[name], strict=True), style, markersize=4, label=name)
            axis.legend()
        axis.set_yscale("linear" if title == "accuracy" else "log")
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    path = folder / "curves.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
