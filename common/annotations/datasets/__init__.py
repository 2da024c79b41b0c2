"""Data sets that can be prepared: one module each turns annotation files into records.

dataset = datasets.load("ucf101")
records = dataset.records(Path("ucfTrainTestlist"), "1")
records, missing = datasets.locate(dataset, records, Path("UCF-101"))
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import charades, hmdb51, kinetics, something_v1, ucf101, vidor
from common.annotations.datasets.dataset import Dataset, Slip
from common.io import listing
from common.video import video_files

__all__ = ["DATASETS", "NAMES", "Dataset", "Slip", "check_counts", "load", "locate"]

DATASETS = {
    dataset.name: dataset
    for dataset in (
        kinetics.DATASET,
        ucf101.DATASET,
        hmdb51.DATASET,
        something_v1.DATASET,
        charades.DATASET,
        vidor.DATASET,
        ucf101.OWN,
    )
}

NAMES = tuple(DATASETS)


def load(name: str) -> Dataset:
    """Returns the data set called `name`; ValueError if it is unknown."""
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}. Expected one of {', '.join(NAMES)}.")
    return DATASETS[name]


def check_counts(dataset: Dataset, variant: str, records: Sequence[Record]) -> list[str]:
    """Compares the clip count of each subset with known complete copies.

    Returns:
        A line for each subset that differs.
    """
    found = Counter(record.subset for record in records)
    lines = []
    for subset, known in dataset.counts.get(variant, {}).items():
        if found[subset] not in known:
            expected = " or ".join(f"{count:,}" for count in known)
            lines.append(f"{subset}: {found[subset]:,} clips; complete copies have {expected}")
    return lines


def locate(
    dataset: Dataset, records: Iterable[Record], videos: Path
) -> tuple[list[Record], tuple[str, ...]]:
    """Finds the clips in the folder `videos`.

    Returns:
        All records in order, with the `path` (and `start`, `end`) of the file found, or unchanged
        if there is none; and the names of those without a file.

    Raises:
        FileNotFoundError: `videos` is not a folder, or has none of the clips.
        ValueError: Several files fit a record equally well.
    """
    records = list(records)
    folder = _VideoFolder(videos)
    located, missing = [], []
    for record in records:
        for candidate in dataset.candidates(record):
            path = folder.find(candidate.path)
            if path is not None:
                located.append(dataclasses.replace(candidate, path=path))
                break
        else:
            located.append(record)
            missing.append(record.name)
    if records and len(missing) == len(records):
        raise FileNotFoundError(
            f"none of the {len(records):,} clips of {dataset.name} is in {videos}. Looked for "
            f"{listing((record.path for record in records), 3)}. Name the folder of its videos."
        )
    return located, tuple(missing)


class _VideoFolder:
    """Finds videos in a folder, ignoring case and suffix."""

    def __init__(self, root: Path):
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: there is no such folder of videos.")
        self._root = root
        self._videos: dict[str, list[str]] | None = None  # lower-case stem to paths

    def find(self, path: str) -> str | None:
        """Returns the path of a video of any suffix, or of a folder of frames; None if missing.

        Raises:
            ValueError: Several files fit, none of them exactly.
        """
        if not video_files.is_video(path):
            return path if (self._root / path).is_dir() else None
        if self._videos is None:
            self._videos = {}
            for file in filter(video_files.is_video, video_files.files_under(self._root)):
                relative = file.relative_to(self._root).as_posix()
                self._videos.setdefault(_stem(relative), []).append(relative)
        found = self._videos.get(_stem(path), [])
        if len(found) <= 1:
            return found[0] if found else None
        if path in found:
            return path
        raise ValueError(
            f"{self._root}: {listing(found)} all fit {path}. Keep only the right one there."
        )


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].lower()
