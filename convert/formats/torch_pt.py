"""torch's `.pt` and `.pth` files, read and written without torch.

Since torch 1.6 a ZIP archive of uncompressed members: `<any>/data.pkl` is the pickled state_dict,
`<any>/data/<key>` the raw bytes of a storage. Before, five pickles and then the storages:

    magic | protocol 1001 | sys_info | the object | list of storage keys | i64 count, data | ...

All I3D weights of 2017-2019 are of the older kind. In both, a tensor is pickled as a call of
`_rebuild_tensor_v2(storage, offset, size, stride, ...)`, and its storage as the persistent id
`("storage", class, key, location, number of elements)`.
"""

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeGuard

import numpy as np

from common.io import CheckpointError, replacing
from convert.arrays import Array, LazyArrays
from convert.formats import pickles
from convert.formats._mapped_file import (
    NOT_READABLE,
    STORED,
    Bytes,
    crc32,
    elements,
    first_bytes,
    mapped,
    name_of,
    one_error,
    raw_bytes,
    release,
    single_file,
    widened,
)
from convert.formats._pickle_writer import dump
from convert.formats.pickles import Call

NAME = "torch_pt"
SUFFIXES = (".pt", ".pth", ".pyth")

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_FOLDER = "archive"  # torch's own choice where it knows no file name
_ALIGNMENT = 64  # bytes, of each member's data, as torch pads it

_NUMBER = 0x1950A86A20F9469CFC6C
_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # that number, pickled
_PROTOCOL = 1001

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
    **{f"torch.{name}": name for name in STORED},
    **dict.fromkeys(("torch.UntypedStorage", "torch.storage.UntypedStorage"), "uint8"),
}
_TENSOR, _TENSOR_V2, _TENSOR_V3, _PARAMETER = (
    f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")
)
_SIZE = "torch.Size"
_TENSORS = frozenset([_TENSOR, _TENSOR_V2, _TENSOR_V3, _PARAMETER])
_NAMES = frozenset([*_TENSORS, *_DTYPES, _SIZE, "torch.device", *pickles.NUMPY_NAMES])

# The elements that an expanded tensor (stride 0) may have beyond its storage's: a few bytes could
# otherwise stand for terabytes.
_MOST_EXPANDED = 65_536

files = single_file


@dataclass(frozen=True)
class _Storage:
    """A storage as the pickle describes it.

    Attributes:
        dtype: The element type, a name of `STORED`.
        key: Its name in the container.
        base: The first element, if it is a view of the storage `key` (old files).
        count: The number of elements.
        root_count: The number of elements of that storage.
    """

    dtype: str
    key: str
    base: int
    count: int
    root_count: int

    @property
    def root_bytes(self) -> int:
        """The size of the stored bytes."""
        return self.root_count * STORED[self.dtype].itemsize


def recognises(path: Path) -> bool:
    """Whether the file is a ZIP archive with a `data.pkl`, or starts with the older magic."""
    path = Path(path)
    start = first_bytes(path, 30 + 512)
    if start[:4] != b"PK\3\4":
        return _MAGIC in start[:32]
    # torch writes data.pkl first, so that a damaged archive is still recognised.
    if start[30 : 30 + int.from_bytes(start[26:28], "little")].endswith(b"data.pkl"):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # zipfile lets many types escape on a damaged archive
        return False


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file that honour offset and stride.

    Names of nested containers are joined with "/" ("state_dict/conv1.weight"). What is not a tensor
    (epoch, settings) is left out.

    Raises:
        CheckpointError: The file is damaged or malformed, big-endian, compressed, holds no tensor,
            or its pickle names anything but tensors and plain containers.
    """
    path = Path(path)
    with one_error(path):
        return _read_legacy(path) if _MAGIC in first_bytes(path, 32) else _read_zip(path)


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes an archive that `torch.load` opens, mapped or not, with `weights_only` or not.

    The same arrays give the same bytes.

    Raises:
        CheckpointError: An array is of a type that torch has no storage class for.
    """
    path = Path(path)
    with one_error(path), replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, "data.pkl", _pickle(arrays))
        _add(archive, ".format_version", b"1")
        _add(archive, ".storage_alignment", str(_ALIGNMENT).encode())
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            _add(archive, f"data/{key}", raw_bytes(array).data)
            release(array)
        _add(archive, "version", b"3\n")


