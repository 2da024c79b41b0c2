"""Kinetics-400, 600 and 700: clips of about ten seconds from YouTube, one class each.

The annotations are CSV files with a header, in three forms: `kinetics-400_train.csv` of
ActivityNet's crawler, `train.csv` of CVDF, and `train.csv` with `validate.csv` of DeepMind's
archive. A test list may have labels or not. A clip is `CLASS/ID_SSSSSS_EEEEEE`, with its start
and end in YouTube's video in seconds; without a label its folder is `test`.

Videos may be trimmed (a file a clip, in folders of classes or flat) or whole (`ID.mp4`: then the
record has the start and the end).
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import Dataset, Slip, _files
from common.io import listing

_MAPS = {"400": label_maps.KINETICS_400, "600": label_maps.KINETICS_600}

_CLASS_COUNTS = {"400": 400, "600": 600, "700": 700, "700_2020": 700}

# Numbers of rows: the crawler's lists; CVDF's lists and videos; FiftyOne's page for the rest.
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

# A YouTube id has 11 characters; some of them are `-` and `_`, even the first.
_ID = re.compile(r"[A-Za-z0-9_-]{11}")

_UNLABELLED = "test"


def records(annotations: Path, version: str) -> list[Record]:
    """The clips of all lists that are in the folder, in their order."""
    rows = _rows(annotations, version)
    indices = {name: index for index, name in enumerate(_class_names(annotations, version, rows))}
    names = _files.Names()
    return [names.add(_record(row, indices), row.path, row.line) for row in rows]


def classes(annotations: Path, version: str) -> tuple[str, ...]:
    """The project's label map for 400 and 600; for 700 the sorted labels of the lists."""
    return _class_names(annotations, version, _rows(annotations, version))


def candidates(record: Record) -> Iterator[Record]:
    """The places of a clip: what replaces a corrupted one, trimmed in three spellings, whole."""
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


@dataclasses.dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    subset: str
    label: str | None
    video: str
    start: int
    end: int


def _rows(annotations: Path, version: str) -> list[_Row]:
    prefix = f"kinetics-{version.split('_')[0]}_"
    paths = _files.pick_subsets(
        annotations,
        {
            "training": (f"{prefix}train.csv", "train.csv"),
            "validation": (f"{prefix}val.csv", "val.csv", "validate.csv"),
            "testing": (f"{prefix}test.csv", "test.csv"),
        },
    )
    return [row for subset, path in paths.items() for row in _read(path, subset)]


def _read(path: Path, subset: str) -> Iterator[_Row]:
    required = ["youtube_id", "time_start", "time_end"]
    if subset != "testing":
        required.insert(0, "label")
    for line, row in _files.csv_rows(path, required, _FORMER_COLUMNS):
        video = row["youtube_id"]
        if not _ID.fullmatch(video):
            _files.malformed(path, line, "a YouTube id of 11 characters", video)
        start, end = (_seconds(row[column], path, line) for column in ("time_start", "time_end"))
        if end <= start:
            _files.malformed(path, line, "an end after the start", f"{start}, {end}")
        label = row.get("label")
        if label is not None and (not label or "/" in label):
            _files.malformed(path, line, "the name of a class", label)
        split = row.get("split", "")
        if _SPLITS.get(split, subset) != subset:
            _files.malformed(path, line, f"a row of the {subset} subset", split)
        yield _Row(path, line, subset, label, video, start, end)


def _seconds(text: str, path: Path, line: int) -> int:
    # Some copies write 417.0. Names have whole seconds, cut as others cut them.
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1_000_000:
        _files.malformed(path, line, "seconds from 0 to 999999", text)
    return int(seconds)


def _class_names(annotations: Path, version: str, rows: list[_Row]) -> tuple[str, ...]:
    found = {row.label for row in rows if row.label is not None}
    if version in _MAPS:
        names = label_maps.load(_MAPS[version])
        strangers = found - set(names)
        if strangers:
            raise ValueError(
                f"{annotations}: the labels are not those of Kinetics-{version}. Only in the "
                f"annotations: {listing(strangers)}. Only in {_MAPS[version]}: "
                f"{listing(set(names) - found) or 'none'}."
            )
        return names
    if len(found) != _CLASS_COUNTS[version]:
        raise ValueError(
            f"{annotations}: expected the {_CLASS_COUNTS[version]} labels of Kinetics-{version}, "
            f"whose sorted order numbers the classes. Received: {len(found)}. Put a complete "
            "list, such as that of the validation subset, into the folder."
        )
    return tuple(sorted(found))


def _record(row: _Row, indices: dict[str, int]) -> Record:
    name = f"{row.label or _UNLABELLED}/{row.video}_{row.start:06d}_{row.end:06d}"
    return Record(
        name=name,
        path=f"{name}.mp4",
        subset=row.subset,
        labels=() if row.label is None else (indices[row.label],),
        duration=float(row.end - row.start),
    )


DATASET = Dataset(
    name="kinetics",
    title="Kinetics",
    homepage="https://github.com/cvdfoundation/kinetics-dataset",
    citation="W. Kay et al. The Kinetics Human Action Video Dataset. arXiv:1705.06950, 2017. "
    "J. Carreira et al. A Short Note about Kinetics-600. arXiv:1808.01340, 2018. "
    "J. Carreira et al. A Short Note on the Kinetics-700 Human Action Dataset. "
    "arXiv:1907.06987, 2019. "
    "L. Smaira et al. A Short Note on the Kinetics-700-2020 Human Action Dataset. "
    "arXiv:2010.10864, 2020.",
    licence="annotations: CC BY 4.0; videos: as their owners at YouTube say",
    records=records,
    classes=classes,
    variant="version",
    variants=("400", "600", "700", "700_2020"),
    class_counts=_CLASS_COUNTS,
    counts=_COUNTS,
    slips=(
        Slip(
            "ids begin with '-': where a name stands alone on a command line, write ./NAME",
            lambda record: record.id.startswith("-"),
        ),
        Slip(
            "of Kinetics-600's two classes of American football one is written 'american'",
            lambda record: record.name.startswith("passing american football"),
        ),
    ),
    candidates=candidates,
)
