"""Kinetics-400, 600 and 700: ten-second clips from YouTube, one class each.

W. Kay et al., arXiv:1705.06950; J. Carreira et al., arXiv:1808.01340 (600) and arXiv:1907.06987
(700); L. Smaira et al., arXiv:2010.10864 (700-2020). Annotations are CC BY 4.0; videos have the
terms of their owners on YouTube. https://github.com/cvdfoundation/kinetics-dataset

The annotations are CSV files with a header, in three forms: `kinetics-400_train.csv` of
ActivityNet's crawler, `train.csv` of CVDF, and `train.csv` with `validate.csv` of DeepMind's
archive. Test lists may have labels. A clip is named `CLASS/ID_SSSSSS_EEEEEE`, with its start and
end in seconds within the YouTube video; without a label its folder is `test`. Of whole videos
(`ID.mp4`) in place of trimmed ones the record has start and end.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.annotations import Record, label_maps
from common.annotations.datasets import dataset
from common.annotations.datasets.dataset import Dataset

_MAPS = {"400": label_maps.KINETICS_400, "600": label_maps.KINETICS_600}

# Rows of the crawler's lists, and of CVDF's lists and videos; the rest from FiftyOne's page.
_COUNTS = {
    "400": ((246_534, 240_258), (19_906, 19_881), (38_685, 39_805)),
    "600": ((392_622, 427_549), (30_000, 29_793), (72_924,)),
    "700": ((545_317,), (35_000,), (70_000,)),
    "700_2020": ((542_352, 534_073), (34_125, 33_914), (67_433, 64_260)),
}

_SPLITS = {
    "training": ("train",),
    "validation": ("val", "validate", "validation"),
    "testing": ("test",),
}
_FORMER_COLUMNS = {  # of the crawler's files before 2018
    "video-id": "youtube_id",
    "start-time": "time_start",
    "end-time": "time_end",
    "label-name": "label",
}
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
# Some copies write 417.0; names have whole seconds, rounded down as in other programs.
_SECONDS = re.compile(r"(\d{1,6})(\.\d*)?", re.ASCII)
_UNLABELLED = "test"


def read(folder: Path, version: str) -> tuple[tuple[str, ...], list[Record]]:
    """The classes, and the clips of the lists in the folder, in their order.

    The classes of 400 and 600 are the project's label map; of 700, the sorted labels of the lists.
    """
    starts = (f"kinetics-{version.split('_')[0]}_", "")
    names = {
        subset: [f"{start}{split}.csv" for start in starts for split in splits]
        for subset, splits in _SPLITS.items()
    }
    files = dataset.subset_files(folder, names)
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
    labels_of = dataset.labeller(classes, f"Kinetics-{version}")

    def parse(row: dict[str, str], subset: str) -> Record:
        label = row.get("label", _UNLABELLED if subset == "testing" else "")
        if not label or "/" in label:
            raise dataset.wrong("the name of a class in the column label", label)
        labels = labels_of(label) if "label" in row else ()
        video, split = row["youtube_id"], row.get("split")
        if not _ID.fullmatch(video):
            raise dataset.wrong("a YouTube id of 11 characters", video)
        if any(split in splits for other, splits in _SPLITS.items() if other != subset):
            raise dataset.wrong(f"a row of the {subset} subset", split)
        times = row["time_start"], row["time_end"]
        start, end = (int(match[1]) if (match := _SECONDS.fullmatch(x)) else -1 for x in times)
        if not 0 <= start < end:
            raise dataset.wrong("a start and a later end, seconds from 0 to 999999", times)
        name = f"{label}/{video}_{start:06d}_{end:06d}"
        return Record(name, f"{name}.mp4", subset, labels, duration=float(end - start))

    return classes, dataset.read_records(files, _rows, parse)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    return dataset.csv_rows(path, ("youtube_id", "time_start", "time_end"), _FORMER_COLUMNS)


def candidates(record: Record) -> Iterator[Record]:
    """Yields replacements of corrupted clips, trimmed clips in three spellings, whole videos."""
    label, clip = record.name.split("/")
    video, start, end = clip.rsplit("_", 2)  # ids have `_` too
    underscored = label.replace(" ", "_")
    spellings = dict.fromkeys((label, underscored, re.sub("['()]", "", underscored)))
    subsets = _SPLITS[record.subset]
    within = (f"{subset}/{spelling}" for subset in subsets for spelling in spellings)
    folders = [*spellings, *within, *subsets, ""]
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
    candidates=candidates,
)
