"""What the files of prepared clips are called: frames and flow, as different tools write them.

A pattern is a path relative to the data set's folder. `{name}` stands for the clip's name
("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01"), `{id}` for the last part of it, `%05d` for the number
of the file with at least five digits. Names may hold any character a file system takes.

Some tools count from 0 and some from 1 under the same names; what is there is seen from whether
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

_FileNames = Callable[[Path], list[str]]

_FIELD = re.compile(r"\{name\}|\{id\}|%0(\d)d")


@dataclasses.dataclass(frozen=True)
class ImageLayout:
    """Numbered images: one a frame, or two a flow.

    Attributes:
        name: What `--layout` takes.
        patterns: Of the image's path; for flow those of x and y.
        about: Who writes or reads it.
        first_index: Number of the first file, where we write it.
    """

    name: str
    patterns: tuple[str, ...]
    about: str
    first_index: int = 1

    def targets(self, name: str) -> tuple[str, ...]:
        """The folders of a clip, relative to the data set's: one, or one for x and one for y."""
        folders = (str(PurePosixPath(_fill(each, name)).parent) for each in self.patterns)
        return tuple(dict.fromkeys(folders))

    def paths(self, root: Path, name: str, index: int, first: int | None = None) -> list[Path]:
        """The files of the 0-based `index`: of a frame one, of a flow x and y.

        `first` is the number of the first file; None is the layout's own.
        """
        number = index + (self.first_index if first is None else first)
        return [root / _fill(each, name, number) for each in self.patterns]

    def present(self, root: Path, name: str) -> bool:
        """Whether any file of the clip is there."""
        return self._present(root, name, _file_names)

    def count(self, root: Path, name: str) -> int:
        """How many frames or flows of the clip are there; errors as of `numbers`."""
        return len(self.numbers(root, name))

    def numbers(self, root: Path, name: str) -> range:
        """The numbers of the clip's files, which begin with 0 or with 1.

        Raises:
            FileNotFoundError: There is no such folder, or no such file in it.
            ValueError: A number is missing, or there is not the same number of x and y.
        """
        found = [_numbers(root, each, name, _file_names) for each in self.patterns]
        every = set().union(*found)
        if not every:
            raise FileNotFoundError(
                f"{root / self.targets(name)[0]}: expected files of the layout {self.name}, such "
                f"as {self._example(name)}. There are none."
            )
        numbers = range(0 if 0 in every else 1, max(every) + 1)
        missing = [_first_missing(numbers, has) for has in found]
        if min(missing) < numbers.stop:
            path = _fill(self.patterns[missing.index(min(missing))], name, min(missing))
            counts = " and ".join(str(len(has)) for has in found)
            raise ValueError(
                f"{root / path} is missing. Expected files {numbers[0]} to {numbers[-1]}"
                f"{' of x and of y' if len(found) > 1 else ''}. Received: {counts} files. "
                "Make the clip again."
            )
        return numbers

    def _example(self, name: str) -> str:
        return _fill(self.patterns[0], name, self.first_index)

    def _present(self, root: Path, name: str, file_names: _FileNames) -> bool:
        return any(_numbers(root, each, name, file_names) for each in self.patterns)


@dataclasses.dataclass(frozen=True)
class ArrayLayout:
    """The flow of a clip as one array [1, T, H, W, 2], float32 in [-1, 1], and its stamp beside it.

    Attributes:
        name: What `--layout` takes.
        pattern: Of the file's path.
        about: Who writes or reads it.
    """

    name: str
    pattern: str
    about: str

    def targets(self, name: str) -> tuple[str, ...]:
        """The files of a clip, relative to the data set's folder: the array and its stamp."""
        path = PurePosixPath(_fill(self.pattern, name))
        return str(path), str(path.with_suffix(".json"))

    def path(self, root: Path, name: str) -> Path:
        """The array's file."""
        return root / _fill(self.pattern, name)

    def present(self, root: Path, name: str) -> bool:
        """Whether the array is there."""
        return self.path(root, name).is_file()

    def _example(self, name: str) -> str:
        return _fill(self.pattern, name)

    def _present(self, root: Path, name: str, file_names: _FileNames) -> bool:
        return self.present(root, name)


FlowLayout = ImageLayout | ArrayLayout

RGB_LAYOUTS: dict[str, ImageLayout] = {
    layout.name: layout
    for layout in (
        ImageLayout("image", ("{name}/image_%05d.jpg",), "3D-ResNets-PyTorch, MindSpore"),
        ImageLayout("img", ("{name}/img_%05d.jpg",), "dense_flow, denseflow, TSN, mmaction2"),
        ImageLayout("frame", ("{name}/frame%06d.jpg",), "Feichtenhofer's jpegs_256"),
        ImageLayout("charades", ("{name}/{id}-%06d.jpg",), "Charades_v1_rgb"),
        ImageLayout("something_v1", ("{name}/%05d.jpg",), "Something-Something V1"),
    )
}

FLOW_LAYOUTS: dict[str, FlowLayout] = {
    layout.name: layout
    for layout in (
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
        ImageLayout(
            "charades", ("{name}/{id}-%06dx.jpg", "{name}/{id}-%06dy.jpg"), "Charades_v1_flow"
        ),
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
}

_Layout = TypeVar("_Layout", ImageLayout, FlowLayout)


def get(name: str, layouts: Mapping[str, _Layout]) -> _Layout:
    """The layout of a name; raises `ValueError` for another name."""
    if name not in layouts:
        raise ValueError(
            f"no such layout. Expected one of {listing(layouts, len(layouts))}. Received: {name!r}."
        )
    return layouts[name]


def detect(root: Path, name: str, layouts: Mapping[str, _Layout]) -> _Layout:
    """The one layout of `layouts` that files of the clip are there in.

    Raises:
        FileNotFoundError: There are no files of the clip in any.
        ValueError: There are files of it in several, or the name leads out of `root`.
    """
    file_names = functools.cache(_file_names)  # many layouts look into the same folder
    found = [each for each in layouts.values() if each._present(root, name, file_names)]
    if not found:
        looked_for = ", ".join(each._example(name) for each in layouts.values())
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
    """The pattern with its fields replaced; what stands in for one is not looked at again."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"expected a clip's name, relative and without '..'. Received: {name!r}.")

    def field(match: re.Match[str]) -> str:
        if match[0] == "{name}":
            return name
        return parts[-1] if match[0] == "{id}" else f"{number:0{match[1]}d}"

    return _FIELD.sub(field, pattern)


def _numbers(root: Path, pattern: str, name: str, file_names: _FileNames) -> set[int]:
    """The numbers that files of a pattern have."""
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


def _first_missing(numbers: range, has: set[int]) -> int:
    """The first of `numbers` that is not in `has`, or the one after the last."""
    return next((number for number in numbers if number not in has), numbers.stop)


def _file_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
