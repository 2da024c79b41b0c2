"""Names of frame and flow files, as different tools write them.

A pattern is a path relative to the data set's folder. `{name}` stands for the clip's name
("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01"), `{id}` for the last part of it, `%05d` for the number
of the file with at least five digits. Names may hold any character a file system takes.

Some tools count from 0 and some from 1 under the same names; which one it is, is seen from whether
there is a number 0. Indices are 0-based everywhere else.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from common.io import listing, write_text

N_FRAMES = "n_frames"
"""The file with the number of frames or flows of a clip, which the 3D-ResNets family reads."""

_FIELD = re.compile(r"\{name\}|\{id\}|%0(\d)d")


@dataclasses.dataclass(frozen=True)
class ImageLayout:
    """Numbered images: one per frame, or two per flow.

    Attributes:
        name: Its name for `--layout`.
        patterns: Pattern of the image's path; for flow, those of x and y.
        about: Who writes or reads it.
        first_index: Number of the first file, in what we write.
    """

    name: str
    patterns: tuple[str, ...]
    about: str
    first_index: int = 1

    def targets(self, name: str) -> tuple[str, ...]:
        """Returns the folders of a clip, relative to the data set's: one, or those of x and y."""
        folders = (str(PurePosixPath(_fill(each, name)).parent) for each in self.patterns)
        return tuple(dict.fromkeys(folders))

    def paths(self, root: Path, name: str, index: int, first: int | None = None) -> list[Path]:
        """Returns the files of the 0-based `index`: one of a frame, x and y of a flow.

        `first` is the number of the first file; None is the layout's own.
        """
        number = index + (self.first_index if first is None else first)
        return [root / _fill(each, name, number) for each in self.patterns]

    def present(self, root: Path, name: str) -> bool:
        """Returns whether any file of the clip is there."""
        return self.found(root, name, _file_names)

    def count(self, root: Path, name: str) -> int:
        """Counts the frames or flows of the clip; raises as `numbers`."""
        return len(self.numbers(root, name))

    def numbers(self, root: Path, name: str) -> range:
        """Returns the numbers of the clip's files, which begin with 0 or with 1.

        Raises:
            FileNotFoundError: There is no such folder, or no such file in it.
            ValueError: A number is missing, or x and y differ in number.
        """
        found = [_numbers(root, each, name, _file_names) for each in self.patterns]
        every = set().union(*found)
        if not every:
            raise FileNotFoundError(
                f"{root / self.targets(name)[0]}: expected files of the layout {self.name}, such "
                f"as {self.example(name)}. There are none."
            )
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

    def example(self, name: str) -> str:
        """Returns the path of a first file, for messages."""
        return _fill(self.patterns[0], name, self.first_index)

    def found(self, root: Path, name: str, file_names: Callable[[Path], list[str]]) -> bool:
        """As `present`, with the function that lists a folder."""
        return any(_numbers(root, each, name, file_names) for each in self.patterns)


@dataclasses.dataclass(frozen=True)
class ArrayLayout:
    """The flow of a clip as one array [1, T, H, W, 2], float32 in [-1, 1], and its stamp beside it.

    Attributes:
        name: Its name for `--layout`.
        pattern: Pattern of the file's path.
        about: Who writes or reads it.
    """

    name: str
    pattern: str
    about: str

    def targets(self, name: str) -> tuple[str, ...]:
        """Returns the files of a clip, relative to the data set's: the array and its stamp."""
        path = PurePosixPath(_fill(self.pattern, name))
        return str(path), str(path.with_suffix(".json"))

    def path(self, root: Path, name: str) -> Path:
        """Returns the array's file."""
        return root / _fill(self.pattern, name)

    def example(self, name: str) -> str:
        """Returns the path of the array, for messages."""
        return _fill(self.pattern, name)

    def found(self, root: Path, name: str, file_names: Callable[[Path], list[str]]) -> bool:
        """Returns whether the array is there."""
        return self.path(root, name).is_file()


FlowLayout = ImageLayout | ArrayLayout

