"""Counts frames and writes `n_frames`; what `--help` prints is the docstring of `Settings`."""

import contextlib
import dataclasses
import functools
import os
import sys
from pathlib import Path

from common import command
from common.io import escape
from common.jobs import inputs, parallel
from common.jobs.progress import Progress
from common.jobs.settings import ItemSettings
from common.settings import UsageError, setting
from common.video import layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, Layout

# Layouts with x and y in folders of their own are counted folder by folder, as frames.
_LAYOUTS: dict[str, Layout] = {
    **{f"rgb {kind.name}": kind for kind in RGB_LAYOUTS.values()},
    **{
        f"flow {kind.name}": kind
        for kind in FLOW_LAYOUTS.values()
        if isinstance(kind, Layout) and len(kind.targets("clip")) == 1
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ItemSettings):
    """Counts the frames, or flows, in every folder under --input and writes their `n_frames`.

        python -m common.prepare.count_frames --input=frames

    `extract_frames` and `extract_flow` write these files themselves; this is for folders that other
    tools made, or that have changed since. A wrong number is replaced with or without --overwrite.
    A folder in which a number is missing is named, and keeps its file. Counting waits for the disk,
    so it is done in one thread unless --workers says how many.
    """

    input: Path = setting("A folder of frames, or a folder of such folders.")
    output: Path | None = setting(
        "The same folder: n_frames is written beside the images it counts.", None
    )


def main(settings: Settings) -> int:
    output = settings.output
    if output is not None and os.path.realpath(output) != os.path.realpath(settings.input):
        raise UsageError(
            "--output is another folder than --input: n_frames is written beside the images it "
            "counts. Leave --output out"
        )
    items = inputs.frame_folders(settings.input, settings.limit)
    total, written, errors = 0, 0, {}
    folders = [item.source for item in items]
    one = functools.partial(recount, dry_run=settings.dry_run)
    with (
        contextlib.closing(Progress("count_frames", len(folders))) as bar,
        contextlib.closing(
            parallel.each(one, folders, settings.workers or 1, engine="threads")
        ) as results,
    ):
        for folder, future in results:
            try:
                count, changed = future.result()
                total, written = total + count, written + changed
            except (ValueError, OSError) as error:
                errors[folder] = str(error)
            bar.add(failed=folder in errors)
    for folder in filter(errors.__contains__, folders):
        print(f"  {escape(errors[folder])}", file=sys.stderr)
    print(
        f"count_frames: {len(folders)} folders, {total} frames or flows, {written} n_frames "
        f"{'to write' if settings.dry_run else 'written'}, {len(errors)} failed"
    )
    return int(len(errors) > settings.allow_failures)


def recount(folder: Path, dry_run: bool = False) -> tuple[int, bool]:
    """Counts the images in a folder and writes `n_frames` if it is missing or wrong.

    Returns:
        The count, and whether the file was, or would be, written.

    Raises:
        FileNotFoundError: There are no images.
        ValueError: Images in several layouts, or a number is missing.
    """
    folder = folder.absolute()
    found = layouts.detect(folder.parent, folder.name, _LAYOUTS).count(folder.parent, folder.name)
    with contextlib.suppress(FileNotFoundError, ValueError):  # missing, or no number
        if layouts.read_n_frames(folder) == found:
            return found, False
    if not dry_run:
        layouts.write_n_frames(folder, found)
    return found, True


if __name__ == "__main__":
    command.start(main, Settings)
