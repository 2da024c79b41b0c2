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
import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset, Slip
from common.io import listing

_MAPS = {"400": label_maps.KINETICS_400, "600": label_maps.KINETICS_600}

_CLASS_COUNTS = {"400": 400, "600": 600, "700": 700, "700_2020": 700}

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

_UNLABELLED = "test"


def records(annotations: Path, version: str) -> list[Record]:
    """Returns the clips of the lists in the folder, in their order."""
    rows = _rows(annotations, version)
    indices = {name: index for index, name in enumerate(_class_names(annotations, version, rows))}
    return [
        dataclasses.replace(record, labels=() if label is None else (indices[label],))
        for label, record in rows
    ]


def classes(annotations: Path, version: str) -> tuple[str, ...]:
    """Returns the project's label map for 400 and 600, and the sorted labels for 700."""
    return _class_names(annotations, version, _rows(annotations, version))


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


def _rows(annotations: Path, version: str) -> list[tuple[str | None, Record]]:
    """Returns the label and the record, without labels, of each row."""
    prefix = f"kinetics-{version.split('_')[0]}_"
    files = {
        "training": (f"{prefix}train.csv", "train.csv"),
        "validation": (f"{prefix}val.csv", "val.csv", "validate.csv"),
        "testing": (f"{prefix}test.csv", "test.csv"),
    }
    names = readers.UniqueNames()
    found = []
    for subset, path in readers.subset_files(annotations, files).items():
        required = ["label"] * (subset != "testing") + ["youtube_id", "time_start", "time_end"]
        for line, row in readers.csv_rows(path, required, _FORMER_COLUMNS):
            record = _record(row, subset, path, line)
            found.append((row.get("label"), names.add(record, path, line)))
    return found


def _record(row: dict[str, str], subset: str, path: Path, line: int) -> Record:
    video = row["youtube_id"]
    if not _ID.fullmatch(video):
        readers.malformed(path, line, "a YouTube id of 11 characters", video)
    start, end = (_seconds(row[column], path, line) for column in ("time_start", "time_end"))
    if end <= start:
        readers.malformed(path, line, "an end after the start", f"{start}, {end}")
    label = row.get("label", _UNLABELLED)
    if not label or "/" in label:
        readers.malformed(path, line, "the name of a class", label)
    split = row.get("split", "")
    if _SPLITS.get(split, subset) != subset:
        readers.malformed(path, line, f"a row of the {subset} subset", split)
    name = f"{label}/{video}_{start:06d}_{end:06d}"
    return Record(name, f"{name}.mp4", subset, duration=float(end - start))


def _seconds(text: str, path: Path, line: int) -> int:
    # Some copies write 417.0; names have whole seconds, rounded down as in other programs.
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1_000_000:
        readers.malformed(path, line, "seconds from 0 to 999999", text)
    return int(seconds)


def _class_names(
    annotations: Path, version: str, rows: list[tuple[str | None, Record]]
) -> tuple[str, ...]:
    found = {label for label, _ in rows if label is not None}
    if version in _MAPS:
        names = label_maps.load(_MAPS[version])
        unknown = found - set(names)
        if unknown:
            raise ValueError(
                f"{annotations}: the labels are not those of Kinetics-{version}. Only in the "
                f"annotations: {listing(unknown)}. Only in {_MAPS[version]}: "
                f"{listing(set(names) - found) or 'none'}."
            )
        return names
    if len(found) != _CLASS_COUNTS[version]:
        raise ValueError(
            f"{annotations}: expected the {_CLASS_COUNTS[version]} labels of Kinetics-{version}, "
            f"whose sorted order numbers the classes. Received: {len(found)}. Add a complete "
            "list to the folder, such as that of the validation subset."
        )
    return tuple(sorted(found))


DATASET = Dataset(
    name="kinetics",
    title="Kinetics",
    records=records,
    classes=classes,
    variant="version",
    variants=("400", "600", "700", "700_2020"),
    class_counts=_CLASS_COUNTS,
    counts=_COUNTS,
    slips=(
        Slip(
            "ids begin with '-': on a command line, write ./NAME",
            lambda record: record.id.startswith("-"),
        ),
        Slip(
            "one of Kinetics-600's two classes of American football is spelled 'american'",
            lambda record: record.name.startswith("passing american football"),
        ),
    ),
    candidates=candidates,
)
