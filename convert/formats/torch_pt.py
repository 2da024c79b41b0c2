"""torch's `.pt` and `.pth` files, read and written without torch.

Since torch 1.6 a ZIP archive of uncompressed members: `<any>/data.pkl` is the pickled state_dict,
`<any>/data/<key>` the raw bytes of a storage. Before, five pickles and then the storages:

    magic | protocol 1001 | sys_info | the object | list of storage keys | i64 count, data | ...

In both, a tensor is pickled as a call of
`_rebuild_tensor_v2(storage, offset, size, stride, ...)`, and its storage as the persistent id
`("storage", class, key, location, number of elements)`.
"""

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convert.arrays import Array, LazyArrays
from convert.formats import _raw, pickles
from convert.formats.pickles import Call, dump

NAME = "torch_pt"
SUFFIXES = (".pt", ".pth", ".pyth")

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_FOLDER = "archive"  # torch's own choice where it knows no file name
_ALIGNMENT = 64  # bytes, of each member's data, as torch pads it

_NUMBER, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what older files start with
_MAGIC = dump(_NUMBER)

_STORAGES = {
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16"},
    **{"BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32"},
    **{"ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8"},
    **{"BoolStorage": "bool", "ComplexFloatStorage": "complex64"},
    "ComplexDoubleStorage": "complex128",
}
_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
# Dotted names of storage classes and types, and the element type of each.
_DTYPES = {
    **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
    **{f"torch.cuda.{name}": dtype for name, dtype in _STORAGES.items()},
    **{f"torch.{name}": name for name in _raw.TYPES},
    **dict.fromkeys(("torch.UntypedStorage", "torch.storage.UntypedStorage"), "uint8"),
}
_REBUILD = "torch._utils._rebuild_"
_TENSORS = {f"{_REBUILD}{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")}
_STORED = _TENSORS | pickles.ARRAYS
_NAMES = {*_TENSORS, *_DTYPES, "torch.Size", "torch.device", *pickles.NUMPY_NAMES}

files = _raw.single_file


def recognises(path: Path) -> bool:
    start = _raw.part(Path(path), 0, 30 + 512)
    if start[:4] != b"PK\3\4":
        return _MAGIC in start[:32]
    return start[30 : 30 + int.from_bytes(start[26:28], "little")].endswith(b"data.pkl")


@_raw.reader
def read(path: Path) -> Mapping[str, Array]:
    """All tensors, as views; anything else is left out. "/" joins names of nested containers."""
    is_old = _MAGIC in _raw.part(path, 0, 32)
    tensors, data = _read_legacy(path) if is_old else _read_zip(path)
    arrays, together = LazyArrays(), 0
    for name, tensor in tensors.items():
        if pickles.is_array(tensor):
            array, dtype = pickles.array(tensor, name[:200]), ""
        else:
            array, dtype = _view(tensor, data, name[:200])
        arrays.add(name, array.shape, partial(_raw.widened, array, dtype))
        together += array.nbytes
        pickles.check_sharing(together, path.stat().st_size)
    return arrays


@_raw.writer
def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Writes an archive that `torch.load` opens, mapped or not, with `weights_only` or not."""
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, "data.pkl", _pickle(arrays))
        _add(archive, ".format_version", b"1")
        _add(archive, ".storage_alignment", str(_ALIGNMENT).encode())
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            _add(archive, f"data/{key}", _raw.raw_bytes(array).data)
            _raw.release(array)
        _add(archive, "version", b"3\n")


def _pickle(arrays: Mapping[str, Array]) -> bytes:
    empty = Call(pickles.ORDERED, ())
    body = [b"\x80\x02" + dump(empty) + b"("]
    for key, (name, array) in enumerate(arrays.items()):
        kind = Call(f"torch.{_STORAGE_OF[_raw.name_of(array, name, _STORAGE_OF)]}")
        storage = Call(pickles.PERSISTENT, (("storage", kind, str(key), "cpu", array.size),))
        strides = tuple(math.prod(array.shape[i:]) for i in range(1, array.ndim + 1))
        tensor = Call(f"{_REBUILD}tensor_v2", (storage, 0, array.shape, strides, False, empty))
        body.append(dump(name) + dump(tensor))
    return b"".join([*body, b"u."])


def _add(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    """Adds a member whose data starts at a multiple of 64 bytes, as mapping it wants."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # with the fixed date 1980-01-01
    info.create_system = 0  # the same bytes on every system
    info.file_size = len(content)
    large = len(content) * 1.05 > zipfile.ZIP64_LIMIT
    assert archive.fp is not None
    start = archive.fp.tell() + _LOCAL_HEADER.size + len(info.filename) + 4 + (20 if large else 0)
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=large) as member:
        member.write(content)


