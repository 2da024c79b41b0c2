"""Extracts frames of videos as jpgs; what `--help` prints is the docstring of `Settings`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import command
from common.jobs import runs
from common.jobs.settings import SourceSettings
from common.jobs.task import Item
from common.settings import setting
from common.video import frame_files, layouts
from common.video.layouts import RGB_LAYOUTS

_LAYOUTS = ", ".join(f"{name} ({kind.about})" for name, kind in RGB_LAYOUTS.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(SourceSettings):
    """Extracts the frames of videos as jpgs: a folder with a file `n_frames` for each video.

        python -m common.prepare.extract_frames --input=UCF-101 --output=frames
        python -m common.prepare.extract_frames --input=videos --output=frames --fps=25
        python -m common.prepare.extract_frames --input=videos --annotations=k400.json \
            --output=frames

    Writes OUTPUT/CLASS/VIDEO/image_00001.jpg and so on: every frame in its own size, unless --fps
    and --short_side say otherwise. (`extract_flow` takes 25 a second by default: give both commands
    the same rate.) Videos that are done are skipped, so a run that was stopped is started again.
    """

    fps: float = setting("Frames a second, by timestamps; 0 takes every frame.", 0.0, minimum=0)
    short_side: int = setting(
        "Resize the shorter side to so many pixels; 0 keeps the size.", 0, minimum=0
    )
    layout: str = setting(f"Names of the files: {_LAYOUTS}.", "image", choices=tuple(RGB_LAYOUTS))

    command = "extract_frames"

    def parameters(self) -> Mapping[str, object]:
        names = ("fps", "short_side", "source_fps", "square_pixels", "layout")
        return {**{name: getattr(self, name) for name in names}, "quality": frame_files.QUALITY}

    def targets(self, item: Item) -> Sequence[str]:
        return RGB_LAYOUTS[self.layout].targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        (folder,) = temporary
        frames = self.read(item, self.fps, self.short_side)
        count = frame_files.write_rgb(folder, item.name, frames, self.layout)
        layouts.write_n_frames(folder, count)
        return {"frames": count}


def main(settings: Settings) -> int:
    return runs.main(settings, settings.items(settings.command), settings)


if __name__ == "__main__":
    command.start(main, Settings)
