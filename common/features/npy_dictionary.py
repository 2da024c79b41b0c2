"""The .npy of tracklet extractors: a dictionary of arrays in a 0-d object array, which is a pickle.

Written opcode by opcode, and opened by the restricted unpickler alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def write(file: BinaryIO, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """What `np.save` makes of a dictionary; but any version of NumPy opens it."""
    from convert.formats import _pickle_writer as pickled

    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    # ndarray.__reduce__: an empty array, then its state: version, shape, dtype, order, objects.
    array = pickled.name("numpy.core.multiarray", "_reconstruct")
    array += pickled.group([pickled.name("numpy", "ndarray"), pickled.integers([0]), b"C\x01b"])
    dtype = pickled.name("numpy", "dtype")
    dtype += pickled.group([pickled.text("O8"), pickled.FALSE, pickled.TRUE]) + pickled.REDUCE
    # 63 are the flags of a dtype of objects.
    numbers = [pickled.integer(number) for number in (-1, -1, 63)]
    state = [pickled.integer(3), pickled.text("|"), *[pickled.NONE] * 3, *numbers]
    dtype += pickled.group(state) + pickled.BUILD
    file.write(pickled.protocol(4) + array + pickled.REDUCE + b"(" + pickled.integer(1))
    file.write(pickled.EMPTY_TUPLE + dtype + pickled.FALSE + b"]" + pickled.EMPTY_DICT)
    for name, values in arrays.items():
        file.write(pickled.text(name))
        pickled.write_array(file, values)
        file.write(b"s")
    file.write(b"at" + pickled.BUILD + pickled.STOP)


def read(path: Path, offset: int) -> dict[str, NDArray[Any]]:
    """The arrays of the pickle that begins at byte `offset`."""
    from convert.formats import _pickled_tree, _unpickler
    from convert.formats._mapped_file import mapped
    from convert.formats._numpy_pickle import NUMPY_GLOBALS, PickledArray, PickledScalar

    # The outermost array holds a Python object, which those of a checkpoint may not.
    own = {key: _Stored for key in NUMPY_GLOBALS if key[1] == "_reconstruct"}
    data = mapped(path)[offset:]
    stream = _unpickler.Cursor(data)
    outer = _unpickler.load(stream, allowed={**NUMPY_GLOBALS, **own}, source=path)
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell()} bytes follow the end of the pickle")
    match outer:
        case _Stored(state=(_, (), _, _, [dict() as tree])):
            pass
        case _:
            raise ValueError("holds Python objects; expected a dictionary of arrays")
    arrays: dict[str, NDArray[Any]] = {}
    size = 0
    for keys, value in _pickled_tree.leaves(tree, (dict,)):
        plain = tuple(k.resolve().item() if isinstance(k, PickledScalar) else k for k in keys)
        name = _pickled_tree.shown(plain, ":")
        if name in arrays:
            raise ValueError(f"{name} stands twice, as a number and as a text")
        if isinstance(value, _Stored):
            array = PickledArray()
            array.__setstate__(value.state)
            value = array
        if isinstance(value, (PickledArray, PickledScalar)):
            arrays[name] = _pickled_tree.resolved(name, value)
        elif isinstance(value, (int, float)):
            arrays[name] = _pickled_tree.number(name, value)
        else:
            raise ValueError(f"{name} is a {type(value).__name__}; expected an array")
        size += arrays[name].nbytes
        _pickled_tree.check_sharing(size, len(data))
    return arrays


class _Stored:
    """What a pickle says about an array, of numbers or of Python objects."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        if self.state is not None:
            raise ValueError("the state of an array is set twice")
        self.state = state
