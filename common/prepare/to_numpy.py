"""Videos to arrays of the original release; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import command, hardware
from common.jobs import runs
from common.jobs.settings import FlowSettings
from common.jobs.task import Item
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.settings import setting
from common.video import frame_files, video_clips

STREAMS = ("rgb", "flow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReleaseSettings(FlowSettings):
    """Clips of the original release: 25 frames a second; size and crop are in the contracts."""

    max_frames: int | None = setting(
        "Take at most so many frames from the beginning; by default all.", None, minimum=2
    )

    def clip_parameters(self, with_flow: bool = True) -> dict[str, object]:
        return {
            "source_fps": self.source_fps,
            "square_pixels": self.square_pixels,
            "max_frames": self.max_frames,
            "contracts": [dataclasses.asdict(each) for each in (RGB_CONTRACT, FLOW_CONTRACT)],
            "flow": dataclasses.asdict(self.flow_stamp()) if with_flow else None,
        }

    def rgb(self, item: Item) -> Iterator[NDArray[np.float32]]:
        """Yields frames [224, 224, 3]."""
        shown = self.read(item, RGB_CONTRACT.fps, max_frames=self.max_frames)
        return video_clips.rgb_of_frames(shown, RGB_CONTRACT)

    def flows(self, item: Item) -> Iterator[NDArray[np.float32]]:
        """Yields the flow from each frame to the next, not yet cropped; one less than frames."""
        shown = self.read(item, FLOW_CONTRACT.fps, None, self.max_frames)
        threads = hardware.own_threads()
        return video_clips.flow_of_frames(shown, FLOW_CONTRACT, *self.chosen_flow(), threads)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ReleaseSettings):
    """Turns videos into the arrays that the original release feeds to its networks.

        python -m common.prepare.to_numpy --input=my.mp4 --output=arrays
        python -m i3d_torch.evaluate_sample --eval_type=joint --video=arrays/my_rgb.npy

    NAME_rgb.npy is [1, T, 224, 224, 3] and NAME_flow.npy [1, T, 224, 224, 2], both float32 in
    [-1, 1]: 25 frames a second, short side 256, centre crop; the flow is TV-L1, clipped at 20
    pixels. The last flow is repeated, so that T is the same.
    """

    stream: tuple[str, ...] = setting(
        "An array to make; may be given twice.", STREAMS, choices=STREAMS, repeated=True
    )

    command = "to_numpy"

    def parameters(self) -> Mapping[str, object]:
        # Not the streams: an array is the same whether the other is made or not.
        return self.clip_parameters("flow" in self.stream)

    def targets(self, item: Item) -> Sequence[str]:
        names = ("rgb.npy", "flow.npy", "flow.json")
        return [f"{item.name}_{name}" for name in names if name.startswith(self.stream)]

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        rest, count = list(temporary), 0
        if "rgb" in self.stream:
            count = frame_files.write_npy(rest.pop(0), self.rgb(item))
        if "flow" in self.stream:
            frames = self.stamp(item, FLOW_CONTRACT.fps, FLOW_CONTRACT.short_side)
            stamp = self.flow_stamp(**frames)
            count = frame_files.write_flow(rest, item.name, self.flows(item), stamp, "npy")
        return {"frames": count}


def main(settings: Settings) -> int:
    how = settings.resolved() if "flow" in settings.stream else settings
    return runs.main(how, settings.items(), how)


if __name__ == "__main__":
    command.start(main, Settings)
