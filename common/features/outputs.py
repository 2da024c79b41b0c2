"""Features of a video: what their rows mean in time, and the files that keep them.

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

from common.features import npy_dictionary
from common.io import listing
from common.provenance import to_json

FORMATS = {"npy": ".npy", "npz": ".npz", "safetensors": ".safetensors", "h5": ".h5"}
"""The suffix of each format."""

NAME = "features"
"""Of the array in a file whose arrays have names, where nobody is tracked."""

# A list of numbers in a JSON with a line for each; in a string there is no end of a line.
_NUMBERS = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]")

_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Which frames the rows of an array are of, and when these are.

    Frames are those that the network got, after resampling to `fps`.

    Attributes:
        first: [N] a row's first frame; negative where the video was padded.
        last: [N] one past its last frame.
        fps: Frames a second; None where nobody knows.
        start: Where frame 0 is in the source, seconds.

    Raises:
        ValueError: Shapes differ, a row has no frame, or the rate is not positive.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    fps: float | None
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.first.ndim != 1 or self.first.shape != self.last.shape:
            raise ValueError(
                f"first and last: expected [N] and [N]. Received: {list(self.first.shape)} and "
                f"{list(self.last.shape)}."
            )
        if not (self.first < self.last).all():
            raise ValueError("a row ends before it begins: last is one past its last frame.")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps: expected a positive number or None. Received: {self.fps}.")

    def __len__(self) -> int:
        return len(self.first)

    @property
    def starts(self) -> NDArray[np.float64] | None:
        """[N] where a row begins in the source, seconds; None without a rate."""
        return self._seconds(self.first)

    @property
    def centers(self) -> NDArray[np.float64] | None:
        """[N] the middle between start and end, seconds; None without a rate."""
        return self._seconds((self.first + self.last) / 2)

    @property
    def ends(self) -> NDArray[np.float64] | None:
        """[N] where a row ends, when the frame behind its last begins; None without a rate."""
        return self._seconds(self.last)

    def _seconds(self, frames: NDArray[Any]) -> NDArray[np.float64] | None:
        return None if self.fps is None else self.start + frames / self.fps


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """The features of a video.

    Attributes:
        arrays: By individual, "" without tracking: [N, D] or [N, crops, D] float32, finite. N is 0
            where a video is too short for a row.
        rows: By individual, what the N rows are of.

    Raises:
        ValueError: The two differ in individuals or in N, or an array is of another kind.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    rows: Mapping[str, Rows]

    def __post_init__(self) -> None:
        if self.arrays.keys() != self.rows.keys():
            raise ValueError(
                f"expected rows for each array. Received: arrays of {_names(self.arrays)}; rows of "
                f"{_names(self.rows)}."
            )
        for name, array in self.arrays.items():
            count = len(self.rows[name])
            fits = array.ndim in (2, 3) and len(array) == count and 0 not in array.shape[1:]
            if not fits or array.dtype != np.float32:
                raise ValueError(
                    f"features of {name!r}: expected float32 [{count}, D] or [{count}, crops, D]. "
                    f"Received: {array.dtype} {list(array.shape)}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"features of {name!r} must be finite. Check the weights.")


def write(
    path: str | os.PathLike[str],
    features: Features,
    record: Mapping[str, object],
    tracked: bool,
) -> None:
    """Writes the arrays, in the format that the suffix says.

    Args:
        path: A temporary file of the caller, who renames it.
        features: The features.
        record: How they were made, as JSON has it. HDF5 keeps it in its attribute "record"; the
            other formats have no place for it, so all have it in the sidecar.
        tracked: Whether the arrays are of individuals.

    Raises:
        ValueError: There is no such format, individuals without tracking, or a name of one that the
            format cannot hold.
        ImportError: HDF5 needs h5py.
    """
    path = Path(path)
    if path.suffix not in FORMATS.values():
        raise ValueError(f"{path}: expected a suffix of {', '.join(FORMATS.values())}.")
    if not tracked and [*features.arrays] != [""]:
        raise ValueError(
            f"{path}: without tracking there is one array, not {_names(features.arrays)}."
        )
    # One byte order, and rows one after the other, whatever made them.
    arrays = {
        name if tracked else NAME: np.ascontiguousarray(array, "<f4")
        for name, array in features.arrays.items()
    }
    if path.suffix == ".npy":
        with path.open("wb") as file:
            if tracked:
                npy_dictionary.write(file, arrays)
            else:
                np.lib.format.write_array(file, arrays[NAME], allow_pickle=False)
    elif path.suffix == ".safetensors":
        from convert.formats import safetensors

        safetensors.write(path, arrays)
    else:
        _check_names(path, arrays)
        if path.suffix == ".npz":
            _write_npz(path, arrays)
        else:
            _write_h5(path, arrays, record)


def write_sidecar(
    path: str | os.PathLike[str],
    streams: Mapping[str, Features],
    record: Mapping[str, object],
) -> None:
    """Writes a JSON of `record`, and of what the rows of each stream and individual are.

    Under "arrays", by stream and individual, are shape and rate, and a list for each column of
    rows: `first` and `last` (one past the last) are frames, `start`, `center` and `end` seconds,
    rounded to microseconds; null without a rate.

    Args:
        path: A temporary file of the caller, who renames it.
        streams: The features of each stream.
        record: How they were made, as JSON has it.
    """
    arrays = {
        stream: {
            name: {"shape": list(array.shape), **_columns(features.rows[name])}
            for name, array in features.arrays.items()
        }
        for stream, features in streams.items()
    }
    text = to_json({**record, "arrays": arrays})
    Path(path).write_text(_NUMBERS.sub(_on_a_line, text), encoding="utf-8")


def read(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a file of features by name, ours or another tool's, of any shape and type.

    What the file is, its first bytes say. The array of a plain .npy is called "". Of a .npy with a
    dictionary, the restricted unpickler makes arrays and nothing else; numbers in dictionaries
    inside are called "min_frames:3". No other file with Python objects is read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, damaged, or holds something else; the text names it.
        ImportError: HDF5 needs h5py.
    """
    from convert.formats import safetensors
    from convert.formats._mapped_file import one_error

    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file.") from error
    if start == _HDF5:
        _h5py()  # that it is missing says nothing about the file
    with one_error(path):
        if start.startswith(np.lib.format.MAGIC_PREFIX):
            arrays = _read_npy(path)
        elif start.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
        elif start == _HDF5:
            arrays = _read_h5(path)
        elif safetensors.recognises(path):
            arrays = dict(safetensors.read(path))
        else:
            raise ValueError(
                f"expected features as {', '.join(FORMATS.values())}, by their content"
            )
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def _columns(rows: Rows) -> dict[str, object]:
    times = {"start": rows.starts, "center": rows.centers, "end": rows.ends}
    return {
        "fps": rows.fps,
        "first": rows.first.tolist(),
        "last": rows.last.tolist(),
        **{key: None if t is None else t.round(6).tolist() for key, t in times.items()},
    }


def _on_a_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"


def _write_npz(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # of 1980
            entry.create_system = 3  # whatever the system is
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_h5(
    path: Path, arrays: Mapping[str, NDArray[np.float32]], record: Mapping[str, object]
) -> None:
    with _h5py().File(path, "w") as file:
        file.attrs["record"] = to_json(record)
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)


def _check_names(path: Path, arrays: Mapping[str, object]) -> None:
    """Refuses names that are no paths inside a file."""
    for name in arrays:
        if "\0" in name or {"", ".", ".."} & {*name.split("/")}:
            raise ValueError(
                f"{path}: {path.suffix} cannot hold {name!r}; choose npy or safetensors."
            )


def _read_npy(path: Path) -> dict[str, NDArray[Any]]:
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with path.open("rb") as file:
        header = headers.get(np.lib.format.read_magic(file))
        if header is not None and header(file)[2].hasobject:
            return npy_dictionary.read(path, file.tell())
    return {"": np.load(path, allow_pickle=False)}


def _read_h5(path: Path) -> dict[str, NDArray[Any]]:
    h5py, arrays = _h5py(), dict[str, NDArray[Any]]()

    def add(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = np.asarray(node[()])

    with h5py.File(path, "r") as file:
        file.visititems(add)
    return arrays


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("HDF5 needs h5py. In a checkout: pip install '.[hdf5]'.") from error


def _names(names: Mapping[str, object]) -> str:
    return listing(map(repr, names)) or "nobody"
