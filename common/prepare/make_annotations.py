"""Makes an annotation file; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import command
from common.annotations import SUBSETS, Annotations, Record, annotation_files, datasets
from common.annotations.datasets import Dataset
from common.io import check_target, listing, write_text
from common.jobs import pictures
from common.settings import UsageError, setting
from common.video import layouts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    r"""Makes one annotation file from a data set's own: classes, and a record for each clip.

        python -m common.prepare.make_annotations --input=ucfTrainTestlist --dataset=ucf101 \
            --fold=1 --videos=UCF-101 --output=ucf101_1.json
        python -m common.prepare.make_annotations --input=annotations --dataset=kinetics \
            --version=600 --output=kinetics_600.json
        python -m common.prepare.make_annotations --input=testTrainMulti_7030_splits \
            --dataset=hmdb51 --fold=1 --format=kenshohara --frames=frames --output=hmdb51_1.json
        python -m common.prepare.make_annotations --input=lists --dataset=own --videos=videos \
            --output=own.json

    Clips that --videos or --frames lack stay in the file and are listed. An existing file with the
    same content is left as it is.
    """

    dataset: str = setting("The data set.", choices=tuple(datasets.NAMES))
    input: Path = setting("Folder with the data set's annotation files.")
    output: Path = setting("File to write.")
    format: str = setting(
        "Format of the file: native, the project's own; kenshohara, for 3D-ResNets-PyTorch and "
        "MindSpore; piergiaj, for pytorch-i3d.",
        "native",
        choices=tuple(annotation_files.FORMATS),
    )
    fold: str | None = setting(
        "Fold of ucf101 or hmdb51: 1, 2 or 3; number of the lists of own. By default 1.", None
    )
    version: str | None = setting(
        "Version of kinetics: 400, 600, 700 or 700_2020; by default 400.", None
    )
    order: str | None = setting(
        "Order of the classes of something_v1: sorted (default), or file for the lines of its "
        "labels file.",
        None,
    )
    labels: str | None = setting(
        "Labels of vidor: actions (42), or predicates (50); by default actions.", None
    )
    videos: Path | None = setting(
        "Folder with the videos; each record notes where its video really is.", None
    )
    frames: Path | None = setting(
        "Folder with frames, CLASS/NAME; each record notes how many it has.", None
    )
    limit: int | None = setting("Take only the first clips, so many.", None, minimum=1)
    overwrite: bool = setting("Replace an existing file.", False)
    dry_run: bool = setting("Do everything but write the file.", False)
    workers: int | None = setting("No effect: this is one process.", None, minimum=0)


def main(settings: Settings) -> None:
    print(run(settings))


def run(settings: Settings) -> str:
    """Reads the annotations, looks for videos and frames, and writes the file.

    Returns:
        A summary: clips of each subset, classes, what is missing or odd, and the file.

    Raises:
        UsageError: A variant of another data set.
        FileExistsError: There is another file, and `overwrite` is false.
        FileNotFoundError: A folder, or the annotation files in it, do not exist, or none of the
            clips is in the folder.
        ValueError: Something in the files is wrong, or the format cannot represent it.
    """
    dataset = datasets.load(settings.dataset)
    variant = _variant(dataset, settings)
    check_target(settings.output, overwrite=True)  # an existing file may be right
    classes, records = dataset.read(settings.input, variant)
    notes = datasets.check_counts(dataset, variant, records)
    if settings.limit is not None:
        records = records[: settings.limit]
        notes = [f"only the first {len(records):,} clips, as --limit says"]
    if dataset.num_classes not in (None, len(classes)):
        notes.append(f"{len(classes)} classes; complete copies have {dataset.num_classes}")
    notes += _oddities(dataset, records)
    if settings.videos is not None:
        records, missing = datasets.locate(dataset, records, settings.videos)
        notes.append(_coverage("videos", settings.videos, records, missing))
    if settings.frames is not None:
        counts = count_frames(records, settings.frames)
        without = tuple(name for name, count in counts.items() if not count)
        notes.append(_coverage("frames", settings.frames, records, without))
        notes += _recounted(records, counts)
        records = [_counted(record, counts[record.name], settings.frames) for record in records]
    content = Annotations(classes, tuple(records), dataset.name, variant)
    written = _write(content, settings)
    subsets = "; ".join(f"{subset}: {content.counts.get(subset, 0):,}" for subset in SUBSETS)
    title = f"{dataset.title}, {dataset.variant} {variant}" if variant else dataset.title
    return "\n".join(
        [
            f"{title}: {len(records):,} clips of {len(classes)} classes",
            subsets,
            *notes,
            f"{written} ({settings.format})",
        ]
    )


def count_frames(records: Sequence[Record], root: Path) -> dict[str, int]:
    """Counts the images of each clip in its folder `root/NAME`.

    Returns:
        The number by name, in the records' order; 0 if there are none.

    Raises:
        FileNotFoundError: `root` is not a folder, or has frames of none of the clips.
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
    """The record with its number of frames, unless the annotation has number and rate."""
    if not count or record.frames is not None:
        return record
    rate = pictures.noted(root / record.name).get("folder_fps")
    # The annotation's rate is that of the video.
    fps = record.fps if rate in (None, record.fps) else None
    return dataclasses.replace(record, frames=count, fps=fps)


def _variant(dataset: Dataset, settings: Settings) -> str:
    """The variant that is asked for, or the usual one."""
    asked = {name: getattr(settings, name) for name in ("fold", "version", "order", "labels")}
    for name, value in asked.items():
        if value is not None and name != dataset.variant:
            raise UsageError(f"--{name} is not for {dataset.name}")
    variant: str = asked.get(dataset.variant) or dataset.variants[0]
    if variant not in dataset.variants:
        raise ValueError(
            f"{dataset.name}: expected --{dataset.variant} {', '.join(dataset.variants)}. "
            f"Received: {variant!r}."
        )
    return variant


def _oddities(dataset: Dataset, records: list[Record]) -> list[str]:
    counts = ((sum(map(met, records)), text) for text, met in dataset.oddities.items())
    return [f"{count:,} x {text}" for count, text in counts if count]


def _recounted(records: Sequence[Record], counts: Mapping[str, int]) -> list[str]:
    """A note if clips have another number of frames than their annotation says."""
    other = [
        record.name
        for record in records
        if counts[record.name] and record.frames not in (None, counts[record.name])
    ]
    if not other:
        return []
    return [
        f"{len(other):,} clips have another number of frames than their annotations. The file "
        "keeps the annotations' number and rate; give labels those of the extracted frames: "
        f"{listing(other)}"
    ]


def _coverage(what: str, folder: Path, records: list[Record], missing: tuple[str, ...]) -> str:
    found = f"{len(records) - len(missing):,} of {len(records):,} clips have {what} in {folder}"
    return f"{found}; missing: {listing(missing)}" if missing else found


def _write(content: Annotations, settings: Settings) -> str:
    """Writes the file unless it exists with the same content; says what was done."""
    output, text = settings.output, annotation_files.text(content, settings.format)
    if output.is_file() and output.read_bytes() == text.encode():
        return f"{output} is as it should be"
    check_target(output, settings.overwrite)
    if settings.dry_run:
        return f"would be written to {output}"
    write_text(output, text)
    return f"-> {output}"


if __name__ == "__main__":
    command.start(main, Settings)
