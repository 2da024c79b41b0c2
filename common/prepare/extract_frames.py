"""Extracts the frames of videos as jpgs, a folder and a file `n_frames` each.

    python -m common.prepare.extract_frames --input=UCF-101 --output=frames
    python -m common.prepare.extract_frames --input=videos --output=frames --short_side=256 --fps=25
    python -m common.prepare.extract_frames --input=videos --annotations=k400.json --output=frames

OUTPUT/CLASS/VIDEO/image_00001.jpg and so on. Without --fps every frame is kept, without
--short_side its size; `extract_flow` takes 25 a second unless told otherwise, so tell both the
same. What is done is skipped, so a run that was stopped is simply started again.
"""

from collections.abc import Sequence

from common import command
from common.jobs import command as work
from common.prepare.frame_task import AS_STORED, FrameTask

work.declare(*work.RUN, *work.PICTURES, work.LAYOUT)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    items = work.found(FrameTask.command)
    pictures = work.pictures(items, AS_STORED)
    task = FrameTask(pictures, work.LAYOUT.value or "image")
    return work.run(task, items)


if __name__ == "__main__":
    command.run(main)
