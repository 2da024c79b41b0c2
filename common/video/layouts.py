"""Names of frame and flow files, as different tools write them.

In a pattern, relative to the data set's folder, `{name}` stands for the clip's name, `{id}` for the
last part of it, and `%05d` for the number of the file, from 0 or 1, with at least five digits.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from common.io import listing, write_text
from common.video import video_files

N_FRAMES = "n_frames"  # file with the number of frames or flows, which the 3D-ResNets family reads
FIRST_INDEX = 1  # number of the first image, in what we write


@dataclasses.dataclass(frozen=True)
class Layout:
    """Numbered images, one per frame or two per flow; or an array of flow beside its stamp."""

    name: str  # for `--layout`
    about: str  # who writes or reads it
    patterns: tuple[str, ...]  # of the path of an image or array; for images of flow, of x and y

    @property
    def is_array(self) -> bool:
        return "%" not in self.patterns[0]

    def targets(self, name: str) -> tuple[str, ...]:
        """Returns the folder of a clip, or those of x and y; or the files of array and stamp."""
        paths = [PurePosixPath(_fill(each, name)) for each in self.patterns]
        if self.is_array:
            return str(paths[0]), str(paths[0].with_suffix(".json"))
        return tuple(dict.fromkeys(str(path.parent) for path in paths))

    def paths(self, root: Path, name: str, index: int = 0, first: int = FIRST_INDEX) -> list[Path]:
        """Returns the files of the 0-based `index`: of a frame, of a flow x and y, or the array."""
        return [root / _fill(each, name, index + first) for each in self.patterns]

    def find(self, root: Path, name: str) -> list[list[Path]]:
        """Lists the files of each pattern in order; `ValueError` if one is missing in between."""
        if self.is_array:
            return [[path for path in self.paths(root, name) if path.is_file()]]
        found = []
        for pattern in self.patterns:
            folder = (root / _fill(pattern, name)).parent
            before, digits, after = re.split(r"%0(\d)d", PurePosixPath(pattern).name)
            found.append(video_files.numbered(folder, _fill(before, name), int(digits), after))
        if len(found[0]) != len(found[-1]):
            counts = f"{len(found[0])} files of x and {len(found[-1])} of y"
            raise ValueError(f"{root}: the clip {name} has {counts}. Make the clip again.")
        return found

    def count(self, root: Path, name: str) -> int:
        return len(self.find(root, name)[0])


_RGB = (
    ("image", "3D-ResNets-PyTorch, MindSpore", ("{name}/image_%05d.jpg",)),
    ("img", "dense_flow, denseflow, TSN, mmaction2", ("{name}/img_%05d.jpg",)),
    ("frame", "Feichtenhofer's jpegs_256", ("{name}/frame%06d.jpg",)),
    ("charades", "Charades_v1_rgb", ("{name}/{id}-%06d.jpg",)),
    ("something_v1", "Something-Something V1", ("{name}/%05d.jpg",)),
)
_FLOW = (
    ("image_xy", "MindSpore (whose first flow is of frame 1 to itself)",
     ("{name}/image_%05dx.jpg", "{name}/image_%05dy.jpg")),
    ("flow_xy",
     "dense_flow (whose img i is the second frame of flow i), denseflow (from 0), mmaction2",
     ("{name}/flow_x_%05d.jpg", "{name}/flow_y_%05d.jpg")),
    ("charades", "Charades_v1_flow", ("{name}/{id}-%06dx.jpg", "{name}/{id}-%06dy.jpg")),
    ("uv", "Feichtenhofer's tvl1_flow", ("u/{name}/frame%06d.jpg", "v/{name}/frame%06d.jpg")),
    ("uv_inside", "u and v inside the clip's folder",
     ("{name}/u/frame%06d.jpg", "{name}/v/frame%06d.jpg")),
    ("xy", "gpu_flow", ("x/{name}/frame%06d.jpg", "y/{name}/frame%06d.jpg")),
    ("npy", "the original release", ("{name}_flow.npy",)),
    ("npz", "the same, compressed", ("{name}_flow.npz",)),
)  # fmt: skip
RGB_LAYOUTS = {row[0]: Layout(*row) for row in _RGB}
FLOW_LAYOUTS = {row[0]: Layout(*row) for row in _FLOW}


def detect(root: Path, name: str, layouts: Mapping[str, Layout]) -> Layout:
    """Returns the one layout of `layouts` that files of the clip are in.

    Raises `FileNotFoundError` if there are none, and `ValueError` if there are several, or gaps.
    """
    found = [each for each in layouts.values() if each.count(root, name)]
    if not found:
        paths = ", ".join(str(each.paths(Path(), name)[0]) for each in layouts.values())
        raise FileNotFoundError(f"{root}: has nothing of the clip {name}. Looked for {paths}.")
    if len(found) > 1:
        names = f"{listing(each.name for each in found)}. Move all but one elsewhere"
        raise ValueError(f"{root}: has the clip {name} in the layouts {names}.")
    return found[0]


def write_n_frames(folder: Path, count: int) -> None:
    write_text(folder / N_FRAMES, str(count))


def read_n_frames(folder: Path, count: int | None = None) -> int:
    """Raises `ValueError` for what is no number, and for another than `count`."""
    path = folder / N_FRAMES
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{path}: expected a number. Received: {text[:40]!r}.")
    if count not in (None, int(text)):
        way_out = "Make the clip again, or let `count_frames` write the file"
        raise ValueError(f"{path}: says {text}, and there are {count}. {way_out}.")
    return int(text)


def _fill(pattern: str, name: str, number: int = 0) -> str:
    """Replaces the fields of a pattern; a replacement is not searched for fields."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"expected a clip's name, relative and without '..'. Received: {name!r}.")
    values = {"{name}": name, "{id}": parts[-1]}

    def value(match: re.Match[str]) -> str:
        return values.get(match[0]) or f"{number:0{match[1]}d}"

    return re.sub(r"\{name\}|\{id\}|%0(\d)d", value, pattern)
