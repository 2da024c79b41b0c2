"""From a data set's own annotation files to one file that everything here reads."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.annotations import SUBSETS, Annotations, Record, annotation_files, datasets
from common.annotations.datasets import Dataset
from common.io import check_target, listing, write_text
from common.jobs import pictures
from common.video import layouts


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
        FileExistsError: There is another file, and `overwrite` is false.
        FileNotFoundError: A folder, or the annotation files in it, are not there, or not one clip
            is in the folder.
        ValueError: Something in the files is wrong, or the format cannot say it.
    """
    dataset = datasets.load(options.dataset)
    variant = _variant(dataset, options.variant)
    check_target(options.output, overwrite=True)  # what is there may be as it should be
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
        counts = count_frames(records, options.frames)
        without = tuple(name for name, count in counts.items() if not count)
        notes.append(_coverage("frames", options.frames, records, without))
        notes += _recounted(records, counts)
        records = [_counted(record, counts[record.name], options.frames) for record in records]
    content = Annotations(classes, tuple(records), dataset.name, variant)
    written = _write(content, options)
    subsets = "; ".join(f"{subset}: {content.counts.get(subset, 0):,}" for subset in SUBSETS)
    title = f"{dataset.title}, {dataset.variant} {variant}" if variant else dataset.title
    return "\n".join(
        [
            f"{title}: {len(records):,} clips of {len(classes)} classes",
            subsets,
            *notes,
            f"{written} ({options.container})",
        ]
    )


def count_frames(records: Sequence[Record], root: Path) -> dict[str, int]:
    """Counts the images of each clip in its folder `root/NAME`.

    Returns:
        By name, in the records' order; 0 where there are none.

    Raises:
        FileNotFoundError: `root` is no folder, or has frames of none of the clips.
        ValueError: Images are missing in between, or `n_frames` says another number.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder of frames.")
    counts = {record.name: _count(root, record.name) for record in records}
    if counts and not any(counts.values()):
        first, *_ = counts
        files = (layout.paths(root, first, 0)[0] for layout in layouts.RGB_LAYOUTS.values())
        raise FileNotFoundError(
            f"{root}: has frames of none of the {len(counts):,} clips. Looked for "
            f"{', '.join(map(str, files))} and so on."
        )
    return counts


def _count(root: Path, name: str) -> int:
    try:
        count = layouts.detect(root, name, layouts.RGB_LAYOUTS).count(root, name)
    except FileNotFoundError:
        return 0
    if (root / name / layouts.N_FRAMES).is_file():
        layouts.read_n_frames(root / name, count)
    return count


def _counted(record: Record, count: int, root: Path) -> Record:
    """The record with its number of frames, unless the annotation gave that, with its rate."""
    if not count or record.frames is not None:
        return record
    rate = pictures.noted(root / record.name).get("folder_fps")
    fps = record.fps if rate in (None, record.fps) else None  # the annotation's is of others
    return dataclasses.replace(record, frames=count, fps=fps)


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


def _recounted(records: Sequence[Record], counts: Mapping[str, int]) -> list[str]:
    """A note where there are more or fewer frames than was annotated."""
    other = [
        record.name
        for record in records
        if counts[record.name] and record.frames not in (None, counts[record.name])
    ]
    if not other:
        return []
    return [
        f"{len(other):,} clips have another number of frames than their annotations, whose number "
        "and rate stay in the file: labels need those of the frames that are there: "
        f"{listing(other)}"
    ]


def _coverage(what: str, folder: Path, records: list[Record], missing: tuple[str, ...]) -> str:
    found = f"{len(records) - len(missing):,} of {len(records):,} clips have {what} in {folder}"
    return f"{found}; missing: {listing(missing)}" if missing else found


def _write(content: Annotations, options: Options) -> str:
    """Writes the file where it is not there as it should be; says what was done."""
    output, text = options.output, annotation_files.text(content, options.container)
    if output.is_file() and output.read_bytes() == text.encode():
        return f"{output} is as it should be"
    check_target(output, options.overwrite)
    if options.dry_run:
        return f"would be written to {output}"
    write_text(output, text)
    return f"-> {output}"
