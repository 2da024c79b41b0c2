"""Settings that commands over many items share; each field is a flag."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware, video
from common.annotations import Annotations, annotation_files
from common.flow import TVL1Params
from common.flow.stamp import FlowStamp
from common.jobs import inputs
from common.jobs.task import Item, noted
from common.preprocessing.frames import resize_picture_short_side
from common.settings import setting

_GPU_WORKERS = 4  # enough to decode for a GPU: each process loads torch and keeps memory there


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A run of a task over the items of an input."""

    input: Path = setting(
        "A video, a folder with videos or folders of frames, a .txt list of videos; with "
        "--annotations the folder of the data set."
    )
    output: Path = setting("Folder to write to.")
    workers: int | None = setting(
        "Processes to work with; 0 works in this one. By default one a core.", None, minimum=0
    )
    overwrite: bool = setting("Replace files that the command has not made.", False)
    limit: int | None = setting("Take only the first items, so many.", None, minimum=1)
    dry_run: bool = setting("Say what would be done, and write nothing.", False)
    allow_failures: int = setting(
        "Number of items that may fail before the exit status is 1.", 0, minimum=0
    )
    annotations: Path | None = setting(
        "The clips of a data set: a file that `make_annotations` wrote, or one of 3D-ResNets or "
        "pytorch-i3d.",
        None,
    )
    engine: str = setting(
        "Where items are made: local, processes on this machine, or ray, a Ray cluster.",
        "local",
        choices=("local", "ray"),
    )

    def read_annotations(self) -> Annotations | None:
        return annotation_files.read(self.annotations) if self.annotations else None

    def items(self, command: str = "") -> tuple[Item, ...]:
        """The items of the input, or of a data set; `command`: see `inputs.items`."""
        known = self.read_annotations()
        records = known.records if known else None
        return inputs.items(self.input, records, self.limit, self.output, command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings(RunSettings):
    """How frames are taken from a source."""

    source_fps: float | None = setting(
        "Frames a second of folders of frames, where a rate or a span needs it; it is known of "
        "those that `extract_frames` made with --fps.",
        None,
    )
    square_pixels: bool = setting(
        "Stretch the width where pixels are not square, as players do and OpenCV does not.", True
    )

    def own_rate(self, item: Item) -> float | None:
        """The rate of a folder of frames; None if unknown, and for videos."""
        if not item.source.is_dir():
            return None
        return self.source_fps or noted(item.source).get("fps") or item.fps

    def read(
        self,
        item: Item,
        fps: float | None = None,
        short_side: int | None = None,
        max_frames: int | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """Yields frames [H, W, 3] uint8 RGB one by one; 0 and None: every one, in its own size."""
        frames = video.read_frames(
            item.source,
            fps or None,
            item.start or 0,
            item.end,
            max_frames,
            source_fps=self.own_rate(item),
            strict=True,
            threads=hardware.own_threads(),
            square_pixels=self.square_pixels,
        )
        return (
            resize_picture_short_side(each, short_side) if short_side else each for each in frames
        )

    def stamp(self, item: Item, fps: float | None, short_side: int | None) -> dict[str, Any]:
        """Rate and size of such frames, as a `FlowStamp` has them; None where they are unknown."""
        folder = item.source.is_dir()
        made = noted(item.source) if folder else {"square_pixels": self.square_pixels}
        return {
            "fps": fps or self.own_rate(item),
            "short_side": short_side or made.get("short_side") or None,
            "square_pixels": made.get("square_pixels"),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSettings(SourceSettings):
    """How flow is computed."""

    flow_engine: str = setting(
        "What computes TV-L1 flow; auto is torch on a CUDA device, else numba.",
        "auto",
        choices=("auto", *flow.ENGINES),
    )
    tvl1: tuple[str, ...] = setting(
        "A parameter of TV-L1 as NAME=VALUE; may be given several times.", (), repeated=True
    )

    def chosen_flow(self) -> tuple[str, TVL1Params]:
        return flow.resolve(self.flow_engine), TVL1Params.with_values(self.tvl1)

    def flow_stamp(self, **how: Any) -> FlowStamp:
        engine, params = self.chosen_flow()
        return FlowStamp(engine, dataclasses.asdict(params), **how)

    def resolved(self) -> Self:
        """These settings with the engine settled, and with few workers if they share a GPU."""
        changes: dict[str, Any] = {"flow_engine": flow.resolve(self.flow_engine)}
        if self.workers is None and flow.on_gpu(changes["flow_engine"]):
            changes["workers"] = min(_GPU_WORKERS, hardware.processors())
        return dataclasses.replace(self, **changes)
