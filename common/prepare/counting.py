"""The files `n_frames`, which the 3D-ResNets family reads, from what is really there."""

from pathlib import Path

from common import layouts
from common.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, ImageLayout

# Those where x and y lie apart are counted folder by folder, as frames.
_LAYOUTS: dict[str, ImageLayout] = {
    **{f"rgb {kind.name}": kind for kind in RGB_LAYOUTS.values()},
    **{
        f"flow {kind.name}": kind
        for kind in FLOW_LAYOUTS.values()
        if isinstance(kind, ImageLayout) and len(kind.targets("clip")) == 1
    },
}


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
