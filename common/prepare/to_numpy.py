"""Turns videos into the arrays that the original release feeds to its networks.

    python -m common.prepare.to_numpy --input=my.mp4 --output=arrays
    python -m i3d_torch.evaluate_sample --eval_type=joint --video=arrays/my_rgb.npy

NAME_rgb.npy is [1, T, 224, 224, 3], NAME_flow.npy is [1, T, 224, 224, 2], both float32 in [-1, 1]:
25 frames a second, short side 256, centre crop; the flow is TV-L1, clipped at 20 pixels.
"""

import dataclasses
from collections.abc import Sequence

from absl import flags

from common import command
from common.jobs import command as work
from common.prepare.array_task import RECIPE, STREAMS, ArrayTask

STREAM = flags.DEFINE_multi_enum("stream", list(STREAMS), list(STREAMS), "Which arrays to make.")
MAX_FRAMES = flags.DEFINE_integer(
    "max_frames",
    None,
    "Take so many frames from the beginning; by default all.",
    lower_bound=2,
    allow_override=True,  # `preview` and `evaluate_sample` have a flag of this name, too
)
work.declare(*work.RUN, *work.SOURCES, *work.FLOW)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    items = work.found()
    task = ArrayTask(
        streams=tuple(stream for stream in STREAMS if stream in STREAM.value),
        pictures=work.pictures(items, RECIPE),
        max_frames=MAX_FRAMES.value,
    )
    if "flow" not in task.streams:
        return work.run(task, items)
    engine, params = work.flow_engine()
    return work.run(dataclasses.replace(task, engine=engine, params=params), items, engine)


if __name__ == "__main__":
    command.run(main)