def _pickle(arrays: Mapping[str, Array]) -> bytes:
    """The protocol-2 pickle of an OrderedDict of tensors; storage i is array i."""
    empty = Call(pickles.ORDERED, ())
    body = [b"\x80\x02" + dump(empty) + b"("]
    for key, (name, array) in enumerate(arrays.items()):
        dtype = name_of(array, name)
        if dtype not in _STORAGE_OF:
            raise ValueError(f"{name} has dtype {dtype}, for which torch has no storage class")
        pid = ("storage", Call(f"torch.{_STORAGE_OF[dtype]}"), str(key), "cpu", array.size)
        strides = tuple(math.prod(array.shape[i:]) for i in range(1, array.ndim + 1))
        storage = Call(pickles.PERSISTENT, (pid,))
        tensor = Call(_TENSOR_V2, (storage, 0, array.shape, strides, False, empty))
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


def _read_zip(path: Path) -> Mapping[str, Array]:
    members = _members(path)
    order = members["byteorder"].tobytes() if "byteorder" in members else b"little"
    if order != b"little":
        raise ValueError(
            f"its byte order is {order[:20]!r}; save it again on a little-endian machine"
        )
    tensors, storages = _load(io.BytesIO(members["data.pkl"].tobytes()))
    data = {}
    for key, storage in storages.items():
        if f"data/{key}" not in members:
            raise ValueError(f"has no member data/{key}")
        data[key] = members[f"data/{key}"]
        if len(data[key]) != storage.root_bytes:
            raise ValueError(
                f"storage {key[:40]} has {len(data[key])} bytes; its tensors need"
                f" {storage.root_bytes}"
            )
    return _arrays(tensors, data)


