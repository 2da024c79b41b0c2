"""Counts frames and writes `n_frames`; what `--help` prints is the docstring of `Settings`."""

import contextlib
import dataclasses
import sys
from pathlib import Path

from common import command
from common.io import escape
from common.settings import setting
from common.video import layouts, video_files
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# Layouts with x and y in folders of their own are counted folder by folder, as frames.
_LAYOUTS = RGB_LAYOUTS | {
    f"flow {name}": kind
    for name, kind in FLOW_LAYOUTS.items()
    if not kind.is_array and len(kind.targets("clip")) == 1
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Counts the frames, or flows, in every folder under --input and writes their `n_frames`.

        python -m common.prepare.count_frames --input=frames

    `extract_frames` and `extract_flow` write these files themselves; this is for folders that other
    tools made, or that have changed since. A wrong number is replaced. A folder in which a number
    is missing is named, and keeps its file.
    """

    input: Path = setting("A folder of frames, or a folder of such folders.")
    dry_run: bool = setting("Count, and write nothing.", False)
    allow_failures: int = setting(
        "Folders that may fail before the exit status is 1.", 0, minimum=0
    )


def main(settings: Settings) -> int:
    root = settings.input
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder of frames. Check the path.")
    files = video_files.files_under(root)
    folders = sorted({each.parent for each in files if each.suffix.lower() in _SUFFIXES})
    if not folders:
        raise FileNotFoundError(f"0 images found under {root}, looked for {', '.join(_SUFFIXES)}.")
    total = written = failed = 0
    for folder in folders:
        try:
            count, changed = recount(folder, settings.dry_run)
            total, written = total + count, written + changed
        except (ValueError, OSError) as error:
            print(f"  {escape(str(error))}", file=sys.stderr)
            failed += 1
    print(
        f"count_frames: {len(folders)} folders, {total} frames or flows, {written} n_frames "
        f"{'to write' if settings.dry_run else 'written'}, {failed} failed"
    )
    return int(failed > settings.allow_failures)


def recount(folder: Path, dry_run: bool = False) -> tuple[int, bool]:
    """Counts the images in a folder; returns that, and whether `n_frames` is (to be) written.

    Raises `ValueError` for images in several layouts, and where a number is missing.
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
