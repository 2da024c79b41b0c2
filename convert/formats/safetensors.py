"""safetensors files: a length (u64), a JSON header of names, types, shapes and offsets, raw data.

Read and written here rather than by the `safetensors` package: its NumPy side copies every tensor
on reading, writes transposed arrays in the wrong order without an error, fails on bfloat16, and
keeps the last of two equal keys. The format is small.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from common.io import replacing
from convert.arrays import LazyArrays
from convert.formats import _raw_values
from convert.formats._crc32c import crc32c
from convert.formats._mapped_file import Bytes, first_bytes, mapped, one_error, release
from convert.formats._raw_values import Array

NAME = "safetensors"
SUFFIXES = (".safetensors",)

_DTYPES = {
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
    "C64": "complex64",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_MOST_HEADER = 100_000_000  # the format's own limit
_CRC = re.compile(r"[0-9a-f]{8}")


def recognises(path: Path) -> bool:
    """Whether the file starts with a plausible length and a brace."""
    start = first_bytes(Path(path), 9)
    return (
        len(start) == 9
        and 2 <= int.from_bytes(start[:8], "little") <= _MOST_HEADER
        and start[8:] == b"{"
    )


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file (bfloat16 and bool: made on access).

    The checksums that `write` adds are verified where they are present.

    Raises:
        CheckpointError: The header is malformed, offsets overlap, leave gaps or reach outside the
            file, a type is unknown, a checksum does not match, or there is no tensor.
    """
    path = Path(path)
    with one_error(path):
        data = mapped(path)
        header, data = _header(data)
        checksums = _checksums(header.pop(_METADATA, {}))
        arrays, spans = LazyArrays(), []
        for name, entry in header.items():
            dtype, shape, begin, end = _entry(name, entry, len(data))
            spans.append((begin, end, name))
            raw = data[begin:end]
            if checksums is not None:
                _verify(name, raw, checksums)
            arrays.add(name, tuple(shape), partial(_raw_values.values, raw, dtype, shape))
        _check_cover(spans, len(data))
        if not arrays:
            raise ValueError("holds no array")
        return arrays


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes the arrays with a CRC-32C of each in the metadata, readable by any safetensors reader.

    Raises:
        CheckpointError: An array is of a type that the format lacks, or a name is reserved.
    """
    path = Path(path)
    with one_error(path):
        header: dict[str, Any] = {_METADATA: {}}
        checksums, offset = {}, 0
        for name, array in arrays.items():
            dtype = _raw_values.name_of(array, name)
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
            checksums[name] = f"{crc32c(_raw_values.raw_bytes(array)):08x}"
            release(array)
            offset = end
        header[_METADATA] = {"format": "pt", "crc32c": json.dumps(checksums, separators=(",", ":"))}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # the data starts aligned
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in arrays.values():
                file.write(_raw_values.raw_bytes(array).data)
                release(array)


def _header(data: Bytes) -> tuple[dict[str, Any], Bytes]:
    """The parsed header and the bytes behind it."""
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(len(data) - 8, _MOST_HEADER):
        raise ValueError(
            f"declares a header of {size} bytes, but the file has {len(data)}: it is cut off or no"
            " safetensors file"
        )
    text = data[8 : 8 + size].tobytes().decode("utf-8")
    header = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise ValueError(f"its header is a {type(header).__name__}; expected a JSON object")
    return header, data[8 + size :]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"its header has the key {twice[:200]!r} twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"its header holds {text}, which is not JSON")


def _checksums(metadata: Any) -> dict[str, str] | None:
    if not isinstance(metadata, dict):
        raise ValueError(f"its {_METADATA} is a {type(metadata).__name__}; expected an object")
    if "crc32c" not in metadata:
        return None
    found = json.loads(str(metadata["crc32c"]), object_pairs_hook=_unique)
    if not isinstance(found, dict):
        raise ValueError("its list of checksums is malformed")
    return found


def _entry(name: str, entry: Any, size: int) -> tuple[str, list[int], int, int]:
    """Type, shape, first byte and end of a tensor, checked against each other and `size`."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {name[:200]!r} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(
            f"{name[:200]} has dtype {str(dtype)[:40]!r}; expected one of"
            f" {', '.join(sorted(_DTYPES))}"
        )
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError(f"{name[:200]} has a malformed shape or offsets")
    expected = _raw_values.elements(shape) * _raw_values.STORED[_DTYPES[dtype]].itemsize
    _raw_values.elements(offsets)
    begin, end = offsets
    if end > size or end - begin != expected:
        raise ValueError(
            f"{name[:200]} lies at bytes {begin}..{end} of {size}; {dtype} {shape} needs {expected}"
        )
    return _DTYPES[dtype], shape, begin, end


def _verify(name: str, raw: Bytes, checksums: Mapping[str, str]) -> None:
    expected = checksums.get(name)
    if not isinstance(expected, str) or not _CRC.fullmatch(expected):
        raise ValueError(f"{name[:200]} has no checksum, though the file lists some")
    actual = f"{crc32c(raw):08x}"
    if actual != expected:
        raise ValueError(
            f"{name[:200]} has checksum {actual}, expected {expected}: the file is damaged"
        )


def _check_cover(spans: list[tuple[int, int, str]], size: int) -> None:
    """The tensors must lie behind each other, without overlap or gap, up to the end."""
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the tensor before it" if begin < position else "leaves a gap before it"
            raise ValueError(f"{name[:200]} at bytes {begin}..{end} {what} (ends at {position})")
        position = end
    if position != size:
        raise ValueError(f"{size - position} bytes follow its last tensor")
