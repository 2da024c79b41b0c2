"""Scores of the videos of a data set, and the file that keeps them, to be fused later.

The file is a .npz without pickle: row i of `names`, `labels` and `logits` belongs to one video;
labels of frames add `frame_counts`, `frame_labels` and `frame_logits`; `about` is JSON, the rest.
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
    """Scores of frames or other moments, video by video."""

    counts: NDArray[np.int64]  # [N], the number of rows of each video
    labels: NDArray[np.uint8]  # [R, K], 1 where a class applies
    logits: NDArray[np.float32]  # [R, K]


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a data set by one network, or by several that are fused."""

    classes: tuple[str, ...]  # in the order of the logits
    names: tuple[str, ...]  # of the videos that were scored, in the order of the annotations
    labels: NDArray[Any]  # [N] int64, one class each; or [N, K] uint8, 1 where a class applies
    logits: NDArray[np.float32]  # [N, K], whose softmax are the protocol's probabilities
    origins: tuple[Mapping[str, object], ...] = ()  # how each stream's were made, as JSON
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name to reason
    frames: FrameScores | None = None  # if these have labels
    fusion: Mapping[str, object] | None = None  # how streams were fused

    def __post_init__(self) -> None:
        """Raises `ValueError` for arrays that do not fit each other, or are not finite."""
        count, classes, frames = len(self.names), len(self.classes), self.frames
        rows = int(frames.counts.sum()) if frames else 0
        shapes = {"labels": (count, classes) if frames else (count,), "logits": (count, classes)}
        frame_shapes = {"counts": (count,), "labels": (rows, classes), "logits": (rows, classes)}
        for of, wanted in ((self, shapes), (frames, frame_shapes)):
            for name, shape in wanted.items() if of else ():
                array = getattr(of, name)
                if array.shape != shape or not np.isfinite(array).all():
                    raise ValueError(f"{name}: expected finite numbers {list(shape)}.")
        if self.labels.min() < 0 or self.labels.max() >= (2 if frames else classes):
            raise ValueError(f"labels: expected those of {classes} classes.")
        if len(set(self.names)) < count or set(self.names) & set(self.failures):
            raise ValueError("a video is there twice; names must be unique.")

    @property
    def expected(self) -> int:
        """The number of videos in the split, failures included."""
        return len(self.names) + len(self.failures)


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
    """Reads what `write` wrote; `ValueError` if it is damaged, of a later version or no scores."""
    try:
        with np.load(path, allow_pickle=False) as content:  # TypeError: an array alone
            arrays = {name: content[name] for name in content.files}
        about: dict[str, Any] = json.loads(arrays["about"].tobytes())
        if about.pop("format_version") != _FORMAT_VERSION:
            raise ValueError("a later version")
        about |= {name: tuple(about[name]) for name in ("classes", "origins")}
        about |= {name: arrays[name] for name in _ARRAYS}
        if "frame_counts" in arrays:
            about["frames"] = FrameScores(*(arrays[f"frame_{name}"] for name in _FRAME_ARRAYS))
        return Scores(names=tuple(map(str, arrays["names"])), **about)
    except (
        ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        # NumPy's texts speak of pickles, which nobody should be led to allow.
        raise ValueError(
            f"{path}: expected scores that `evaluate` or `fuse` wrote, of format version "
            f"{_FORMAT_VERSION}. The file is damaged or holds something else: make it again."
        ) from error
