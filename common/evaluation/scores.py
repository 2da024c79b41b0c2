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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.io import replacing

_FORMAT_VERSION = 1
_ARRAYS = ("labels", "logits")
_FRAME_ARRAYS = ("counts", "labels", "logits")
_ABOUT = ("classes", "origins", "failures", "fusion")


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
        count, classes, frames = len(self.names), len(self.classes), self.frames
        _check("logits", self.logits, "f4", (count, classes))
        if frames is None:
            _check("labels", self.labels, "i8", (count,), classes - 1)
        else:
            rows = int(frames.counts.sum())
            _check("labels", self.labels, "u1", (count, classes), 1)
            _check("frame counts", frames.counts, "i8", (count,), rows)
            _check("frame labels", frames.labels, "u1", (rows, classes), 1)
            _check("frame logits", frames.logits, "f4", (rows, classes))
        if len(set(self.names)) < count or set(self.names) & set(self.failures):
            raise ValueError("a video is there twice; names must be unique.")

    @property
    def expected(self) -> int:
        """The number of videos in the split, failures included."""
        return len(self.names) + len(self.failures)


def _check(
    what: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...], most: int | None = None
) -> None:
    """Refuses an array of another type or shape, beyond 0 to `most`, or that is not finite."""
    if array.dtype != np.dtype(dtype) or array.shape != shape:
        raise ValueError(
            f"{what}: expected {np.dtype(dtype)} {list(shape)}. "
            f"Received: {array.dtype} {list(array.shape)}."
        )
    if most is None and not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite. Check the weights.")
    if most is not None and not ((array >= 0) & (array <= most)).all():
        raise ValueError(f"{what}: expected 0 to {most}.")


def write(path: str | os.PathLike[str], scores: Scores) -> None:
    """Writes a file of scores atomically."""
    arrays = {"names": np.array(scores.names, np.str_)}
    arrays |= {name: getattr(scores, name) for name in _ARRAYS}
    if scores.frames is not None:
        arrays |= {f"frame_{name}": getattr(scores.frames, name) for name in _FRAME_ARRAYS}
    about = {name: getattr(scores, name) for name in _ABOUT} | {"format_version": _FORMAT_VERSION}
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
    try:
        return _parsed(np.load(path, allow_pickle=False))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there are no such scores. `evaluate` makes them.") from (
            error
        )
    except (
        ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path}: expected scores that `evaluate` or `fuse` wrote. They cannot be read "
            f"({error}). Make them again."
        ) from error


def _parsed(content: Any) -> Scores:
    with content:  # an array alone is an AttributeError or TypeError
        arrays = {name: content[name] for name in content.files}
    about: dict[str, Any] = json.loads(arrays["about"].tobytes())
    if (version := about.pop("format_version")) != _FORMAT_VERSION:
        raise ValueError(f"it has version {version}, not {_FORMAT_VERSION}")
    about |= {name: tuple(about[name]) for name in ("classes", "origins")}
    about |= {name: arrays[name] for name in _ARRAYS}
    frames = None
    if "frame_counts" in arrays:
        frames = FrameScores(**{name: arrays[f"frame_{name}"] for name in _FRAME_ARRAYS})
    return Scores(names=tuple(map(str, arrays["names"])), frames=frames, **about)
