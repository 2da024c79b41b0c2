"""Computes TV-L1 flow; what `--help` prints is the docstring of `Settings`."""

import dataclasses

from common import command
from common.flow import encoding, stamp
from common.jobs.settings import FlowSettings, FrameSettings, RunSettings
from common.prepare.tasks import FLOW_RECIPE, FlowTask
from common.settings import setting
from common.video import layouts

_LAYOUTS = ", ".join(f"{name} ({kind.about})" for name, kind in layouts.FLOW_LAYOUTS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings, FrameSettings, FlowSettings):
    """Computes the TV-L1 flow of videos or of folders of frames.

        python -m common.prepare.extract_flow --input=UCF-101 --output=flow
        python -m common.prepare.extract_flow --input=frames --output=flow --layout=flow_xy
        python -m common.prepare.extract_flow --input=videos --output=flow --layout=npy --last=drop

    The recipe is that of Kinetics: 25 frames a second, short side 256, grey, TV-L1, clipped at 20
    pixels. Flow i is from frame i to i + 1; the last is repeated, so that there are as many flows
    as frames. Folders of frames keep their rate unless --fps is given. `flow.json` beside the flow
    says how it was computed, so that different kinds are not mixed.
    """

    layout: str = setting(
        f"Names of the files: {_LAYOUTS}.",
        "image_xy",
        choices=tuple(layouts.FLOW_LAYOUTS),
    )
    last: str = setting(
        "Repeat the last flow, or drop it: one less than frames.", "repeat", choices=stamp.LAST
    )
    bound: float = setting("Pixels to clip at; the largest level stands for it.", encoding.BOUND)


def main(settings: Settings) -> int:
    items = settings.items(settings.read_annotations())
    engine, params = settings.chosen_flow()
    task = FlowTask(
        pictures=settings.pictures(items, FLOW_RECIPE),
        layout=settings.layout,
        last=settings.last,
        engine=engine,
        params=params,
        bound=settings.bound,
    )
    return settings.run(task, items, engine)


if __name__ == "__main__":
    command.start(main, Settings)
