"""safetensors files: a length (u64), a JSON header of names, types, shapes and offsets, raw data.

The `safetensors` package validates the header. The values are views of the mapped file; the package
would copy them, and cannot read bfloat16. Written without it: it needs all arrays in memory at
once and stores transposed ones in the wrong order.
"""

import json
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import safetensors

from convert.arrays import Array, LazyArrays
from convert.formats import _raw

NAME = "safetensors"
SUFFIXES = (".safetensors",)

_DTYPES = {
    **{"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16", "BOOL": "bool"},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "C64": "complex64",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_MOST_HEADER = 100_000_000  # bytes, the format's own limit

files = _raw.single_file


def recognises(path: Path) -> bool:
    start = _raw.part(Path(path), 0, 9)
    return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= _MOST_HEADER


@_raw.reader
def read(path: Path) -> Mapping[str, Array]:
    """All tensors; the checksums that `write` adds are verified if they are present."""
    data = _raw.mapped(path)
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
    except safetensors.SafetensorError as error:
        raise ValueError(f"is cut off or no safetensors file ({error})") from error
    size = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:size].tobytes(), object_pairs_hook=_unique)
    checksums = json.loads(header.pop(_METADATA, {}).get("crc32c", "null"))
    arrays = LazyArrays()
    for name, entry in header.items():
        dtype, shape = _DTYPES.get(entry["dtype"], entry["dtype"]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        raw = data[size + begin : size + end]
        _raw.check_size(len(raw), dtype, shape, name)
        if checksums is not None and checksums.get(name) != f"{_raw.crc32c(raw):08x}":
            raise ValueError(f"{name} does not have the checksum of its header: it is damaged")
        arrays.add(name, shape, partial(_raw.values, raw, dtype, shape))
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes the arrays with a CRC-32C of each in the metadata, for any safetensors reader."""
    header: dict[str, Any] = {_METADATA: {}}  # which stands first
    checksums, offset = {}, 0
    for name, array in arrays.items():
        dtype = _NAMES[_raw.name_of(array, name, _NAMES)]
        offsets = [offset, offset := offset + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        checksums[name] = f"{_raw.crc32c(_raw.raw_bytes(array)):08x}"
        _raw.release(array)
    header[_METADATA] = {"format": "pt", "crc32c": json.dumps(checksums, separators=(",", ":"))}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data starts aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for array in arrays.values():
        file.write(_raw.raw_bytes(array).data)
        _raw.release(array)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a key twice")
    return found
