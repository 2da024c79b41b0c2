"""Computes TV-L1 flow; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import command, flow, hardware
from common.flow import encoding, stamp
from common.jobs import runs
from common.jobs.settings import FlowSettings
from common.jobs.task import Item
from common.preprocessing.contracts import FLOW_CONTRACT
from common.preprocessing.frames import to_grey
from common.settings import setting
from common.video import frame_files, layouts
from common.video.layouts import FLOW_LAYOUTS

_LAYOUTS = ", ".join(f"{name} ({kind.about})" for name, kind in FLOW_LAYOUTS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(FlowSettings):
    """Computes the TV-L1 flow of videos or of folders of frames.

        python -m common.prepare.extract_flow --input=UCF-101 --output=flow
        python -m common.prepare.extract_flow --input=frames --output=flow --layout=flow_xy
        python -m common.prepare.extract_flow --input=videos --output=flow --layout=npy --last=drop

    The recipe is that of Kinetics (Carreira and Zisserman, CVPR 2017): 25 frames a second, short
    side 256, grey, TV-L1, clipped at 20 pixels. Flow i is from frame i to i + 1; the last is
    repeated, so that there are as many flows as frames. Folders of frames keep their rate unless
    --fps is given. `flow.json` beside the flow says how it was computed, so that different kinds
    are not mixed.
    """

    fps: float | None = setting(
        "Frames a second, by timestamps; 0 takes every frame. By default 25 of videos, and every "
        "frame of folders.",
        None,
        minimum=0,
    )
    short_side: int = setting(
        "Resize the shorter side to so many pixels; 0 keeps the size.",
        FLOW_CONTRACT.short_side,
        minimum=0,
    )
    layout: str = setting(
        f"Names of the files: {_LAYOUTS}.", "image_xy", choices=tuple(FLOW_LAYOUTS)
    )
    last: str = setting(
        "Repeat the last flow, or drop it: one less than frames.", "repeat", choices=stamp.LAST
    )
    bound: float = setting("Pixels to clip at; the largest level stands for it.", encoding.BOUND)

    command = "extract_flow"

    def parameters(self) -> Mapping[str, object]:
        names = ("fps", "short_side", "source_fps", "square_pixels", "layout")
        frames = {name: getattr(self, name) for name in names}
        flow = self.flow_stamp(bound=self.bound, last=self.last, quality=frame_files.QUALITY)
        return {**frames, "flow": dataclasses.asdict(flow)}

    def targets(self, item: Item) -> Sequence[str]:
        return FLOW_LAYOUTS[self.layout].targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        engine, params = self.chosen_flow()
        usual = 0 if item.source.is_dir() else FLOW_CONTRACT.fps
        fps = usual if self.fps is None else self.fps
        frames = self.stamp(item, fps, self.short_side)
        made = self.flow_stamp(bound=self.bound, last=self.last, **frames)
        greys = map(to_grey, self.read(item, fps, self.short_side))
        flows = flow.flows(greys, params, engine, hardware.own_threads())
        count = frame_files.write_flow(temporary, item.name, flows, made, self.layout)
        for folder in filter(Path.is_dir, temporary):
            layouts.write_n_frames(folder, count)
        return {"flows": count}


def main(settings: Settings) -> int:
    return runs.main(settings.resolved(), settings.items(), settings.resolved())


if __name__ == "__main__":
    command.start(main, Settings)
