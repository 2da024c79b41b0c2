"""Makes an annotation file; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from common import command
from common.annotations import SUBSETS, Annotations, Record, annotation_files, datasets
from common.annotations.datasets import Dataset
from common.io import check_target, listing, write_text
from common.jobs.task import noted
from common.settings import UsageError, setting
from common.video import frame_files, layouts


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
        "Order of the classes of something_v1: sorted (default), or file, as in its labels.", None
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


def main(settings: Settings) -> None:
    print(run(settings))


def run(settings: Settings) -> str:
    """Writes the file; returns a summary of its clips and classes, and of what is missing or odd.

    Raises `UsageError` for a variant of another data set, `ValueError` if the files are wrong or
    the format cannot represent them, `FileNotFoundError`, and `FileExistsError`.
    """
    dataset = datasets.DATASETS[settings.dataset]
    variant = _variant(dataset, settings)
    check_target(settings.output, overwrite=True)  # an existing file may be right
    classes, records = dataset.read(settings.input, variant)
    notes = datasets.check_counts(dataset, variant, records)
    if settings.limit is not None:
        records = records[: settings.limit]
        notes = [f"only the first {len(records):,} clips, as --limit says"]
    if settings.videos is not None:
        records, missing = datasets.locate(dataset, records, settings.videos)
        notes.append(_coverage("videos", settings.videos, records, missing))
    if settings.frames is not None:
        records, frame_notes = _with_frames(records, settings.frames)
        notes += frame_notes
    content = Annotations(classes, tuple(records), dataset.name, variant)
    written = _write(content, settings)
    subsets = "; ".join(f"{subset}: {content.counts.get(subset, 0):,}" for subset in SUBSETS)
    title = f"{dataset.title}, {dataset.variant} {variant}" if variant else dataset.title
    first = f"{title}: {len(records):,} clips of {len(classes)} classes"
    return "\n".join([first, subsets, *notes, f"{written} ({settings.format})"])


def _variant(dataset: Dataset, settings: Settings) -> str:
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


def _with_frames(records: Sequence[Record], root: Path) -> tuple[list[Record], list[str]]:
    """The records with the numbers of frames in `root/NAME` where they have none, and notes."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder of frames.")
    counts = {record.name: _count(root, record.name) for record in records}
    if counts and not any(counts.values()):
        files = (str(kind.paths(root, min(counts))[0]) for kind in layouts.RGB_LAYOUTS.values())
        raise FileNotFoundError(
            f"{root}: has frames of none of the {len(counts):,} clips. Looked for {listing(files)}."
        )
    notes = [_coverage("frames", root, records, [name for name in counts if not counts[name]])]
    found, other = [], []
    for record in records:
        count = counts[record.name]
        if count and record.frames is None:
            # The annotation's rate is that of the video; frames may have been taken at another.
            rate = noted(root / record.name).get("fps")
            fps = record.fps if rate in (None, 0, record.fps) else None
            record = dataclasses.replace(record, frames=count, fps=fps)
        elif count not in (0, record.frames):
            other.append(record.name)
        found.append(record)
    if other:
        notes.append(
            f"{len(other):,} clips have another number of frames than their annotations, which the "
            f"file keeps with their rate: {listing(other)}"
        )
    return found, notes


def _count(root: Path, name: str) -> int:
    try:
        return len(frame_files.open_rgb(root, name))
    except FileNotFoundError:
        return 0


def _coverage(what: str, folder: Path, records: Sequence[Record], missing: Sequence[str]) -> str:
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
