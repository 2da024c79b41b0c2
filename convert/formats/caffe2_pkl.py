"""Caffe2's pickled blobs, as video-nonlocal-net and VMZ publish their weights.

`{"blobs": {"conv1_w": ..., "conv1_w_momentum": ..., "model_iter": 400000, "lr": ...}}`, written by
Python 2's cPickle; some files lack the wrapper. A native name is a blob's, with its scope
("gpu_0/") if that is stored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.io import replacing
from convert.arrays import Array
from convert.formats import pickles
from convert.formats._mapped_file import name_of, one_error, single_file
from convert.formats._pickle_writer import BYTE_STRING_LIMIT, dump, write_array
from convert.formats.flax_pickle import WRAPPER, outline

NAME = "caffe2_pkl"
SUFFIXES = (".pkl",)

_SETTINGS = (type(None), bool, str, bytes, int, float)

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file starts like a pickle of one dictionary of arrays, in the wrapper or not."""
    return outline(Path(path)) == "flat"


def read(path: Path) -> dict[str, Array]:
    """All blobs in stored order; Python's integers and floats as int64 and float64 of shape ().

    What stands beside the wrapper is left out, and so are settings: None, switches, strings, and
    containers of nothing but settings.

    Raises:
        CheckpointError: The file is malformed, names anything but arrays and plain containers,
            has arrays in deeper containers, or none at all.
    """
    path = Path(path)
    with one_error(path):
        blobs = _named(pickles.load(path))
        if isinstance(wrapped := blobs.get(WRAPPER), dict):
            blobs = _named(wrapped)
        arrays: dict[str, Array] = {}
        together, stored = 0, path.stat().st_size
        for name, value in blobs.items():
            if pickles.is_array(value):
                arrays[name] = pickles.array(value, name)
            elif type(value) in (int, float):
                arrays[name] = pickles.number(name, value)
            else:
                _check_setting(name, value)
                continue
            together += arrays[name].nbytes
            pickles.check_sharing(together, stored)
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes what Python 2 opens, and Python 3 with `pickle.load(file, encoding="latin1")`.

    Data and types are byte strings, as only those exist in Python 2. Names are unicode strings:
    equal to Python 2's byte strings, and `str` in Python 3 whatever encoding is given there.

    Raises:
        CheckpointError: A value is not a numeric array, or has 2 GiB or more.
    """
    path = Path(path)
    with one_error(path):
        for name, array in arrays.items():
            name_of(array, name)
            if array.nbytes >= BYTE_STRING_LIMIT:
                raise ValueError(
                    f"{name} has {array.nbytes} bytes; a blob that Python 2 opens has less than"
                    f" {BYTE_STRING_LIMIT}. Write another format"
                )
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(b"\x80\2}" + dump(WRAPPER) + b"}")
            for name, array in arrays.items():
                file.write(dump(name))
                write_array(file, array, python2=True)
                file.write(b"s")
            file.write(b"s.")


def _named(tree: Any) -> dict[str, Any]:
    """The entries of a dictionary whose keys are text or Python 2's bytes."""
    if not isinstance(tree, dict):
        raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
    entries: dict[str, Any] = {}
    for key, value in tree.items():
        name = key.decode("latin1") if isinstance(key, bytes) else key
        if not isinstance(name, str):
            raise ValueError(f"has a key of type {type(key).__name__}; expected names")
        name = pickles.shown((name,), "")
        if name in entries:
            raise ValueError(f"has the name {name[:200]!r} twice, as text and as bytes")
        entries[name] = value
    return entries


def _check_setting(name: str, value: object) -> None:
    for _, leaf in pickles.leaves(value, (dict, list, tuple)):
        if not isinstance(leaf, _SETTINGS):
            kind = value.function if isinstance(value, pickles.Call) else type(value).__name__
            what = "arrays" if pickles.is_array(leaf) else "objects"
            raise ValueError(
                f"{name} is a {kind} of {what}; expected one dictionary of arrays, in"
                " {'blobs': ...} or not"
            )
