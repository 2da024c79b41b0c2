"""A data set, made up, in the layout of the real one, and what has to come out of it."""

import dataclasses

from common.annotations import Record
from common.testing.films import SIZE, Film

SIDE = f"--short_side={min(SIZE)}"
AT_25 = (SIDE, "--fps=25")
AS_IT_IS = (SIDE, "--fps=0")


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set: what it is made of, how it is prepared, and what has to come out.

    Attributes:
        lists: The official annotation files.
        films: The raw files.
        records: What is read in the end, in the order of the lists.
        shown: For each record the film, and the pictures of it that are its frames.
        others: The same as the format for other programs has it.
        dataset: Flags that say which it is.
        frames: Flags of extract_frames.
        flow: Flags of extract_flow.
        layouts: Of frames and of flow, as they must be found.
        folders: Folders of flow images.
        fps: Of the stamp.
        container: The format for other programs.
        workers: Flags; none takes worker processes, which take a second more.
    """

    lists: dict[str, str]
    films: tuple[Film, ...]
    records: tuple[Record, ...]
    shown: tuple[tuple[int, list[int]], ...]
    others: tuple[Record, ...]
    dataset: tuple[str, ...]
    frames: tuple[str, ...] = AT_25
    flow: tuple[str, ...] = (SIDE,)
    layouts: tuple[str, str] = ("image", "image_xy")
    folders: int = 3
    fps: float | None = 25
    container: str = "kenshohara"
    workers: tuple[str, ...] = ("--workers=0",)


def every(film: int, count: int) -> tuple[int, list[int]]:
    """All pictures of a film."""
    return film, list(range(count))


def folder(
    name: str, subset: str, labels: tuple[int, ...] = (), frames: int | None = None
) -> Record:
    """A record of the format of 3D-ResNets-PyTorch, which knows folders of frames alone."""
    return Record(name, name, subset, labels, frames=frames)
