"""TensorFlow's V2 checkpoints with the names of variables: `P.index` and `P.data-00000-of-00001`.

    read_index("model.ckpt")   {name: Entry}, without the data
    read("model.ckpt")         {name: array}; every checksum is verified
    write("model.ckpt", ...)   the same bytes as TensorFlow's own writer

A path is the prefix, either file, or a folder. DeepMind's five I3D checkpoints are of this format.
"""

from collections.abc import Mapping
from pathlib import Path

from convert.formats import _bundle, tf1_v1_checkpoint, tf2_checkpoint
from convert.formats._bundle_entry import Entry
from convert.formats._raw_values import Array

__all__ = ["NAME", "SUFFIXES", "Entry", "files", "read", "read_index", "recognises", "write"]

NAME = "tf1_checkpoint"
SUFFIXES = (".ckpt", ".index")


def recognises(path: Path) -> bool:
    """Whether an index file belongs to `path` (a prefix, index, data file or folder).

    Damaged indexes count too; V1 checkpoints and those of TensorFlow 2's objects do not.
    """
    path = Path(path)
    others = (tf1_v1_checkpoint, tf2_checkpoint)
    return _bundle.recognises(path) and not any(other.recognises(path) for other in others)


def files(path: Path) -> list[Path]:
    """The data files and the index of the checkpoint at `path`, or of one to be written there."""
    return _bundle.files(Path(path))


def read_index(path: Path) -> dict[str, Entry]:
    """Name and place of every tensor, in key order; the data files are not needed.

    Raises:
        CheckpointError: The index is damaged or of a kind that cannot be read.
        FileNotFoundError: There is no index.
    """
    return _bundle.read_index(Path(path))


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in key order, as read-only views of the mapped data files.

    String tensors (TensorFlow 2's object graph) are checked and left out.

    Raises:
        CheckpointError: Index or data are damaged, a data file is missing, a tensor is partitioned,
            or there is none but strings.
        FileNotFoundError: There is no index.
    """
    return _bundle.read(Path(path))


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes `P.data-00000-of-00001` and `P.index`, and nothing else in the folder.

    Args:
        path: The prefix P, or the name of either file.
        arrays: Tensors by name; stored in the order of the names' bytes.

    Raises:
        CheckpointError: A name is empty or an array is of a type that the format lacks.
    """
    _bundle.write(Path(path), arrays, strings={})
