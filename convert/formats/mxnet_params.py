"""MXNet's `.params`, as GluonCV publishes its networks: arrays, then their names. Read only.

    u64 0x112, u64 0, u64 number of arrays
    each array   u32 magic, i32 storage type 0 (dense), i32 ndim, i64 sizes[ndim],
                 i32 device type, i32 device number, i32 type code, raw values
    u64 number of names; each name   u64 length, bytes

All integers are little-endian. The magic says whether NumPy's shapes were in force: without them
an array of no dimensions is one that was never filled, with them a scalar.
Source: src/ndarray/ndarray.cc (NDArray::Save and Load) of MXNet 1.9, and files that it wrote.
"""

import struct
from pathlib import Path

from convert.arrays import Array
from convert.formats import _raw

NAME = "mxnet_params"
SUFFIXES = ()  # GluonCV's own files end in .params

_START = struct.pack("<QQ", 0x112, 0)
_PLAIN, _NUMPY_SHAPES = 0xF993FAC9, 0xF993FACA

# mshadow's type codes.
_DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")

files = _raw.single_file


def recognises(path: Path) -> bool:
    return _raw.part(Path(path), 0, len(_START)) == _START


@_raw.reader
def read(path: Path) -> dict[str, Array]:
    """All arrays, without the prefixes `arg:` and `aux:` that exported modules have."""
    data = _raw.mapped(path)
    buffer = data.data
    start, count = struct.unpack_from("<16sQ", buffer)
    if start != _START:
        raise ValueError("does not start like MXNet's list of arrays")
    stored: list[Array] = []
    position = 24
    while len(stored) < count:  # each takes bytes, whatever number the file declares
        what = f"array {len(stored)} of {count}"
        magic, storage, ndim = struct.unpack_from("<Iii", buffer, position)
        if magic not in (_PLAIN, _NUMPY_SHAPES):
            raise ValueError(f"{what} has magic {magic:#x}: damaged, or of an MXNet before 1.0")
        if storage != 0:
            raise ValueError(f"{what} is sparse; `tostype('default')` in MXNet makes it dense")
        if not (magic == _PLAIN) <= ndim <= 32:
            raise ValueError(f"{what} has {ndim} dimensions: it was never filled, or is damaged")
        # The two integers before the type say which device it was on.
        *shape, _, _, code = struct.unpack_from(f"<{ndim}qiii", buffer, position + 12)
        if not 0 <= code < len(_DTYPES):
            raise ValueError(f"{what} has type code {code}; expected 0 to {len(_DTYPES) - 1}")
        position += 24 + 8 * ndim
        size = _raw.elements(shape, what) * _raw.TYPES[_DTYPES[code]].itemsize
        stored.append(_raw.values(data[position : position + size], _DTYPES[code], shape, what))
        position += size
    (named,) = struct.unpack_from("<Q", buffer, position)
    if named != count:
        raise ValueError(f"has {named} names for {count} arrays; save a dictionary, not a list")
    arrays: dict[str, Array] = {}
    for array in stored:
        (size,) = struct.unpack_from("<Q", buffer, position + 8)
        name = str(data[position + 16 : position + 16 + size].data, "utf-8")
        position += 8 + size
        name = name.removeprefix("arg:").removeprefix("aux:")
        if name in arrays:
            raise ValueError(f"{name[:200]} is in the file twice")
        arrays[name] = array
    if position + 8 != len(data):
        raise ValueError(f"is cut off, or {len(data) - position - 8} bytes follow its last name")
    return arrays