def _members(path: Path) -> Mapping[str, Bytes]:
    """The members of an archive, views of the mapped file that are verified when asked for."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except NOT_READABLE:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: a damaged or truncated ZIP archive ({error})") from error
    data = mapped(path)
    pickle_names = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
    if len(pickle_names) != 1:
        raise ValueError(f"has {len(pickle_names)} members named data.pkl; expected one")
    if len({info.filename for info in infos}) != len(infos):
        raise ValueError("has two members of the same name")
    # Members that overlap would let a small file stand for any amount of data.
    if sum(info.compress_size for info in infos) > len(data):
        raise ValueError("its members overlap: the file is damaged")
    members = LazyArrays()
    for info in infos:
        name = info.filename.removeprefix(pickle_names[0].removesuffix("data.pkl"))
        members.add(name, (info.file_size,), partial(_content, data, info))
    return members


def _content(data: Bytes, info: zipfile.ZipInfo) -> Bytes:
    """[N] bytes of a member; a ValueError if it is compressed or its checksum does not match."""
    name = info.filename
    stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
    if not stored or info.flag_bits & 1:
        raise ValueError(f"{name} is compressed or encrypted; torch stores members as they are")
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise ValueError(f"{name} does not start with a ZIP header: the file is damaged")
    start = info.header_offset + len(header) + sum(_LOCAL_HEADER.unpack(header)[-2:])
    content = data[start : start + info.file_size]
    actual = crc32(content)
    if len(content) != info.file_size or actual != info.CRC:
        raise ValueError(
            f"{name} has checksum {actual:#010x}, expected {info.CRC:#010x}: the file is"
            " damaged (or was written with torch.serialization.set_crc32_options(False))"
        )
    return content


def _read_legacy(path: Path) -> Mapping[str, Array]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        number, protocol, info = (pickles.load_next(stream, frozenset()) for _ in range(3))
        if number != _NUMBER or protocol != _PROTOCOL:
            raise ValueError(f"is not of torch's older protocol {_PROTOCOL}")
        if not isinstance(info, dict) or info.get("little_endian") is not True:
            raise ValueError("was not written on a little-endian machine; save it again on one")
        tensors, storages = _load(stream)
        keys = pickles.load_next(stream, frozenset())
        position = stream.tell()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise ValueError("its list of storages is malformed")
    if sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    whole, data = mapped(path), {}
    for key in keys:  # each storage follows its number of elements
        start, storage = position + 8, storages[key]
        count = int.from_bytes(whole[position:start].tobytes(), "little", signed=True)
        position = start + storage.root_bytes
        if position > len(whole):
            raise ValueError(
                f"storage {key[:40]} ends at byte {position}, but the file has {len(whole)}: it is"
                " cut off"
            )
        if count != storage.root_count:
            raise ValueError(
                f"storage {key[:40]} has {count} elements; its tensors need {storage.root_count}"
            )
        data[key] = whole[start:position]
    if position != len(whole):
        raise ValueError(f"{len(whole) - position} bytes follow its last storage")
    return _arrays(tensors, data)


def _load(stream: pickles.Stream) -> tuple[dict[str, Call], dict[str, _Storage]]:
    """Tensors and NumPy arrays of a pickled checkpoint by flattened name, all storages by key."""
    ids: list[Call] = []
    try:
        tree = pickles.load_next(stream, _NAMES, ids)
    except pickles.Refused as error:
        if "refused to load" not in str(error):
            raise
        raise pickles.Refused(
            f"{error}. If this is a whole module or TorchScript: load it where its code is at hand"
            " and save only its weights, torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(tree, dict):
        kind = "tensor" if _is_tensor(tree) else type(tree).__name__
        raise ValueError(f"holds a {kind}; expected a mapping of names to tensors")
    storages: dict[str, _Storage] = {}
    for storage in map(_storage, ids):
        if storages.setdefault(storage.key, storage).root_bytes != storage.root_bytes:
            raise ValueError(f"storage {storage.key[:40]} is named with two sizes")
    tensors: dict[str, Call] = {}
    for path, leaf in pickles.leaves(tree, (dict, list, tuple)):
        if _is_tensor(leaf) or pickles.is_array(leaf, scalars=False):
            name = pickles.shown(path, "/")
            if name in tensors:
                raise ValueError(f"two tensors have the name {name[:200]!r}")
            tensors[name] = leaf
    if not tensors:
        raise ValueError("holds no tensor")
    return tensors, storages


def _arrays(tensors: Mapping[str, Call], data: Mapping[str, Bytes]) -> LazyArrays:
    """The tensors as views of the bytes of each storage."""
    arrays, together = LazyArrays(), 0
    stored = sum(map(len, data.values()))
    for name, tensor in tensors.items():
        if pickles.is_array(tensor):
            array, dtype = pickles.array(tensor, name[:200]), ""
            stored += array.nbytes
        else:
            try:
                array, dtype = _view(tensor, data)
            except ValueError as error:
                raise ValueError(f"{name[:200]}: {error}") from error
        arrays.add(name, array.shape, partial(widened, array, dtype))
        together += array.nbytes
        pickles.check_sharing(together, stored)
    return arrays


def _is_tensor(value: object) -> TypeGuard[Call]:
    return isinstance(value, Call) and value.args is not None and value.function in _TENSORS


def _storage(pid: object) -> _Storage:
    """The storage that a persistent id describes."""
    (parts,) = pickles.arguments(pid, pickles.PERSISTENT, 1)
    if type(parts) is not tuple or len(parts) not in (5, 6) or parts[0] != "storage":
        raise ValueError("a malformed persistent id")
    _, kind, key, _, count, view = (*parts, None)[:6]
    if not pickles.is_name(kind, _DTYPES) or type(key) is not str:
        raise ValueError("a persistent id that names no storage")
    if view is not None and (type(view) is not tuple or len(view) != 3):
        raise ValueError("a malformed view of a storage")
    _, base, size = view or (None, 0, count)
    elements((count, base, size))  # checks that they are integers from 0 on
    if base + size > count:
        raise ValueError(f"a view of elements {base}..{base + size} of a storage of {count}")
    return _Storage(_DTYPES[kind.function], key, base, size, count)


def _view(tensor: Call, data: Mapping[str, Bytes]) -> tuple[Array, str]:
    """The tensor as a view of its storage's bytes, and its type, a name of `STORED`."""
    while tensor.function == _PARAMETER:
        (tensor, *_) = pickles.arguments(tensor, _PARAMETER, 1)
        if not _is_tensor(tensor):
            raise ValueError("a parameter without a tensor")
    args = pickles.arguments(tensor, tensor.function, 4)
    storage = _storage(args[0])
    offset, shape, strides = args[1:4]
    if isinstance(shape, Call):
        (shape, *_) = pickles.arguments(shape, _SIZE, 1)
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise ValueError("a tensor with a malformed size or stride")
    count = elements(shape)
    elements((offset, *strides[:31]))  # checks that they are integers from 0 on
    used = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
    dtype = storage.dtype
    flat = data[storage.key].view(STORED[dtype])[storage.base : storage.base + storage.count]
    if tensor.function == _TENSOR_V3:  # the storage is bytes, the tensor itself has a type
        if len(args) < 7 or not pickles.is_name(args[6], _DTYPES):
            raise ValueError("a tensor without a type")
        dtype = _DTYPES[args[6].function]
        flat = flat.view(STORED[dtype])
    if offset + used > len(flat) or count > max(len(flat), _MOST_EXPANDED):
        raise ValueError(
            f"a tensor of size {list(shape)}, stride {list(strides)} from element {offset} on"
            f" does not fit its storage of {len(flat)} elements"
        )
    steps = [step * flat.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps if count else None)
    return view, dtype
