"""What is to be done: items, and the task that makes something of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing to prepare: a clip.

    Attributes:
        name: Where its results are kept: relative, parts separated by "/", without suffix,
            unique in a run.
        source: A video file, or a folder.
        start: Where the clip begins in the source, seconds; None is its beginning.
        end: Where it ends, seconds; None is the end of the source.
        fps: Images a second of a source that is a folder, where its annotation says so.
        also: Other files that its results are made of.
    """

    name: str
    source: Path
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    also: tuple[Path, ...] = ()


class Task(Protocol):
    """What is made of an item: a frozen dataclass that holds the command's settings.

    It is pickled to worker processes, so its class stands in a module of the library, not in a
    command's. A worker's share of the processor is in its environment (`OMP_NUM_THREADS` and what
    OpenBLAS, MKL, numba and OpenCV call it), so libraries keep to it by themselves.
    """

    @property
    def command(self) -> str:
        """Which command this is, one word: "extract_frames"."""

    def parameters(self) -> Mapping[str, object]:
        """All that changes the result, as JSON; an item done with others is done again."""

    def targets(self, item: Item) -> Sequence[str]:
        """The files and folders made of an item, relative to the output; "/" separates."""

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        """Makes each target, file or folder, at the path that stands for it.

        The paths do not exist, their folders do, and they end as the targets do. The same item
        and parameters give the same bytes: no times, no random numbers, nothing of the machine.

        Args:
            item: The item.
            temporary: A path for each of `targets(item)`.

        Returns:
            Counts for the summary: {"frames": 250}.

        Raises:
            ValueError, OSError: The item cannot be prepared; the text says why. A full disk
                (ENOSPC) and an `ImportError` end the run, for they are no matter of one item.
        """
