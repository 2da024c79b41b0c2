"""Settings that commands over many items share: items, frames, flow; and a run of a task."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from common import flow, hardware
from common.annotations import Annotations, annotation_files
from common.flow import TVL1Params
from common.jobs import inputs, runs
from common.jobs.pictures import Pictures
from common.jobs.task import Item, Task
from common.settings import UsageError, setting

_GPU_WORKERS = 4  # enough to decode for a GPU: each process loads torch and keeps memory there


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemSettings:
    """How many items are taken, and what may happen to them."""

    workers: int | None = setting(
        "Processes to work with; 0 works in this one. By default one a core.", None, minimum=0
    )
    overwrite: bool = setting("Replace files that the command has not made.", False)
    limit: int | None = setting("Take only the first items, so many.", None, minimum=1)
    dry_run: bool = setting("Say what would be done, and write nothing.", False)
    allow_failures: int = setting(
        "Number of items that may fail before the exit status is 1.", 0, minimum=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings(ItemSettings):
    """A run of a task over the items of an input."""

    input: Path = setting(
        "A video, a folder with videos or folders of frames, a .txt list of videos; with "
        "--annotations the folder of the data set."
    )
    output: Path = setting("Folder to write to.")
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
        """The data set of --annotations, if given."""
        return annotation_files.read(self.annotations) if self.annotations else None

    def items(self, known: Annotations | None, command: str = "") -> tuple[Item, ...]:
        """The items of the input, or of a data set; `command`: see `inputs.items`."""
        records = known.records if known else None
        return inputs.items(self.input, records, self.limit, self.output, command)

    def for_run(self, items: Sequence[Item], flow_engine: str | None = None) -> runs.Settings:
        """How to run, with no more processes than items, and few if flow shares a GPU."""
        cores = hardware.processors()
        usual = min(_GPU_WORKERS, cores) if flow_engine and flow.on_gpu(flow_engine) else cores
        workers = usual if self.workers is None else self.workers
        return runs.Settings(
            output=self.output,
            workers=min(workers, len(items)),
            overwrite=self.overwrite,
            dry_run=self.dry_run,
            engine=cast(Literal["local", "ray"], self.engine),
            allow_failures=self.allow_failures,
        )

    def run(self, task: Task, items: Sequence[Item], flow_engine: str | None = None) -> int:
        """Runs a task over items, prints the summary, and returns the exit status."""
        report = runs.run(task, items, self.for_run(items, flow_engine))
        print(report.text())
        return report.status


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How frames are taken from a source."""

    source_fps: float | None = setting(
        "Frames a second of folders of frames, where a rate or a span needs it; it is known of "
        "those that `extract_frames` made with --fps.",
        None,
    )
    square_pixels: bool = setting(
        "Stretch the width where pixels are not square, as players do and OpenCV does not.", True
    )

    def pictures(self, items: Sequence[Item], usual: Pictures) -> Pictures:
        """Which frames, and how large: as the settings say, else as is usual for the command.

        Raises:
            UsageError: --source_fps without folders of frames.
        """
        if self.source_fps is not None and not _has_folders(items):
            raise UsageError("--source_fps is for folders of frames, and there are none")
        return dataclasses.replace(
            usual, source_fps=self.source_fps, square_pixels=self.square_pixels
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameSettings(SourceSettings):
    """Rate and size of the frames, too."""

    fps: float | None = setting(
        "Frames a second, by timestamps; 0 takes every frame.", None, minimum=0
    )
    short_side: int | None = setting(
        "Resize the shorter side to so many pixels; 0 keeps the size.", None, minimum=0
    )

    def pictures(self, items: Sequence[Item], usual: Pictures) -> Pictures:
        """As of `SourceSettings`; a rate that is given is that of folders of frames, too.

        Where there are no folders it plays no part in what has to be made again.
        """
        pictures = super().pictures(items, usual)
        if self.fps is not None:
            rate = self.fps or None
            folder_rate = rate if _has_folders(items) else usual.folder_fps
            pictures = dataclasses.replace(pictures, fps=rate, folder_fps=folder_rate)
        if self.short_side is not None:
            pictures = dataclasses.replace(pictures, short_side=self.short_side or None)
        return pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSettings:
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
        """The engine, settled for all workers, and the parameters of TV-L1."""
        return flow.resolve(self.flow_engine), TVL1Params.with_values(self.tvl1)


def _has_folders(items: Sequence[Item]) -> bool:
    return any(item.source.is_dir() for item in items)
