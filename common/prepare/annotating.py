"""From a data set's own annotation files to one file that everything here reads."""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path

from common import annotation_files, datasets, files, layouts
from common.annotations import SUBSETS, Annotations, Record
from common.datasets import Dataset
from common.errors import listing


@dataclasses.dataclass(frozen=True)
class Options:
    """What to make; see `run`.

    Attributes:
        dataset: Name of the data set.
        annotations: Folder with its annotation files.
        output: File to write.
        variant: Fold, version or order of the classes; None is the usual one.
        container: Name of the format to write.
        videos: Folder in which the videos are looked for.
        frames: Folder in which the frames are counted.
        limit: Take the first so many clips.
        overwrite: Replace an existing file.
        dry_run: Do everything but keep the file.
    """

    dataset: str
    annotations: Path
    output: Path
    variant: str | None = None
    container: str = "native"
    videos: Path | None = None
    frames: Path | None = None
    limit: int | None = None
    overwrite: bool = False
    dry_run: bool = False


def run(options: Options) -> str:
    """Reads the annotations, looks for videos and frames, writes the file.

    Returns:
        A summary: clips of each subset, classes, what is missing or odd, and the file.

    Raises:
        FileNotFoundError: A folder, or the annotation files in it, are not there.
        ValueError: Something in the files is wrong, or the format cannot say it.
    """
    dataset = datasets.load(options.dataset)
    variant = _variant(dataset, options.variant)
    files.check_target(options.output, options.overwrite)
    classes = dataset.classes(options.annotations, variant)
    records = dataset.records(options.annotations, variant)
    notes = datasets.check_counts(dataset, variant, records)
    if options.limit is not None:
        records = records[: options.limit]
        notes = [f"only the first {len(records):,} clips, as --limit says"]
    expected = dataset.class_counts.get(variant, len(classes))
    if len(classes) != expected:
        notes.append(f"{len(classes)} classes; complete copies have {expected}")
    notes += _slips(dataset, records)
    if options.videos is not None:
        records, missing = datasets.locate(dataset, records, options.videos)
        notes.append(_coverage("videos", options.videos, records, missing))
    if options.frames is not None:
        listed = records
        records, missing = count_frames(listed, options.frames)
        notes.append(_coverage("frames", options.frames, records, missing))
        notes += _recounted(listed, records)
    content = Annotations(classes, tuple(records), dataset.name, variant)
    _write(content, options)
    counts = "; ".join(f"{subset}: {content.counts.get(subset, 0):,}" for subset in SUBSETS)
    title = f"{dataset.title}, {dataset.variant} {variant}" if variant else dataset.title
    last = f"would be written to {options.output}" if options.dry_run else f"-> {options.output}"
    return "\n".join(
        [
            f"{title}: {len(records):,} clips of {len(classes)} classes",
            counts,
            *notes,
            f"{last} ({options.container})",
        ]
    )


def count_frames(records: Iterable[Record], root: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Counts the frames of each clip in its folder `root/NAME`, or reads the file `n_frames` there.

    Returns:
        All records in their order, with `frames` where there are any; and the names of the others.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: Images are missing in between, or `n_frames` holds no number.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder of frames.")
    counted, missing = [], []
    for record in records:
        frames = _count(root, record.name)
        if frames:
            counted.append(dataclasses.replace(record, frames=frames))
        else:
            counted.append(record)
            missing.append(record.name)
    return counted, tuple(missing)


def _count(root: Path, name: str) -> int:
    if (root / name / layouts.N_FRAMES).is_file():
        return layouts.read_n_frames(root / name)
    try:
        return layouts.detect(root, name, layouts.RGB_LAYOUTS).count(root, name)
    except FileNotFoundError:
        return 0


def _variant(dataset: Dataset, asked: str | None) -> str:
    variant = dataset.variants[0] if asked is None else asked
    if variant not in dataset.variants:
        if dataset.variants == ("",):
            raise ValueError(f"{dataset.name} has no variants. Received: {variant!r}.")
        raise ValueError(
            f"{dataset.name}: expected --{dataset.variant} {', '.join(dataset.variants)}. "
            f"Received: {variant!r}."
        )
    return variant


def _slips(dataset: Dataset, records: list[Record]) -> list[str]:
    counts = ((sum(map(slip.met, records)), slip.text) for slip in dataset.slips)
    return [f"{count:,} x {text}" for count, text in counts if count]


def _recounted(listed: list[Record], counted: list[Record]) -> list[str]:
    """A note where spans are in frames and there are more or fewer of them than was annotated."""
    other = [
        after.name
        for before, after in zip(listed, counted, strict=True)
        if before.unit == "frames" and before.frames not in (None, after.frames)
    ]
    if not other:
        return []
    return [
        f"{len(other):,} clips have another number of frames than their annotations: spans are in "
        f"frames of the video, so labels need the rate of these: {listing(other)}"
    ]


def _coverage(what: str, folder: Path, records: list[Record], missing: tuple[str, ...]) -> str:
    found = f"{len(records) - len(missing):,} of {len(records):,} clips have {what} in {folder}"
    return f"{found}; missing: {listing(missing)}" if missing else found


def _write(content: Annotations, options: Options) -> None:
    if not options.dry_run:
        annotation_files.write(options.output, content, options.container)
        return
    with tempfile.TemporaryDirectory() as folder:  # shows what the format cannot say
        annotation_files.write(Path(folder, "annotations.json"), content, options.container)
