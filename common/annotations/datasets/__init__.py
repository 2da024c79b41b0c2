"""The data sets that can be prepared: a module each, which turns its annotation files into records.

dataset = datasets.load("ucf101")
records = dataset.records(Path("ucfTrainTestlist"), "1")
records, missing = datasets.locate(dataset, records, Path("UCF-101"))
"""

import dataclasses
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from common.annotations import Record
from common.annotations.datasets import _files
from common.io import listing

# Modules of this package, each with a `DATASET`; imported when asked for.
NAMES = ("kinetics", "ucf101", "hmdb51", "something_v1", "charades", "vidor", "own")


@dataclasses.dataclass(frozen=True)
class Slip:
    """Something odd in a data set that is kept as it is, because others have it so.

    Attributes:
        text: One sentence for people.
        met: Whether a record shows it.
    """

    text: str
    met: Callable[[Record], bool]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What is known of a data set, and how its annotation files are read.

    Attributes:
        name: As in `NAMES`.
        title: As its authors write it.
        homepage: Where annotations and videos are found; empty of the user's own.
        citation: Of the paper: authors, title, where, year; empty where there is none.
        licence: What is known of the terms of use; empty where nothing is.
        variant: What its variants are: "fold", "version", "order"; empty where there is but one.
        variants: Their names, the usual one first; ("",) where there is but one.
        records: From the folder of annotations and a variant to records, in the files' order.
            Paths are those of the published archive. Raises FileNotFoundError for a wrong folder,
            ValueError for a malformed row.
        classes: From the same to the names of the classes, in the order of the labels.
        class_counts: Variant to number of classes, where known.
        counts: Variant to subset to the numbers of clips in the copies that are known, the
            original's first.
        slips: What is odd in it.
        candidates: From a record to the forms in which it may lie in a user's folder, the
            preferred first. A path with the suffix of a video stands for any such suffix, in any
            case; one without is a folder of frames.
    """

    name: str
    title: str
    homepage: str
    citation: str
    records: Callable[[Path, str], list[Record]]
    classes: Callable[[Path, str], tuple[str, ...]]
    licence: str = ""
    variant: str = ""
    variants: tuple[str, ...] = ("",)
    class_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, Mapping[str, tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    slips: tuple[Slip, ...] = ()
    candidates: Callable[[Record], Iterable[Record]] = lambda record: (record,)


def load(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no data set {name!r}. Expected one of {', '.join(NAMES)}.")
    dataset = importlib.import_module(f"common.annotations.datasets.{name}").DATASET
    if not isinstance(dataset, Dataset):
        raise TypeError(f"common.annotations.datasets.{name}.DATASET is no Dataset.")
    return dataset


def locate(
    dataset: Dataset, records: Iterable[Record], videos: Path
) -> tuple[list[Record], tuple[str, ...]]:
    """Finds the clips under `videos`.

    Returns:
        All records in their order, with `path` (and `start`, `end`) of what is really there, or
        as they were where nothing is; and the names of those.

    Raises:
        FileNotFoundError: `videos` is no folder, or has none of the clips.
        ValueError: Several files fit one record equally well.
    """
    records = list(records)
    folder = _files.VideoFolder(videos)
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
            f"none of the {len(records):,} clips of {dataset.name} is under {videos}, looked for "
            f"{listing((record.path for record in records), 3)}. Name the folder of its videos."
        )
    return located, tuple(missing)


def check_counts(dataset: Dataset, variant: str, records: Sequence[Record]) -> list[str]:
    """Compares the clips of each subset with what is known of complete copies; a line each."""
    found = Counter(record.subset for record in records)
    lines = []
    for subset, known in dataset.counts.get(variant, {}).items():
        if found[subset] not in known:
            expected = " or ".join(f"{count:,}" for count in known)
            lines.append(f"{subset}: {found[subset]:,} clips; complete copies have {expected}")
    return lines
