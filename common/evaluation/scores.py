"""Scores of the videos of a data set, and the file that keeps them, to be fused later.

The file is a .npz without pickle. Row i of the arrays `names`, `labels` and `logits` belongs to one
video; labels of frames add `frame_counts`, `frame_labels` and `frame_logits`; `about` is a JSON
text with the rest.
"""

import dataclasses
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import listing, replacing

_FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class FrameScores:
    """Scores of frames or other moments, video by video.

    Attributes:
        counts: [N] int64, the number of rows of each video.
        labels: [R, K] uint8, 1 where a class applies.
        logits: [R, K] float32.
    """

    counts: NDArray[np.int64]
    labels: NDArray[np.uint8]
    logits: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a data set by one network, or by several that are fused.

    Attributes:
        classes: Names, in the order of the logits.
        names: The N videos that were scored, in the order of the annotations.
        labels: [N] int64, one class each; or [N, K] uint8, 1 where a class applies.
        logits: [N, K] float32, whose softmax are the protocol's probabilities.
        origins: How the scores of each stream were made, as JSON.
        failures: Name to reason, for the videos without scores.
        frames: Scores of frames, if these have labels.
        fusion: How streams were fused, if they were.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[Any]
    logits: NDArray[np.float32]
    origins: tuple[Mapping[str, object], ...] = ()
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    frames: FrameScores | None = None
    fusion: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        count, classes = len(self.names), len(self.classes)
        labels = [count] if self.frames is None else [count, classes]
        shapes = {"labels": (self.labels, labels), "logits": (self.logits, [count, classes])}
        if self.frames is not None:
            rows = [int(self.frames.counts.sum()), classes]
            shapes["frame counts"] = (self.frames.counts, [count])
            shapes["frame labels"] = (self.frames.labels, rows)
            shapes["frame logits"] = (self.frames.logits, rows)
        for what, (array, expected) in shapes.items():
            if list(array.shape) != expected:
                raise ValueError(f"{what}: expected {expected}. Received: {list(array.shape)}.")
        if self.frames is None and not ((self.labels >= 0) & (self.labels < classes)).all():
            raise ValueError(f"labels: expected 0 to {classes - 1}.")
        logits = [self.logits] if self.frames is None else [self.logits, self.frames.logits]
        if not all(np.isfinite(array).all() for array in logits):
            raise ValueError("logits must be finite. Check the weights.")
        twice = len(set(self.names)) < count
        if twice or set(self.names) & set(self.failures):
            raise ValueError("a video is there twice; names must be unique.")

    @property
    def expected(self) -> int:
        """The number of videos in the split, failures included."""
        return len(self.names) + len(self.failures)


def write(path: str | os.PathLike[str], scores: Scores) -> None:
    """Writes a file of scores atomically."""
    arrays: dict[str, NDArray[Any]] = {
        "names": np.array(scores.names, np.str_),
        "labels": scores.labels,
        "logits": scores.logits,
    }
    if scores.frames is not None:
        arrays["frame_counts"] = scores.frames.counts
        arrays["frame_labels"] = scores.frames.labels
        arrays["frame_logits"] = scores.frames.logits
    about = {
        "format_version": _FORMAT_VERSION,
        "classes": scores.classes,
        "origins": scores.origins,
        "failures": scores.failures,
        "fusion": scores.fusion,
    }
    text = json.dumps(about, allow_nan=False)  # ASCII: odd bytes of names are escaped
    arrays["about"] = np.frombuffer(text.encode(), np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read(path: str | os.PathLike[str]) -> Scores:
    """Reads what `write` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no scores, is damaged, or has another version.
    """
    path = Path(path)
    try:
        arrays = _arrays(path)
        about = json.loads(arrays["about"].tobytes())
        if about["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"it has version {about['format_version']}, not {_FORMAT_VERSION}")
        framed = "frame_counts" in arrays
        return Scores(
            classes=tuple(about["classes"]),
            names=tuple(map(str, arrays["names"])),
            labels=_of(arrays, "labels", "u1" if framed else "i8"),
            logits=_of(arrays, "logits", "f4"),
            origins=tuple(about["origins"]),
            failures=about["failures"],
            frames=FrameScores(
                _of(arrays, "frame_counts", "i8"),
                _of(arrays, "frame_labels", "u1"),
                _of(arrays, "frame_logits", "f4"),
            )
            if framed
            else None,
            fusion=about["fusion"],
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there are no such scores. `evaluate` makes them.") from (
            error
        )
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected scores that `evaluate` or `fuse` wrote. They cannot be read "
            f"({error}). Make them again."
        ) from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    content = np.load(path, allow_pickle=False)
    if not isinstance(content, np.lib.npyio.NpzFile):
        raise ValueError("it is one array")
    with content:
        missing = {"names", "labels", "logits", "about"} - {*content.files}
        if missing:
            raise ValueError(f"it has no {listing(missing)}")
        return {name: content[name] for name in content.files}


def _of(arrays: dict[str, NDArray[Any]], name: str, dtype: str) -> NDArray[Any]:
    array = arrays[name]
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"{name} is of {array.dtype}, not {np.dtype(dtype)}")
    return array