_RGB = (
    ImageLayout("image", ("{name}/image_%05d.jpg",), "3D-ResNets-PyTorch, MindSpore"),
    ImageLayout("img", ("{name}/img_%05d.jpg",), "dense_flow, denseflow, TSN, mmaction2"),
    ImageLayout("frame", ("{name}/frame%06d.jpg",), "Feichtenhofer's jpegs_256"),
    ImageLayout("charades", ("{name}/{id}-%06d.jpg",), "Charades_v1_rgb"),
    ImageLayout("something_v1", ("{name}/%05d.jpg",), "Something-Something V1"),
)
_FLOW: tuple[FlowLayout, ...] = (
    ImageLayout(
        "image_xy",
        ("{name}/image_%05dx.jpg", "{name}/image_%05dy.jpg"),
        "MindSpore (whose first flow is of frame 1 to itself)",
    ),
    ImageLayout(
        "flow_xy",
        ("{name}/flow_x_%05d.jpg", "{name}/flow_y_%05d.jpg"),
        "dense_flow (whose img i is the second frame of flow i), denseflow (from 0), mmaction2",
    ),
    ImageLayout("charades", ("{name}/{id}-%06dx.jpg", "{name}/{id}-%06dy.jpg"), "Charades_v1_flow"),
    ImageLayout(
        "uv", ("u/{name}/frame%06d.jpg", "v/{name}/frame%06d.jpg"), "Feichtenhofer's tvl1_flow"
    ),
    ImageLayout(
        "uv_inside",
        ("{name}/u/frame%06d.jpg", "{name}/v/frame%06d.jpg"),
        "u and v inside the clip's folder",
    ),
    ImageLayout("xy", ("x/{name}/frame%06d.jpg", "y/{name}/frame%06d.jpg"), "gpu_flow"),
    ArrayLayout("npy", "{name}_flow.npy", "the original release"),
    ArrayLayout("npz", "{name}_flow.npz", "the same, compressed"),
)
RGB_LAYOUTS: dict[str, ImageLayout] = {layout.name: layout for layout in _RGB}
FLOW_LAYOUTS: dict[str, FlowLayout] = {layout.name: layout for layout in _FLOW}

_Layout = TypeVar("_Layout", ImageLayout, FlowLayout)


def get(name: str, layouts: Mapping[str, _Layout]) -> _Layout:
    """Returns the layout of a name; raises `ValueError` for another name."""
    if name not in layouts:
        raise ValueError(
            f"no such layout. Expected one of {listing(layouts, len(layouts))}. Received: {name!r}."
        )
    return layouts[name]


def detect(root: Path, name: str, layouts: Mapping[str, _Layout]) -> _Layout:
    """Returns the one layout of `layouts` that files of the clip are in.

    Raises:
        FileNotFoundError: No layout has files of the clip.
        ValueError: Several have, or the name leads out of `root`.
    """
    file_names = functools.cache(_file_names)  # many layouts look into the same folder
    found = [each for each in layouts.values() if each.found(root, name, file_names)]
    if not found:
        looked_for = ", ".join(each.example(name) for each in layouts.values())
        raise FileNotFoundError(f"{root}: has nothing of the clip {name}. Looked for {looked_for}.")
    if len(found) > 1:
        raise ValueError(
            f"{root}: has the clip {name} in the layouts {listing(each.name for each in found)}. "
            "Name the one to read."
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


def _numbers(
    root: Path, pattern: str, name: str, file_names: Callable[[Path], list[str]]
) -> set[int]:
    """Returns the numbers of the files that match a pattern."""
    folder = (root / _fill(pattern, name)).parent
    before, digits, after = re.split(r"%0(\d)d", PurePosixPath(pattern).name)
    before, after = (_fill(each, name) if each else "" for each in (before, after))
    found = set()
    for file_name in file_names(folder):
        if file_name.startswith(before) and file_name.endswith(after):
            text = file_name[len(before) : len(file_name) - len(after)]
            # %05d writes 123 as 00123 and nothing else; 000123 is of %06d.
            if text.isdecimal() and f"{int(text):0{digits}d}" == text:
                found.add(int(text))
    return found


def _file_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
