"""Pictures of what a network would see of a video."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common import processors
from common.flow import TVL1Params
from common.jobs.pictures import Pictures
from common.jobs.task import Item
from common.prepare.array_task import RECIPE
from common.preprocessing import frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.video import preview, video_clips

_TVL1 = TVL1Params()


@dataclasses.dataclass(frozen=True)
class PreviewTask:
    """Makes NAME_rgb.gif and NAME_flow.gif, as the original release shows its sample, and a sheet.

    NAME_sheet.png has moments of the video in its columns, RGB above and flow below.

    Attributes:
        pictures: Which frames, of the size they have.
        max_frames: Takes so many from the beginning.
        engine: What computes the flow, one of `flow.ENGINES`.
        params: Of TV-L1.
    """

    pictures: Pictures = RECIPE
    max_frames: int = 100
    engine: str = "numba"
    params: TVL1Params = _TVL1

    command = "preview"

    def parameters(self) -> Mapping[str, object]:
        contracts = [dataclasses.asdict(contract) for contract in (RGB_CONTRACT, FLOW_CONTRACT)]
        return {**dataclasses.asdict(self), "contracts": contracts}

    def targets(self, item: Item) -> Sequence[str]:
        return [f"{item.name}_{ending}" for ending in ("rgb.gif", "flow.gif", "sheet.png")]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        # Read twice: as they are stored, frames may be large.
        shown = self.pictures.of(item, self.max_frames)
        rgb = np.stack(list(video_clips.rgb_of_frames(shown, RGB_CONTRACT)))
        shown = self.pictures.of(item, self.max_frames)
        flows = video_clips.flow_of_frames(
            shown, FLOW_CONTRACT, self.engine, self.params, processors.share()
        )
        moving = [frames.to_contract(each, FLOW_CONTRACT) for each in flows]
        flow = np.stack([*moving, moving[-1]])
        preview.write_gif(temporary[0], rgb)
        preview.write_gif(temporary[1], flow)
        preview.write_sheet(temporary[2], [rgb, flow])
        return {"frames": len(rgb)}
