"""What the commands make of a video or of a folder of frames: frames, flow, arrays, previews."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware
from common.flow import TVL1Params
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.jobs.pictures import Picture, Pictures
from common.jobs.task import Item
from common.preprocessing import frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.video import frame_files, layouts, preview, video_clips

STREAMS = ("rgb", "flow")

AS_STORED = Pictures()
"""Every frame, of the size it has."""

FLOW_RECIPE = Pictures(fps=25, short_side=256)
"""Flow of Kinetics (Carreira and Zisserman, CVPR 2017); folders of frames keep their rate."""

RELEASE_RECIPE = Pictures(fps=RGB_CONTRACT.fps, folder_fps=RGB_CONTRACT.fps)
"""Clips of the original release; size and crop are in the contracts."""

_TVL1 = TVL1Params()
_CONTRACTS = [dataclasses.asdict(contract) for contract in (RGB_CONTRACT, FLOW_CONTRACT)]


@dataclasses.dataclass(frozen=True)
class FrameTask:
    """Makes a folder of jpgs and the file `n_frames` of each video.

    Attributes:
        pictures: Which frames, and how large.
        layout: One of `layouts.RGB_LAYOUTS`.
    """

    pictures: Pictures = AS_STORED
    layout: str = "image"

    command = "extract_frames"

    def parameters(self) -> Mapping[str, object]:
        return {**dataclasses.asdict(self), "quality": frame_files.QUALITY}

    def targets(self, item: Item) -> Sequence[str]:
        return layouts.get(self.layout, layouts.RGB_LAYOUTS).targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        (folder,) = temporary
        count = frame_files.write_rgb(folder, item.name, self.pictures.of(item), self.layout)
        layouts.write_n_frames(folder, count)
        return {"frames": count}


@dataclasses.dataclass(frozen=True)
class FlowTask:
    """Makes the flow of each video: images of x and y with `n_frames`, or one array.

    Attributes:
        pictures: Which frames, and how large.
        layout: One of `layouts.FLOW_LAYOUTS`.
        last: "repeat" for as many flows as frames, "drop" for one less.
        engine: One of `flow.ENGINES`, resolved: "auto" depends on the machine.
        params: TV-L1 parameters.
        bound: Pixels to clip at; the largest level stands for it.
    """

    pictures: Pictures = FLOW_RECIPE
    layout: str = "image_xy"
    last: str = "repeat"
    engine: str = "numba"
    params: TVL1Params = _TVL1
    bound: float = BOUND

    command = "extract_flow"

    def __post_init__(self) -> None:
        self._stamp()  # checks `bound` and `last` before any work is done
        object.__setattr__(self, "bound", float(self.bound))  # in markers 20 is not 20.0

    def parameters(self) -> Mapping[str, object]:
        return {**dataclasses.asdict(self), "quality": frame_files.QUALITY}

    def targets(self, item: Item) -> Sequence[str]:
        return layouts.get(self.layout, layouts.FLOW_LAYOUTS).targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        stamp = dataclasses.replace(self._stamp(), **self.pictures.stamp(item))
        count = frame_files.write_flow(temporary, item.name, self._flows(item), stamp, self.layout)
        for folder in temporary:
            if folder.is_dir():
                layouts.write_n_frames(folder, count)
        return {"flows": count}

    def _stamp(self) -> FlowStamp:
        return FlowStamp(
            engine=self.engine,
            parameters=dataclasses.asdict(self.params),
            bound=self.bound,
            last=self.last,
        )

    def _flows(self, item: Item) -> Iterator[NDArray[np.float32]]:
        greys = (frames.to_grey(picture) for picture in self.pictures.of(item))
        return flow.flows(greys, self.params, self.engine, hardware.own_threads())


@dataclasses.dataclass(frozen=True)
class ArrayTask:
    """Makes NAME_rgb.npy [1, T, 224, 224, 3] and NAME_flow.npy [1, T, 224, 224, 2] of each video.

    Both are float32 in [-1, 1], of frames at 25 a second with a short side of 256, cropped to the
    centre. The last flow is repeated, so T is the same.

    Attributes:
        streams: Some of `STREAMS`.
        pictures: Which frames, of the size they have.
        max_frames: Takes at most so many frames from the beginning; None takes all.
        engine: One of `flow.ENGINES`, resolved.
        params: TV-L1 parameters.
    """

    streams: tuple[str, ...] = STREAMS
    pictures: Pictures = RELEASE_RECIPE
    max_frames: int | None = None
    engine: str = "numba"
    params: TVL1Params = _TVL1

    command = "to_numpy"

    def parameters(self) -> Mapping[str, object]:
        # Not the streams: an array is the same whether the other is made or not.
        left_out = {"streams"} if "flow" in self.streams else {"streams", "engine", "params"}
        own = {**dataclasses.asdict(self), "contracts": _CONTRACTS}
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
            count = frame_files.write_npy(rgb, clip)
        if flow := paths.get(f"{item.name}_flow.npy"):
            flows = video_clips.flow_of_frames(
                self._frames(item), FLOW_CONTRACT, self.engine, self.params, hardware.own_threads()
            )
            stamp = FlowStamp(
                engine=self.engine,
                parameters=dataclasses.asdict(self.params),
                bound=BOUND,
                fps=FLOW_CONTRACT.fps,
                short_side=FLOW_CONTRACT.short_side,
                square_pixels=self.pictures.stamp(item)["square_pixels"],
            )
            targets = [flow, paths[f"{item.name}_flow.json"]]
            count = frame_files.write_flow(targets, item.name, flows, stamp, "npy")
        return {"frames": count}

    def _frames(self, item: Item) -> Iterator[Picture]:
        return self.pictures.of(item, self.max_frames)


@dataclasses.dataclass(frozen=True)
class PreviewTask:
    """Makes NAME_rgb.gif and NAME_flow.gif, as the original release shows its sample, and a sheet.

    NAME_sheet.png has moments of the video in its columns, RGB above and flow below.

    Attributes:
        pictures: Which frames, of the size they have.
        max_frames: Takes at most so many from the beginning.
        engine: One of `flow.ENGINES`, resolved.
        params: TV-L1 parameters.
    """

    pictures: Pictures = RELEASE_RECIPE
    max_frames: int = 100
    engine: str = "numba"
    params: TVL1Params = _TVL1

    command = "preview"

    def parameters(self) -> Mapping[str, object]:
        return {**dataclasses.asdict(self), "contracts": _CONTRACTS}

    def targets(self, item: Item) -> Sequence[str]:
        return [f"{item.name}_{ending}" for ending in ("rgb.gif", "flow.gif", "sheet.png")]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        # Read twice: in their own size, frames may be large.
        shown = self.pictures.of(item, self.max_frames)
        rgb = np.stack(list(video_clips.rgb_of_frames(shown, RGB_CONTRACT)))
        shown = self.pictures.of(item, self.max_frames)
        flows = video_clips.flow_of_frames(
            shown, FLOW_CONTRACT, self.engine, self.params, hardware.own_threads()
        )
        moving = [frames.to_contract(each, FLOW_CONTRACT) for each in flows]
        flow = np.stack([*moving, moving[-1]])
        preview.write_gif(temporary[0], rgb)
        preview.write_gif(temporary[1], flow)
        preview.write_sheet(temporary[2], [rgb, flow])
        return {"frames": len(rgb)}
