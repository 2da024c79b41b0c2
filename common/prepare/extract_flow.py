"""Computes the TV-L1 flow of videos, or of folders of frames.

    python -m common.prepare.extract_flow --input=UCF-101 --output=flow
    python -m common.prepare.extract_flow --input=frames --output=flow --layout=flow_xy
    python -m common.prepare.extract_flow --input=videos --output=flow --layout=npy --last=drop

The recipe is that of Kinetics: 25 frames a second, short side 256, grey, TV-L1, clipped at 20
pixels; flow i is from frame i to i + 1, and the last one is repeated, so that there are as many
flows as frames. Folders of frames keep the rate they have unless --fps is given. How it was made
is kept beside the flow in `flow.json`, so that different kinds are not mixed.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.flow import encoding, stamp
from common.jobs import command as work
from common.prepare.flow_task import RECIPE, FlowTask

LAST = flags.DEFINE_enum(
    "last", "repeat", list(stamp.LAST), "Repeat the last flow, or drop it: one less than frames."
)
BOUND = flags.DEFINE_float(
    "bound", encoding.BOUND, "Pixels to clip at; the largest level stands for it."
)
work.declare(*work.RUN, *work.PICTURES, *work.FLOW, work.LAYOUT)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    items = work.found()
    engine, params = work.flow_engine()
    task = FlowTask(
        pictures=work.pictures(items, RECIPE),
        layout=work.LAYOUT.value or "image_xy",
        last=LAST.value,
        engine=engine,
        params=params,
        bound=BOUND.value,
    )
    return work.run(task, items, engine)


if __name__ == "__main__":
    command.run(main)
