"""Caffe2's pickled blobs, as video-nonlocal-net and VMZ publish their weights.

`{"blobs": {"conv1_w": ..., "conv1_w_momentum": ..., "model_iter": 400000, "lr": ...}}`, written by
Python 2's cPickle; some files lack the wrapper. A native name is a blob's, with its scope
("gpu_0/") if that is stored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from convert.arrays import Array
from convert.formats import _raw, pickles

NAME = "caffe2_pkl"
SUFFIXES = (".pkl",)

files = _raw.single_file


def recognises(path: Path) -> bool:
    return pickles.outline(Path(path)) == "flat"


@_raw.reader
def read(path: Path) -> dict[str, Array]:
    """All blobs; integers and floats as int64 and float64 of shape (). Others are left out."""
    blobs = _named(pickles.load(path))
    if isinstance(wrapped := blobs.get(pickles.WRAPPER), dict):
        blobs = _named(wrapped)
    arrays: dict[str, Array] = {}
    for name, value in blobs.items():
        if pickles.is_array(value):
            arrays[name] = pickles.array(value, name)
        elif type(value) in (int, float):
            arrays[name] = pickles.number(name, value)
        elif not isinstance(value, bool | str | bytes | None):
            raise ValueError(
                f"{name} is a {type(value).__name__}; expected one dictionary of arrays, in"
                " {'blobs': ...} or not"
            )
    pickles.check_sharing(sum(array.nbytes for array in arrays.values()), path.stat().st_size)
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes what Python 2 opens, and Python 3 with `pickle.load(file, encoding="latin1")`.

    Data and types are Python 2's byte strings, names unicode: `str` in Python 3 in any encoding.
    """
    file.write(b"\x80\2}" + pickles.dump(pickles.WRAPPER) + b"}")
    for name, array in arrays.items():
        file.write(pickles.dump(name))
        pickles.write_array(file, array, name, python2=True)
        file.write(b"s")
    file.write(b"s.")


def _named(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
    entries: dict[str, Any] = {}
    for key, value in tree.items():
        name = key.decode("latin1") if isinstance(key, bytes) else key
        if not isinstance(name, str) or name in entries:
            raise ValueError(f"has a key of type {type(key).__name__}, or the same name twice")
        entries[pickles.shown((name,), "")] = value
    return entries
