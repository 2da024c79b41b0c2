"""Shows what a network sees of videos; what `--help` prints is the docstring of `Settings`."""

import dataclasses

from common import command
from common.jobs.settings import FlowSettings, RunSettings, SourceSettings
from common.prepare.tasks import RELEASE_RECIPE, PreviewTask
from common.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, SourceSettings, FlowSettings):
    """Shows what a network sees of videos: GIFs of RGB and flow, and a contact sheet.

        python -m common.prepare.preview --input=my.mp4 --output=pictures

    NAME_rgb.gif and NAME_flow.gif look as the original release shows its sample: in the flow, red
    is motion to the right, green motion down, and even grey none. NAME_sheet.png has eight moments
    of both.
    """

    max_frames: int = setting(
        "Show at most so many frames from the beginning, 25 a second.", 100, minimum=2
    )


def main(settings: Settings) -> int:
    items = settings.items(settings.read_annotations())
    engine, params = settings.chosen_flow()
    task = PreviewTask(
        pictures=settings.pictures(items, RELEASE_RECIPE),
        max_frames=settings.max_frames,
        engine=engine,
        params=params,
    )
    return settings.run(task, items, engine)


if __name__ == "__main__":
    command.start(main, Settings)
