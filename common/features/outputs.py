"""Files of features: rows, what they mean in time, and how they were made.

A file holds an array [N, D] or [N, crops, D], float32, or with tracking one for each individual:
- .npy: the array; with tracking a dictionary {individual: array} in a 0-d object array, the form of
  tracklet extractors, which `np.load(path, allow_pickle=True).item()` opens. That one is a pickle;
- .npz, .safetensors, .h5: arrays by individual, or one that is called "features".

The same features give the same bytes. Times and provenance are in a JSON beside the file.
"""

import dataclasses
import importlib
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import models
from common.features.settings import FORMATS
from common.io import to_json
from common.models import one_error, pickles

NAME = "features"
"""The name of the array where arrays have names and nobody is tracked."""

Arrays = dict[str, NDArray[Any]]

_MOST_BYTES = 1 << 28  # that arrays may take whatever the file's size
_MOST_RATIO = 32  # of arrays to their file; compressed features reach about two

# A list of numbers in a JSON with a line for each; strings in JSON have no line ends.
_NUMBERS = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]")


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a video, or of an individual in it.

    Attributes:
        array: [N, D] or [N, crops, D] float32. N is 0 where a video is too short for a row.
        spans: [N, 2] the first frame of each row and one past its last, of the frames that the
            network got after resampling.

    Raises:
        ValueError: A number is not finite.
    """

    array: NDArray[np.float32]
    spans: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not np.isfinite(self.array).all():
            raise ValueError("its features are not finite. Check the weights and the precision.")


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[np.float32]], tracked: bool
) -> None:
    """Writes arrays in the format that the suffix says.

    Args:
        path: A temporary file, which the caller renames.
        arrays: By individual; without tracking one, called "".
        tracked: Whether the arrays are of individuals.

    Raises:
        ValueError: The format cannot hold an individual's name.
        ImportError: HDF5 needs h5py.
    """
    path = Path(path)
    # One byte order and C order, so that the same numbers are the same bytes.
    named = {
        name if tracked else NAME: np.ascontiguousarray(array, "<f4")
        for name, array in arrays.items()
    }
    if path.suffix == ".npy":
        with path.open("wb") as file:
            np.save(file, np.array(named, object) if tracked else named[NAME], allow_pickle=tracked)
        return
    if path.suffix == ".safetensors":
        models.write_arrays(path, named)
        return
    for name in named:
        if "\0" in name or {"", ".", ".."} & {*name.split("/")}:
            raise ValueError(
                f"{path}: {path.suffix} cannot hold {name!r}; choose npy or safetensors."
            )
    if path.suffix == ".npz":
        _write_npz(path, named)
        return
    with _h5py().File(path, "w") as file:
        for name, array in named.items():
            file.create_dataset(name, data=array, track_times=False)


def _write_npz(path: Path, arrays: Arrays) -> None:
    """As `np.savez`, which cannot hold an array called "file"."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            entry.create_system = 3  # on every system
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def write_sidecar(
    path: str | os.PathLike[str],
    streams: Mapping[str, Mapping[str, Rows]],
    record: Mapping[str, object],
    fps: float | None,
    start: float = 0.0,
) -> None:
    """Writes a JSON of `record`, and of what the rows of each stream and individual are.

    Under "arrays", by stream and individual, are shape and rate, and a list for each column of
    rows: `first` and `last` (one past the last) are frames; `start`, `center` and `end` seconds in
    the source, rounded to microseconds, or null without a rate.

    Args:
        path: A temporary file, which the caller renames.
        streams: Rows by stream and individual.
        record: How they were made.
        fps: Frames per second; None where it is unknown.
        start: Time of the first frame in the source, seconds.
    """

    def described(rows: Rows) -> dict[str, object]:
        first, last = rows.spans.T
        columns: dict[str, object] = {"shape": list(rows.array.shape), "fps": fps}
        columns |= {"first": first.tolist(), "last": last.tolist()}
        for key, at in {"start": first, "center": (first + last) / 2, "end": last}.items():
            columns[key] = None if fps is None else (start + at / fps).round(6).tolist()
        return columns

    arrays = {
        stream: {name: described(rows) for name, rows in found.items()}
        for stream, found in streams.items()
    }
    text = to_json({**record, "arrays": arrays})
    text = _NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    Path(path).write_text(text, encoding="utf-8")


def read(path: str | os.PathLike[str]) -> Arrays:
    """Reads the arrays of a file of features by name, ours or another tool's, of any shape.

    The first bytes say what the file is. The array of a plain .npy is called "". Of a .npy with a
    dictionary, the restricted unpickler makes arrays and nothing else; numbers in dictionaries
    inside are called "min_frames:3". No other file with Python objects is read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, damaged, or holds something else; the text names it.
        ImportError: HDF5 needs h5py.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        _h5py()  # a missing package is no fault of the file
        reader = _read_h5
    elif start.startswith(np.lib.format.MAGIC_PREFIX):
        reader = _read_npy
    elif start.startswith(b"PK"):
        reader = _read_npz
    elif start[8:] == b"{":
        reader = models.read_arrays
    else:
        suffixes = ", ".join(FORMATS.values())
        raise ValueError(f"{path}: expected features as {suffixes}, by their content.")
    with one_error(path):
        arrays = reader(path)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def _read_npy(path: Path) -> Arrays:
    with path.open("rb") as file:
        try:
            return {"": np.load(file, allow_pickle=False)}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
        outer = pickles.load(path, file.tell())
    match outer:
        # The outermost array holds a Python object, which those of a checkpoint may not.
        case pickles.Call(state=(_, (), _, _, [dict() as tree])):
            pass
        case _:
            raise ValueError("holds Python objects; expected a dictionary of arrays")
    arrays: Arrays = {}
    for keys, value in pickles.leaves(tree, (dict,)):
        plain = tuple(pickles.array(k).item() if pickles.is_array(k) else k for k in keys)
        name = pickles.shown(plain, ":")
        if name in arrays:
            raise ValueError(f"{name} stands twice, as a number and as a text")
        if pickles.is_array(value):
            arrays[name] = pickles.array(value, name)
        elif isinstance(value, int | float):
            arrays[name] = pickles.number(name, value)
        else:
            raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
    pickles.check_sharing(sum(array.nbytes for array in arrays.values()), path.stat().st_size)
    return arrays


def _read_npz(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(entry.file_size for entry in archive.infolist()))
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # the bytes of an entry without NumPy's header
            raise ValueError(f"{name} is no array")
    return arrays


def _read_h5(path: Path) -> Arrays:
    h5py, found = _h5py(), dict[str, Any]()
    with h5py.File(path, "r") as file:
        file.visititems(found.__setitem__)
        found = {name: node for name, node in found.items() if isinstance(node, h5py.Dataset)}
        for name, dataset in found.items():
            if dataset.external or dataset.is_virtual:
                raise ValueError(f"{name} is kept in another file, which is not read")
        _check_size(path, sum(dataset.nbytes for dataset in found.values()))
        return {name: np.asarray(dataset[()]) for name, dataset in found.items()}


def _check_size(path: Path, size: int) -> None:
    """Refuses small files that declare huge arrays, before memory is taken for them."""
    stored = path.stat().st_size
    if size > max(_MOST_BYTES, _MOST_RATIO * stored):
        raise ValueError(f"declares arrays of {size:,} bytes in a file of {stored:,}")


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("HDF5 needs h5py. In a checkout: pip install '.[hdf5]'.") from error
