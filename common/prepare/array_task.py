"""Videos to the arrays of the original release."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common import processors
from common.flow import TVL1Params
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.jobs.pictures import Picture, Pictures
from common.jobs.task import Item
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.video import storing, video_clips

STREAMS = ("rgb", "flow")

RECIPE = Pictures(fps=RGB_CONTRACT.fps, folder_fps=RGB_CONTRACT.fps)
"""Of both streams; size and crop are in their contracts."""

_TVL1 = TVL1Params()


@dataclasses.dataclass(frozen=True)
class ArrayTask:
    """Makes NAME_rgb.npy [1, T, 224, 224, 3] and NAME_flow.npy [1, T, 224, 224, 2] of each video.

    Both are float32 in [-1, 1], of frames at 25 a second with a short side of 256, cropped to the
    centre. The last flow is repeated, so T is the same.

    Attributes:
        streams: Which of `STREAMS`.
        pictures: Which frames, of the size they have.
        max_frames: Takes so many frames from the beginning; None takes all.
        engine: What computes the flow, one of `flow.ENGINES`.
        params: Of TV-L1.
    """

    streams: tuple[str, ...] = STREAMS
    pictures: Pictures = RECIPE
    max_frames: int | None = None
    engine: str = "numba"
    params: TVL1Params = _TVL1

    command = "to_numpy"

    def parameters(self) -> Mapping[str, object]:
        contracts = [dataclasses.asdict(contract) for contract in (RGB_CONTRACT, FLOW_CONTRACT)]
        # Not the streams: an array is the same, whether the other is made or not.
        left_out = {"streams"} if "flow" in self.streams else {"streams", "engine", "params"}
        own = {**dataclasses.asdict(self), "contracts": contracts}
        return {name: value for name, value in own.items() if name not in left_out}

    def targets(self, item: Item) -> Sequence[str]:
        targets = {
            "rgb": [f"{item.name}_rgb.npy"],
            "flow": [f"{item.name}_flow.npy", f"{item.name}_flow.json"],
        }
        return [target for stream in self.streams for target in targets[stream]]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        paths = dict(zip(self.targets(item), temporary, strict=True))
        count = 0
        if rgb := paths.get(f"{item.name}_rgb.npy"):
            clip = video_clips.rgb_of_frames(self._frames(item), RGB_CONTRACT)
            count = storing.write_npy(rgb, clip)
        if flow := paths.get(f"{item.name}_flow.npy"):
            flows = video_clips.flow_of_frames(
                self._frames(item), FLOW_CONTRACT, self.engine, self.params, processors.share()
            )
            stamp = FlowStamp(
                engine=self.engine,
                parameters=dataclasses.asdict(self.params),
                bound=BOUND,
                fps=FLOW_CONTRACT.fps,
                short_side=FLOW_CONTRACT.short_side,
                square_pixels=self.pictures.square(item.source),
            )
            targets = [flow, paths[f"{item.name}_flow.json"]]
            count = storing.write_flow(targets, item.name, flows, stamp, "npy")
        return {"frames": count}

    def _frames(self, item: Item) -> Iterator[Picture]:
        return self.pictures.of(item, self.max_frames)
