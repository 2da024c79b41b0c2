"""The files `n_frames`, which the 3D-ResNets family reads, from what is really there."""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from common.jobs import parallel
from common.jobs.progress import Progress
from common.jobs.task import Item
from common.video import layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, ImageLayout

# Those where x and y lie apart are counted folder by folder, as frames.
_LAYOUTS: dict[str, ImageLayout] = {
    **{f"rgb {kind.name}": kind for kind in RGB_LAYOUTS.values()},
    **{
        f"flow {kind.name}": kind
        for kind in FLOW_LAYOUTS.values()
        if isinstance(kind, ImageLayout) and len(kind.targets("clip")) == 1
    },
}


@dataclasses.dataclass(frozen=True)
class Counted:
    """What became of one folder.

    Attributes:
        count: Frames, or flows.
        written: Whether `n_frames` was, or would be, written.
        error: Why it could not be counted; empty where it could.
    """

    count: int = 0
    written: bool = False
    error: str = ""


def count(root: Path, name: str) -> int:
    """Frames, or flows, of a prepared clip: of images alone, in whichever layout they are.

    Raises:
        FileNotFoundError: There are none.
        ValueError: Several layouts, or a number is missing.
    """
    return layouts.detect(root, name, _LAYOUTS).count(root, name)


def recount(root: Path, name: str, dry_run: bool = False) -> tuple[int, bool]:
    """Counts, and writes `n_frames` where it is missing or wrong.

    Returns:
        The count, and whether the file was, or would be, written.

    Raises:
        FileNotFoundError, ValueError: As `count`.
    """
    found = count(root, name)
    try:
        if layouts.read_n_frames(root / name) == found:
            return found, False
    except (FileNotFoundError, ValueError):
        pass  # missing, or no number
    if not dry_run:
        layouts.write_n_frames(root / name, found)
    return found, True


def recount_all(items: Sequence[Item], processes: int, dry_run: bool = False) -> list[Counted]:
    """Recounts the folders of all items, with a bar; what became of each, in their order.

    Args:
        items: Folders of frames, each once.
        processes: So many count; 0 does it in this one.
        dry_run: Write nothing.
    """
    counted: dict[Item, Counted] = {}
    bar = Progress("count_frames", len(items))
    one = functools.partial(_recounted, dry_run=dry_run)
    with closing(parallel.each(one, items, processes, engine="threads")) as results:
        for item, future in results:
            counted[item] = future.result()
            bar.add(failed=bool(counted[item].error))
    bar.close()
    return [counted[item] for item in items]


def _recounted(item: Item, dry_run: bool) -> Counted:
    folder = item.source.absolute()
    try:
        return Counted(*recount(folder.parent, folder.name, dry_run))
    except (ValueError, OSError) as error:
        return Counted(error=str(error))
