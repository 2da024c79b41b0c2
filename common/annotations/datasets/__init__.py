"""Data sets that can be prepared: one module each turns annotation files into records."""

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from common.annotations import SUBSETS, Record
from common.annotations.datasets import charades, kinetics, lists, vidor
from common.annotations.datasets.dataset import Dataset
from common.io import listing
from common.video import video_files

__all__ = ["DATASETS", "NAMES", "Dataset", "check_counts", "locate"]

DATASETS = {
    each.name: each for each in (kinetics.DATASET, *lists.ROWS, charades.DATASET, vidor.DATASET)
}

NAMES = tuple(DATASETS)


def check_counts(dataset: Dataset, variant: str, records: Sequence[Record]) -> list[str]:
    """Returns a line for each subset whose clip count differs from known complete copies."""
    found = Counter(record.subset for record in records)
    return [
        f"{subset}: {found[subset]:,} clips; complete copies have "
        f"{' or '.join(f'{count:,}' for count in known)}"
        for subset, known in zip(SUBSETS, dataset.counts.get(variant, ()), strict=False)
        if known and found[subset] not in known
    ]


def locate(
    dataset: Dataset, records: Iterable[Record], folder: Path
) -> tuple[list[Record], tuple[str, ...]]:
    """Finds the videos, or folders of frames, of the clips.

    Returns all records in order, with the `path` (and `start`, `end`) of the file found, or
    unchanged if there is none; and the names of those without a file. Raises `FileNotFoundError`
    for a folder with none of the clips, `ValueError` if several files fit a record equally well.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of videos.")
    records = list(records)
    videos = functools.cache(_videos)  # a folder of frames need not be searched for videos
    located, missing = [], []
    for record in records:
        tried = ((each, _find(folder, each.path, videos)) for each in dataset.candidates(record))
        found = next((replace(each, path=path) for each, path in tried if path), None)
        located.append(found or record)
        if found is None:
            missing.append(record.name)
    if records and len(missing) == len(records):
        raise FileNotFoundError(
            f"none of the {len(records):,} clips of {dataset.name} is in {folder}. Looked for "
            f"{listing((record.path for record in records), 3)}. Name the folder of its videos."
        )
    return located, tuple(missing)


def _find(folder: Path, path: str, videos: Callable[[Path], dict[str, list[str]]]) -> str | None:
    """The path of a video in any case and of any suffix, or of a folder of frames."""
    if not video_files.is_video(path):
        return path if (folder / path).is_dir() else None
    found = videos(folder).get(_stem(path), [])
    if len(found) > 1 and path not in found:
        raise ValueError(f"{folder}: {listing(found)} all fit {path}. Keep only the right one.")
    return path if path in found else next(iter(found), None)


def _videos(folder: Path) -> dict[str, list[str]]:
    """The videos in a folder by their stem."""
    found = defaultdict(list)
    for file in filter(video_files.is_video, video_files.files_under(folder)):
        path = file.relative_to(folder).as_posix()
        found[_stem(path)].append(path)
    return found


def _stem(path: str) -> str:
    return os.path.splitext(path)[0].lower()
