"""Names of frame and flow files, as different tools write them.

A pattern is a path relative to the data set's folder. `{name}` stands for the clip's name
("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01"), `{id}` for the last part of it, `%05d` for the number
of the file with at least five digits. Names may hold any character a file system takes.

Some tools count from 0 and some from 1 under the same names; which one it is, is seen from whether
there is a number 0. Indices are 0-based everywhere else.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from common.io import listing, write_text

N_FRAMES = "n_frames"
"""The file with the number of frames or flows of a clip, which the 3D-ResNets family reads."""

_FIELD = re.compile(r"\{name\}|\{id\}|%0(\d)d")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Numbered images, one per frame or two per flow; or an array of flow with its stamp beside it.

    An array is [1, T, H, W, 2], float32 in [-1, 1].

    Attributes:
        name: Its name for `--layout`.
        about: Who writes or reads it.
        patterns: Pattern of the path of an image, or of an array; for images of flow, of x and y.
    """

    name: str
    about: str
    patterns: tuple[str, ...]
    first_index = 1  # number of the first image, in what we write

    @property
    def is_array(self) -> bool:
        """Whether the files are an array and its stamp."""
        return "%" not in self.patterns[0]

    def targets(self, name: str) -> tuple[str, ...]:
        """Returns the folder of a clip, or those of x and y; or the files of array and stamp.

        All are relative to the data set's folder.
        """
        paths = [PurePosixPath(_fill(each, name)) for each in self.patterns]
        if self.is_array:
            return str(paths[0]), str(paths[0].with_suffix(".json"))
        return tuple(dict.fromkeys(str(path.parent) for path in paths))

    def paths(self, root: Path, name: str, index: int = 0, first: int | None = None) -> list[Path]:
        """Returns the files of the 0-based `index`: of a frame, of a flow x and y, or the array.

        `first` is the number of the first file; None is the layout's own.
        """
        number = index + (self.first_index if first is None else first)
        return [root / _fill(each, name, number) for each in self.patterns]

    def present(self, root: Path, name: str) -> bool:
        """Returns whether any file of the clip is there."""
        return any(self._numbers(root, name))

    def count(self, root: Path, name: str) -> int:
        """Counts the frames or flows of the clip; raises as `numbers`."""
        return len(self.numbers(root, name))

    def numbers(self, root: Path, name: str) -> range:
        """Returns the numbers of the images of a clip that is there, from 0 or from 1.

        Raises:
            ValueError: A number is missing, or x and y differ in number.
        """
        found = self._numbers(root, name)
        every = set().union(*found)
        numbers = range(0 if 0 in every else 1, max(every) + 1)
        if all(len(has) == len(numbers) for has in found):
            return numbers
        missing = [next((n for n in numbers if n not in has), numbers.stop) for has in found]
        path = _fill(self.patterns[missing.index(min(missing))], name, min(missing))
        counts = " and ".join(str(len(has)) for has in found)
        raise ValueError(
            f"{root / path} is missing. Expected files {numbers[0]} to {numbers[-1]}"
            f"{' of x and of y' if len(found) > 1 else ''}. Received: {counts} files. "
            "Make the clip again."
        )

    def _numbers(self, root: Path, name: str) -> list[set[int]]:
        """Returns the numbers of the files that match each pattern; 0 is that of an array."""
        if self.is_array:
            return [{0}] if self.paths(root, name)[0].is_file() else [set()]
        found = []
        for pattern in self.patterns:
            folder = (root / _fill(pattern, name)).parent
            before, digits, after = re.split(r"%0(\d)d", PurePosixPath(pattern).name)
            file = re.compile(f"{re.escape(_fill(before, name))}([0-9]+){re.escape(after)}")
            names = os.listdir(folder) if folder.is_dir() else []
            texts = [match[1] for match in map(file.fullmatch, names) if match]
            # %05d writes 123 as 00123 and nothing else; 000123 is of %06d.
            found.append({int(text) for text in texts if f"{int(text):0{digits}d}" == text})
        return found


def _table(*rows: tuple[str, str, tuple[str, ...]]) -> dict[str, Layout]:
    return {row[0]: Layout(*row) for row in rows}


RGB_LAYOUTS = _table(
    ("image", "3D-ResNets-PyTorch, MindSpore", ("{name}/image_%05d.jpg",)),
    ("img", "dense_flow, denseflow, TSN, mmaction2", ("{name}/img_%05d.jpg",)),
    ("frame", "Feichtenhofer's jpegs_256", ("{name}/frame%06d.jpg",)),
    ("charades", "Charades_v1_rgb", ("{name}/{id}-%06d.jpg",)),
    ("something_v1", "Something-Something V1", ("{name}/%05d.jpg",)),
)
FLOW_LAYOUTS = _table(
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


def get(name: str, layouts: Mapping[str, Layout]) -> Layout:
    """Returns the layout of a name; raises `ValueError` for another name."""
    if name not in layouts:
        raise ValueError(
            f"no such layout. Expected one of {listing(layouts, len(layouts))}. Received: {name!r}."
        )
    return layouts[name]


def detect(root: Path, name: str, layouts: Mapping[str, Layout]) -> Layout:
    """Returns the one layout of `layouts` that files of the clip are in.

    Raises:
        FileNotFoundError: No layout has files of the clip.
        ValueError: Several have, or the name leads out of `root`.
    """
    found = [each for each in layouts.values() if each.present(root, name)]
    if not found:
        paths = (each.paths(Path(), name)[0] for each in layouts.values())
        raise FileNotFoundError(
            f"{root}: has nothing of the clip {name}. Looked for {', '.join(map(str, paths))}."
        )
    if len(found) > 1:
        raise ValueError(
            f"{root}: has the clip {name} in the layouts {listing(each.name for each in found)}. "
            "Move all but one of them elsewhere."
        )
    return found[0]


def write_n_frames(folder: Path, count: int) -> None:
    """Writes the number of frames or flows of a clip, digits without an end of line."""
    write_text(folder / N_FRAMES, str(count))


def read_n_frames(folder: Path, count: int | None = None) -> int:
    """Reads what `write_n_frames` or another tool wrote, and compares it with `count` if given.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no number, or not `count`.
    """
    path = folder / N_FRAMES
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file. `count_frames` writes it.")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{path}: expected a number. Received: {text[:40]!r}.")
    if count is not None and int(text) != count:
        raise ValueError(
            f"{path}: says {int(text)}, and there are {count}. Make the clip again, or let "
            "`count_frames` write the file anew."
        )
    return int(text)


def _fill(pattern: str, name: str, number: int = 0) -> str:
    """Replaces the fields of a pattern; a replacement is not searched for fields."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"expected a clip's name, relative and without '..'. Received: {name!r}.")

    def field(match: re.Match[str]) -> str:
        if match[0] == "{name}":
            return name
        return parts[-1] if match[0] == "{id}" else f"{number:0{match[1]}d}"

    return _FIELD.sub(field, pattern)
