"""Items, and the task that makes something of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Item:
    """A clip to work on.

    Attributes:
        name: Relative path of its results, parts separated by "/", no suffix; unique in a run.
        source: A video file, or a folder.
        start: Begin of the clip in the source, seconds; None is the beginning.
        end: End of the clip, seconds; None is the end of the source.
        fps: Frames a second of a folder, if its annotation says so.
        also: Other files that its results depend on.
    """

    name: str
    source: Path
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    also: tuple[Path, ...] = ()


class Task(Protocol):
    """Makes something of items: a frozen dataclass that holds the command's settings.

    It is pickled to worker processes, so its class is in a module of the library, not of a command.
    """

    @property
    def command(self) -> str:
        """Name of the command, such as "extract_frames"."""

    def parameters(self) -> Mapping[str, object]:
        """Everything that changes the result, as JSON."""

    def targets(self, item: Item) -> Sequence[str]:
        """Files and folders made of an item, at least one, relative to the output."""

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        """Makes the targets, the same bytes each time: no times, no chance, nothing of the machine.

        Args:
            item: The item.
            temporary: A path for each of `targets(item)`, of the same suffix, in a folder that
                exists.

        Returns:
            Counts for the summary: {"frames": 250}.

        Raises:
            ValueError, OSError: The item cannot be made; the text says why. A full disk (ENOSPC)
                and an `ImportError` end the run, since they concern all items.
        """
