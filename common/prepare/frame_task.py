"""Videos to folders of frames."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.jobs.pictures import Pictures
from common.jobs.task import Item
from common.video import layouts, storing

AS_STORED = Pictures()


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
        return {**dataclasses.asdict(self), "quality": storing.QUALITY}

    def targets(self, item: Item) -> Sequence[str]:
        return layouts.get(self.layout, layouts.RGB_LAYOUTS).targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        (folder,) = temporary
        count = storing.write_rgb(folder, item.name, self.pictures.of(item), self.layout)
        layouts.write_n_frames(folder, count)
        return {"frames": count}
