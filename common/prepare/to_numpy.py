"""Videos to arrays of the original release; what `--help` prints is the docstring of `Settings`."""

import dataclasses

from common import command
from common.jobs.settings import FlowSettings, RunSettings, SourceSettings
from common.prepare.tasks import RELEASE_RECIPE, STREAMS, ArrayTask
from common.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, SourceSettings, FlowSettings):
    """Turns videos into the arrays that the original release feeds to its networks.

        python -m common.prepare.to_numpy --input=my.mp4 --output=arrays
        python -m i3d_torch.evaluate_sample --eval_type=joint --video=arrays/my_rgb.npy

    NAME_rgb.npy is [1, T, 224, 224, 3] and NAME_flow.npy [1, T, 224, 224, 2], both float32 in
    [-1, 1]: 25 frames a second, short side 256, centre crop; the flow is TV-L1, clipped at 20
    pixels.
    """

    stream: tuple[str, ...] = setting(
        "An array to make; may be given twice.", STREAMS, choices=STREAMS, repeated=True
    )
    max_frames: int | None = setting(
        "Take at most so many frames from the beginning; by default all.", None, minimum=2
    )


def main(settings: Settings) -> int:
    items = settings.items(settings.read_annotations())
    task = ArrayTask(
        streams=tuple(stream for stream in STREAMS if stream in settings.stream),
        pictures=settings.pictures(items, RELEASE_RECIPE),
        max_frames=settings.max_frames,
    )
    if "flow" not in task.streams:
        return settings.run(task, items)
    engine, params = settings.chosen_flow()
    return settings.run(dataclasses.replace(task, engine=engine, params=params), items, engine)


if __name__ == "__main__":
    command.start(main, Settings)
