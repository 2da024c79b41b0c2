"""Kinetics-400, 600 and 700: ten-second clips from YouTube, one class each.

W. Kay et al., arXiv:1705.06950; J. Carreira et al., arXiv:1808.01340 (600) and arXiv:1907.06987
(700); L. Smaira et al., arXiv:2010.10864 (700-2020). Annotations are CC BY 4.0; videos have the
terms of their owners on YouTube. https://github.com/cvdfoundation/kinetics-dataset

The annotations are CSV files with a header, in three forms: `kinetics-400_train.csv` of
ActivityNet's crawler, `train.csv` of CVDF, and `train.csv` with `validate.csv` of DeepMind's
archive. Test lists may have labels. A clip is named `CLASS/ID_SSSSSS_EEEEEE`, with its start and
end in seconds within the YouTube video; without a label its folder is `test`.

Videos may be trimmed (one file a clip, in class folders or flat) or whole (`ID.mp4`; the record
then has start and end).
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset

_MAPS = {"400": label_maps.KINETICS_400, "600": label_maps.KINETICS_600}

# Rows of the crawler's lists, and of CVDF's lists and videos; the rest from FiftyOne's page.
_COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "400": {
        "training": (246_534, 240_258),
        "validation": (19_906, 19_881),
        "testing": (38_685, 39_805),
    },
    "600": {
        "training": (392_622, 427_549),
        "validation": (30_000, 29_793),
        "testing": (72_924,),
    },
    "700": {"training": (545_317,), "validation": (35_000,), "testing": (70_000,)},
    "700_2020": {
        "training": (542_352, 534_073),
        "validation": (34_125, 33_914),
        "testing": (67_433, 64_260),
    },
}

_FORMER_COLUMNS = {
    "video-id": "youtube_id",
    "start-time": "time_start",
    "end-time": "time_end",
    "label-name": "label",
}

_SPLITS = {
    "train": "training",
    "val": "validation",
    "validate": "validation",
    "validation": "validation",
    "test": "testing",
}

# 11 characters; `-` and `_` may stand anywhere, even first.
_ID = re.compile(r"[A-Za-z0-9_-]{11}")

# Some copies write 417.0; names have whole seconds, rounded down as in other programs.
_SECONDS = re.compile(r"(\d{1,6})(\.\d*)?", re.ASCII)

_UNLABELLED = "test"


def read(folder: Path, version: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns the classes, and the clips of the lists in the folder, in their order.

    The classes of 400 and 600 are the project's label map; of 700, the sorted labels of the lists.
    """
    prefix = f"kinetics-{version.split('_')[0]}_"
    files = readers.subset_files(
        folder,
        {
            "training": (f"{prefix}train.csv", "train.csv"),
            "validation": (f"{prefix}val.csv", "val.csv", "validate.csv"),
            "testing": (f"{prefix}test.csv", "test.csv"),
        },
    )
    if version in _MAPS:
        classes = label_maps.load(_MAPS[version])
    else:
        found = {row.get("label", "") for path, _ in files for _, row in _rows(path)}
        classes = tuple(sorted(found - {""}))
        if len(classes) != 700:
            raise ValueError(
                f"{folder}: expected the 700 labels of Kinetics-{version}, whose sorted order "
                f"numbers the classes. Received: {len(classes)}. Add a complete list to the "
                "folder, such as that of the validation subset."
            )
    indices = readers.indexed(classes)

    def parse(row: dict[str, str], subset: str) -> Record:
        label = row.get("label", _UNLABELLED if subset == "testing" else "")
        if not label or "/" in label:
            raise readers.wrong("the name of a class in the column label", label)
        labels = readers.label_of(indices, label, f"Kinetics-{version}") if "label" in row else ()
        return _record(row, subset, label, labels)

    return classes, readers.records(files, _rows, parse)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return readers.csv_rows(path, ("youtube_id", "time_start", "time_end"), _FORMER_COLUMNS)


def _record(row: dict[str, str], subset: str, label: str, labels: tuple[int, ...]) -> Record:
    video, split = row["youtube_id"], row.get("split", "")
    if not _ID.fullmatch(video):
        raise readers.wrong("a YouTube id of 11 characters", video)
    if _SPLITS.get(split, subset) != subset:
        raise readers.wrong(f"a row of the {subset} subset", split)
    times = []
    for column in ("time_start", "time_end"):
        match = _SECONDS.fullmatch(row[column])
        if match is None:
            raise readers.wrong("seconds from 0 to 999999", row[column])
        times.append(int(match[1]))
    start, end = times
    if end <= start:
        raise readers.wrong("an end after the start", f"{start}, {end}")
    name = f"{label}/{video}_{start:06d}_{end:06d}"
    return Record(name, f"{name}.mp4", subset, labels, duration=float(end - start))


def candidates(record: Record) -> Iterator[Record]:
    """Yields replacements of corrupted clips, trimmed clips in three spellings, whole videos."""
    label, clip = record.name.split("/")
    video, start, end = clip.rsplit("_", 2)  # ids have `_` too
    underscored = label.replace(" ", "_")
    spellings = dict.fromkeys((label, underscored, re.sub("['()]", "", underscored)))
    subset = {"training": ("train",), "testing": ("test",)}.get(record.subset, ("val", "validate"))
    folders = [
        *spellings,
        *(f"{part}/{spelling}" for part in subset for spelling in spellings),
        *subset,
        "",
    ]
    replaced = "replacement/replacement_for_corrupted_k400"
    for folder in (replaced, *folders):
        yield dataclasses.replace(record, path=str(PurePosixPath(folder, f"{clip}.mp4")))
    for folder in folders:
        path = str(PurePosixPath(folder, f"{video}.mp4"))
        yield dataclasses.replace(record, path=path, start=float(start), end=float(end))


DATASET = Dataset(
    name="kinetics",
    title="Kinetics",
    read=read,
    variant="version",
    variants=tuple(_COUNTS),
    counts=_COUNTS,
    oddities={
        "ids begin with '-': on a command line, write ./NAME": lambda record: record.id.startswith(
            "-"
        ),
        "one of Kinetics-600's two classes of American football is spelled 'american'": (
            lambda record: record.name.startswith("passing american football")
        ),
    },
    candidates=candidates,
)
