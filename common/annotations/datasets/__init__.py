"""Data sets that can be prepared: one module each turns annotation files into records.

dataset = datasets.load("ucf101")
classes, records = dataset.read(Path("ucfTrainTestlist"), "1")
records, missing = datasets.locate(dataset, records, Path("UCF-101"))
"""

import dataclasses
import functools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import charades, hmdb51, kinetics, something_v1, ucf101, vidor
from common.annotations.datasets.dataset import Dataset
from common.io import listing
from common.video import video_files

__all__ = ["DATASETS", "NAMES", "Dataset", "check_counts", "load", "locate"]

DATASETS = {
    dataset.name: dataset
    for dataset in (
        kinetics.DATASET, ucf101.DATASET, hmdb51.DATASET, something_v1.DATASET, charades.DATASET,
        vidor.DATASET, ucf101.OWN,
    )
}  # fmt: skip

NAMES = tuple(DATASETS)


def load(name: str) -> Dataset:
    """Returns the data set called `name`; ValueError if it is unknown."""
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}. Expected one of {', '.join(NAMES)}.")
    return DATASETS[name]


def check_counts(dataset: Dataset, variant: str, records: Sequence[Record]) -> list[str]:
    """Returns a line for each subset whose clip count differs from known complete copies."""
    found = Counter(record.subset for record in records)
    lines = []
    for subset, known in dataset.counts.get(variant, {}).items():
        if found[subset] not in known:
            expected = " or ".join(f"{count:,}" for count in known)
            lines.append(f"{subset}: {found[subset]:,} clips; complete copies have {expected}")
    return lines


def locate(
    dataset: Dataset, records: Iterable[Record], folder: Path
) -> tuple[list[Record], tuple[str, ...]]:
    """Finds the videos, or folders of frames, of the clips.

    Returns:
        All records in order, with the `path` (and `start`, `end`) of the file found, or unchanged
        if there is none; and the names of those without a file.

    Raises:
        FileNotFoundError: `folder` does not exist, or has none of the clips.
        ValueError: Several files fit a record equally well.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of videos.")
    records = list(records)
    videos = functools.cache(_videos)  # a folder of frames need not be searched for videos
    located, missing = [], []
    for record in records:
        for candidate in dataset.candidates(record):
            path = _find(folder, candidate.path, videos)
            if path is not None:
                located.append(dataclasses.replace(candidate, path=path))
                break
        else:
            located.append(record)
            missing.append(record.name)
    if records and len(missing) == len(records):
        raise FileNotFoundError(
            f"none of the {len(records):,} clips of {dataset.name} is in {folder}. Looked for "
            f"{listing((record.path for record in records), 3)}. Name the folder of its videos."
        )
    return located, tuple(missing)


def _find(folder: Path, path: str, videos: Callable[[Path], dict[str, list[str]]]) -> str | None:
    """Returns the path of a video in any case and of any suffix, or of a folder of frames."""
    if not video_files.is_video(path):
        return path if (folder / path).is_dir() else None
    found = videos(folder).get(_stem(path), [])
    if path in found:
        return path
    if len(found) > 1:
        raise ValueError(
            f"{folder}: {listing(found)} all fit {path}. Keep only the right one there."
        )
    return found[0] if found else None


def _videos(folder: Path) -> dict[str, list[str]]:
    """Returns the videos in a folder by their stem."""
    found = defaultdict(list)
    for file in filter(video_files.is_video, video_files.files_under(folder)):
        path = file.relative_to(folder).as_posix()
        found[_stem(path)].append(path)
    return found


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].lower()