def _read_zip(path: Path) -> tuple[dict[str, Call], dict[str, _raw.Bytes]]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    roots = [i.filename[:-8] for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
    members = {info.filename: info for info in infos}
    if len(roots) != 1 or len(members) != len(infos):
        raise ValueError("has two members of the same name, or not one data.pkl")
    whole = _raw.mapped(path)

    def content(name: str) -> _raw.Bytes:
        info = members.get(roots[0] + name)
        if info is None:
            raise ValueError(f"has no member {name[:40]}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted; torch stores members as they are")
        header = whole[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
        start = info.header_offset + len(header) + sum(_LOCAL_HEADER.unpack(header)[-2:])
        found = whole[start : start + info.file_size]
        if len(found) != info.file_size or _raw.crc32(found) != info.CRC:
            raise ValueError(f"{name} does not match its checksum: the file is damaged")
        return found

    if f"{roots[0]}byteorder" in members and content("byteorder").tobytes() != b"little":
        raise ValueError("has another byte order; save it on a little-endian machine")
    tensors, sizes = _load(io.BytesIO(content("data.pkl").tobytes()))
    data = {key: content(f"data/{key}") for key in sizes}
    for key, size in sizes.items():
        if len(data[key]) != size:
            raise ValueError(f"storage {key[:40]}: {len(data[key])} bytes; its tensors need {size}")
    return tensors, data


def _read_legacy(path: Path) -> tuple[dict[str, Call], dict[str, _raw.Bytes]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        number, protocol, info = (pickles.load_next(stream) for _ in range(3))
        if (number, protocol, info.get("little_endian")) != (_NUMBER, _PROTOCOL, True):
            raise ValueError(f"is not of torch's protocol {_PROTOCOL} from a little-endian machine")
        tensors, sizes = _load(stream)
        keys = pickles.load_next(stream)
        position = stream.tell()
    if not isinstance(keys, list) or [type(key) for key in keys] != [str] * len(sizes):
        raise ValueError("its list of storages is not that of its tensors")
    whole, data = _raw.mapped(path), {}
    for key in keys:
        start = position + 8  # behind the number of elements
        position = start + sizes[key]
        data[key] = whole[start:position]
    if position != len(whole):
        raise ValueError(f"ends at byte {len(whole)}, its storages at {position}: it is cut off")
    return tensors, data


def _load(stream: pickles.Stream) -> tuple[dict[str, Call], dict[str, int]]:
    """Tensors and NumPy arrays by flattened name, and bytes of each storage by key."""
    ids: list[Call] = []
    tree = pickles.load_next(stream, _NAMES, ids)
    if not isinstance(tree, dict):
        raise ValueError("holds a single value; expected a mapping of names to tensors")
    sizes: dict[str, int] = {}
    for key, _, size in map(_storage, ids):
        if sizes.setdefault(key, size) != size:
            raise ValueError(f"storage {key[:40]} is named with two sizes")
    tensors: dict[str, Call] = {}
    for path, leaf in pickles.leaves(tree, (dict, list, tuple)):
        if isinstance(leaf, Call) and leaf.args is not None and leaf.function in _STORED:
            name = pickles.shown(path, "/")
            if name in tensors:
                raise ValueError(f"two tensors have the name {name[:200]!r}")
            tensors[name] = leaf
    return tensors, sizes


def _storage(pid: object) -> tuple[str, str, int]:
    """Key, type and number of bytes of the storage that a persistent id describes."""
    match pid:
        case Call(args=(("storage", Call(function=kind, args=None), str(key), _, count, *view),)):
            if kind in _DTYPES and view in ([], [None]):
                dtype = _DTYPES[kind]
                return key, dtype, _raw.elements((count,)) * _raw.TYPES[dtype].itemsize
    raise ValueError("a persistent id that names no storage, or a view of another one")


def _view(tensor: Call, data: Mapping[str, _raw.Bytes], name: str) -> tuple[Array, str]:
    """The tensor as a view of its storage's bytes, and its type, a name of `TYPES`."""
    while tensor.function == f"{_REBUILD}parameter":
        (tensor, *_) = tensor.args or ()
    match tensor:
        case Call(args=(pid, int(offset), tuple(shape), tuple(strides), *others)):
            key, dtype, _ = _storage(pid)
        case _:
            raise ValueError(f"{name}: a tensor without storage, offset, size and stride")
    if tensor.function == f"{_REBUILD}tensor_v3":  # the storage is bytes, the tensor has a type
        dtype = _DTYPES[others[2].function]
    flat = data[key].view(_raw.TYPES[dtype])
    count = _raw.elements(shape)
    _raw.elements((offset, *strides))  # checks that they are integers from 0 on
    used = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
    if offset + used > len(flat):
        raise ValueError(f"{name}: its tensor does not fit its storage of {len(flat)} elements")
    steps = [step * flat.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps if count else None)
    return view, dtype
