"""Extracts frames of videos as jpgs; what `--help` prints is the docstring of `Settings`."""

import dataclasses

from common import command
from common.jobs.settings import FrameSettings, RunSettings
from common.prepare.tasks import AS_STORED, FrameTask
from common.settings import setting
from common.video import layouts

_LAYOUTS = ", ".join(f"{name} ({kind.about})" for name, kind in layouts.RGB_LAYOUTS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, FrameSettings):
    """Extracts the frames of videos as jpgs: a folder with a file `n_frames` for each video.

        python -m common.prepare.extract_frames --input=UCF-101 --output=frames
        python -m common.prepare.extract_frames --input=videos --output=frames --fps=25
        python -m common.prepare.extract_frames --input=videos --annotations=k400.json \
            --output=frames

    Writes OUTPUT/CLASS/VIDEO/image_00001.jpg and so on: every frame in its own size, unless --fps
    and --short_side say otherwise. (`extract_flow` takes 25 a second by default: give both commands
    the same rate.) Videos that are done are skipped, so a run that was stopped is started again.
    """

    layout: str = setting(
        f"Names of the files: {_LAYOUTS}.",
        "image",
        choices=tuple(layouts.RGB_LAYOUTS),
    )


def main(settings: Settings) -> int:
    items = settings.items(settings.read_annotations(), FrameTask.command)
    task = FrameTask(settings.pictures(items, AS_STORED), settings.layout)
    return settings.run(task, items)


if __name__ == "__main__":
    command.start(main, Settings)
