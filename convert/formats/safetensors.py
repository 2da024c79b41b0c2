"""safetensors files: a length (u64), a JSON header of names, types, shapes and offsets, raw data.

The `safetensors` package validates the header. The values are views of the mapped file, which its
NumPy side would copy, with bfloat16 widened, which it cannot read without ml_dtypes; and a header
with a name twice is refused, of which it keeps the last. Written without the package, which needs
all arrays in memory at once and stores transposed ones in the wrong order.
"""

import json
import struct
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors

from common.io import replacing
from convert.arrays import Array, LazyArrays
from convert.formats._mapped_file import (
    crc32c,
    elements,
    first_bytes,
    mapped,
    name_of,
    one_error,
    raw_bytes,
    release,
    single_file,
    values,
)

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

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file starts with a plausible length and a brace."""
    start = first_bytes(Path(path), 9)
    return (
        len(start) == 9
        and 2 <= int.from_bytes(start[:8], "little") <= _MOST_HEADER
        and start[8:] == b"{"
    )


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file (bfloat16 and bool: made on access).

    The checksums that `write` adds are verified if they are present.

    Raises:
        CheckpointError: The header is malformed, offsets overlap, leave gaps or reach outside the
            file, a name is there twice, a type is unknown, a checksum does not match, or there is
            no tensor.
    """
    path = Path(path)
    with one_error(path):
        data = mapped(path)
        try:
            with safetensors.safe_open(path, framework="numpy"):
                pass
        except safetensors.SafetensorError as error:
            raise ValueError(f"is cut off or no safetensors file ({error})") from error
        size = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:size].tobytes(), object_pairs_hook=_unique)
        checksums = header.pop(_METADATA, {}).get("crc32c")
        checksums = checksums and json.loads(checksums, object_pairs_hook=_unique)
        arrays = LazyArrays()
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                known = ", ".join(sorted(_DTYPES))
                raise ValueError(f"{name} has dtype {entry['dtype']}; expected one of {known}")
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            elements(shape)  # no more axes or larger ones than NumPy has
            begin, end = entry["data_offsets"]
            raw = data[size + begin : size + end]
            if checksums is not None:
                expected = checksums.get(name) if isinstance(checksums, dict) else None
                if (actual := f"{crc32c(raw):08x}") != expected:
                    raise ValueError(
                        f"{name} has checksum {actual}, expected {expected}: the file is damaged"
                    )
            arrays.add(name, shape, partial(values, raw, dtype, shape))
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes the arrays with a CRC-32C of each in the metadata, readable by any safetensors reader.

    Raises:
        CheckpointError: An array is of a type that the format lacks, or a name is reserved.
        OSError: The disk takes no more.
    """
    path = Path(path)
    with one_error(path):
        header: dict[str, Any] = {_METADATA: {}}
        checksums, offset = {}, 0
        for name, array in arrays.items():
            dtype = name_of(array, name)
            if dtype not in _NAMES or name == _METADATA:
                raise ValueError(
                    f"{name}: dtype {dtype} or this name is not possible in safetensors"
                )
            end = offset + array.nbytes
            header[name] = {
                "dtype": _NAMES[dtype],
                "shape": list(array.shape),
                "data_offsets": [offset, end],
            }
            checksums[name] = f"{crc32c(raw_bytes(array)):08x}"
            release(array)
            offset = end
        header[_METADATA] = {"format": "pt", "crc32c": json.dumps(checksums, separators=(",", ":"))}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # the data starts aligned
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in arrays.values():
                file.write(raw_bytes(array).data)
                release(array)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"its header has the key {twice[:200]!r} twice")
    return found
