"""Shows what a network sees of videos; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common import command
from common.jobs import runs
from common.jobs.task import Item
from common.prepare.to_numpy import ReleaseSettings
from common.preprocessing.contracts import FLOW_CONTRACT
from common.preprocessing.frames import to_contract
from common.settings import setting
from common.video import preview


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ReleaseSettings):
    """Shows what a network sees of videos: GIFs of RGB and flow, and a contact sheet.

        python -m common.prepare.preview --input=my.mp4 --output=pictures

    NAME_rgb.gif and NAME_flow.gif look as the original release shows its sample: in the flow, red
    is motion to the right, green motion down, and even grey none. NAME_sheet.png has eight moments
    of both, RGB above and flow below.
    """

    max_frames: int | None = setting(
        "Show at most so many frames from the beginning, 25 a second.", 100, minimum=2
    )

    command = "preview"

    def parameters(self) -> Mapping[str, object]:
        return self.clip_parameters()

    def targets(self, item: Item) -> Sequence[str]:
        return [f"{item.name}_{ending}" for ending in ("rgb.gif", "flow.gif", "sheet.png")]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        # Read twice: in their own size, frames may be large.
        rgb = np.stack(list(self.rgb(item)))
        moving = [to_contract(each, FLOW_CONTRACT) for each in self.flows(item)]
        flow = np.stack([*moving, moving[-1]])
        preview.write_gif(temporary[0], rgb)
        preview.write_gif(temporary[1], flow)
        preview.write_sheet(temporary[2], [rgb, flow])
        return {"frames": len(rgb)}


def main(settings: Settings) -> int:
    return runs.main(settings.resolved(), settings.items(), settings.resolved())


if __name__ == "__main__":
    command.start(main, Settings)
