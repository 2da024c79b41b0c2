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
from common.jobs.task import Item
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
    bar = Progress("count_frames", len(items))
    one = functools.partial(_recounted, dry_run=settings.dry_run)
    results = parallel.each(one, items, settings.workers or 0, engine="threads")
    with contextlib.closing(results):
        for item, future in results:
            count, changed, error = future.result()
            total, written = total + count, written + changed
            if error:
                errors[item] = error
            bar.add(failed=bool(error))
    bar.close()
    for item in filter(errors.__contains__, items):
        print(f"  {escape(errors[item])}", file=sys.stderr)
    print(
        f"count_frames: {len(items)} folders, {total} frames or flows, {written} n_frames "
        f"{'to write' if settings.dry_run else 'written'}, {len(errors)} failed"
    )
    return int(len(errors) > settings.allow_failures)


def recount(root: Path, name: str, dry_run: bool = False) -> tuple[int, bool]:
    """Counts a clip's images and writes `n_frames` if it is missing or wrong.

    Returns:
        The count, and whether the file was, or would be, written.

    Raises:
        FileNotFoundError: There are no images of the clip.
        ValueError: Images in several layouts, or a number is missing.
    """
    found = layouts.detect(root, name, _LAYOUTS).count(root, name)
    try:
        if layouts.read_n_frames(root / name) == found:
            return found, False
    except (FileNotFoundError, ValueError):
        pass  # missing, or no number
    if not dry_run:
        layouts.write_n_frames(root / name, found)
    return found, True


def _recounted(item: Item, dry_run: bool) -> tuple[int, bool, str]:
    """The results of `recount`, and an error in place of an exception."""
    folder = item.source.absolute()
    try:
        return *recount(folder.parent, folder.name, dry_run), ""
    except (ValueError, OSError) as error:
        return 0, False, str(error)


if __name__ == "__main__":
    command.start(main, Settings)
