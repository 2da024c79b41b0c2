"""Shows what a network would see of videos: GIFs of RGB and flow, and a contact sheet.

    python -m common.prepare.preview --input=my.mp4 --output=pictures

NAME_rgb.gif and NAME_flow.gif are made as the original release shows its sample: in the flow, red
is motion to the right, green motion down, and even grey is none. NAME_sheet.png has eight moments
of both.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.jobs import command as work
from common.prepare.array_task import RECIPE
from common.prepare.preview_task import PreviewTask

MAX_FRAMES = flags.DEFINE_integer(
    "max_frames",
    100,
    "Show so many frames from the beginning at most; 25 are a second.",
    lower_bound=2,
    allow_override=True,  # `to_numpy` and `evaluate_sample` have a flag of this name, too
)
work.declare(*work.RUN, *work.SOURCES, *work.FLOW)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    items = work.found()
    engine, params = work.flow_engine()
    task = PreviewTask(
        pictures=work.pictures(items, RECIPE),
        max_frames=MAX_FRAMES.value,
        engine=engine,
        params=params,
    )
    return work.run(task, items, engine)


if __name__ == "__main__":
    command.run(main)
