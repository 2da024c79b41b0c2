r"""Makes one annotation file from a data set's own: classes, and a record for each clip.

    python -m common.prepare.make_annotations --dataset=ucf101 --fold=1 \
        --input=ucfTrainTestlist --videos=UCF-101 --output=ucf101_1.json
    python -m common.prepare.make_annotations --dataset=kinetics --version=600 \
        --input=annotations --output=kinetics_600.json
    python -m common.prepare.make_annotations --dataset=hmdb51 --fold=1 --format=kenshohara \
        --input=testTrainMulti_7030_splits --frames=frames --output=hmdb51_1.json
    python -m common.prepare.make_annotations --dataset=own --input=lists --videos=videos \
        --output=own.json

--input is the folder with the data set's annotation files. --videos looks for each clip and notes
where it really is; --frames counts the images of each clip in the folder CLASS/NAME. Clips that
are missing there stay in the file and are listed. A file that is there and would be the same again
is left as it is. --workers is taken, as by all commands, and plays no part here: it is one process.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from common import command
from common.annotations import annotation_files, datasets
from common.flags import DRY_RUN, INPUT, LIMIT, OUTPUT, OVERWRITE, WORKERS
from common.prepare import annotating

DATASET = flags.DEFINE_enum("dataset", None, list(datasets.NAMES), "Which data set it is.")
FORMAT = flags.DEFINE_enum(
    "format",
    "native",
    list(annotation_files.FORMATS),
    "What to write: native, the project's own; kenshohara, for 3D-ResNets-PyTorch and MindSpore; "
    "piergiaj, for pytorch-i3d.",
    allow_override=True,  # `convert` has a flag of this name, too
)
FOLD = flags.DEFINE_string(
    "fold", None, "Of ucf101 and hmdb51: 1, 2 or 3; of own: the number of its lists; by default 1."
)
VERSION = flags.DEFINE_string(
    "version", None, "Of kinetics: 400, 600, 700 or 700_2020; by default 400."
)
ORDER = flags.DEFINE_string(
    "order",
    None,
    "Of the classes of something_v1: sorted, or file for the lines of its labels file; by default "
    "sorted.",
)
LABELS = flags.DEFINE_string(
    "labels", None, "Of vidor: actions (42), or predicates (50); by default actions."
)
VIDEOS = flags.DEFINE_string("videos", None, "Folder in which to look for the videos.")
FRAMES = flags.DEFINE_string("frames", None, "Folder in which to count the frames of each clip.")
for _flag in (INPUT, OUTPUT, WORKERS, OVERWRITE, LIMIT, DRY_RUN):
    flags.declare_key_flag(_flag.name)


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    for flag in (DATASET, INPUT, OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is missing.")
    print(
        annotating.run(
            annotating.Options(
                dataset=DATASET.value,
                annotations=Path(INPUT.value),
                output=Path(OUTPUT.value),
                variant=_variant(datasets.load(DATASET.value).variant),
                container=FORMAT.value,
                videos=Path(VIDEOS.value) if VIDEOS.value else None,
                frames=Path(FRAMES.value) if FRAMES.value else None,
                limit=LIMIT.value,
                overwrite=OVERWRITE.value,
                dry_run=DRY_RUN.value,
            )
        )
    )


def _variant(kind: str) -> str | None:
    """The value of the flag for this kind of variant; the other such flags may not be given."""
    variants = {flag.name: flag.value for flag in (FOLD, VERSION, ORDER, LABELS)}
    for name, value in variants.items():
        if value is not None and name != kind:
            raise app.UsageError(f"--{name} is not for {DATASET.value}.")
    return variants.get(kind)


if __name__ == "__main__":
    command.run(main)
