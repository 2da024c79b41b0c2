"""torch's `.pt` and `.pth` files, read and written without torch.

Since torch 1.6 a ZIP archive of uncompressed members: `<any>/data.pkl` is the pickled state_dict,
`<any>/data/<key>` the raw bytes of a storage. Before, five pickles and then the storages:

    magic | protocol 1001 | sys_info | the object | list of storage keys | i64 count, data | ...

All I3D weights of 2017-2019 are of the older kind.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from common.io import CheckpointError, replacing
from convert.formats import _raw_values, _torch_tensors, pickles
from convert.formats._mapped_file import (
    NOT_READABLE,
    Bytes,
    crc32,
    first_bytes,
    mapped,
    one_error,
    release,
    single_file,
)
from convert.formats._raw_values import Array
from convert.formats._torch_tensors import Storage

NAME = "torch_pt"
SUFFIXES = (".pt", ".pth", ".pyth")

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_FOLDER = "archive"  # torch's own choice where it knows no file name
_ALIGNMENT = 64  # bytes, of each member's data, as torch pads it

_NUMBER = 0x1950A86A20F9469CFC6C
_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # that number, pickled
_PROTOCOL = 1001

files = single_file


def recognises(path: Path) -> bool:
    """Whether the file is a ZIP archive with a `data.pkl`, or starts with the older magic."""
    path = Path(path)
    start = first_bytes(path, 30 + 512)
    if start[:4] != b"PK\3\4":
        return _MAGIC in start[:32]
    if len(start) >= 30:  # torch writes data.pkl first, so that a damaged archive is still known
        name_length = int.from_bytes(start[26:28], "little")
        if start[30 : 30 + name_length].endswith(b"data.pkl"):
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # zipfile lets many types escape on a damaged archive
        return False


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file that honour offset and stride.

    Names of nested mappings are joined with "/" ("state_dict/conv1.weight"); what is no tensor is
    left out.

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
        _add(archive, "data.pkl", b"".join(_torch_tensors.dump(arrays)))
        _add(archive, ".format_version", b"1")
        _add(archive, ".storage_alignment", str(_ALIGNMENT).encode())
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            _add(archive, f"data/{key}", _raw_values.raw_bytes(array).data)
            release(array)
        _add(archive, "version", b"3\n")


def _read_zip(path: Path) -> Mapping[str, Array]:
    members = _Members(path)
    order = members.checked("byteorder").tobytes() if "byteorder" in members else b"little"
    if order != b"little":
        raise ValueError(
            f"its byte order is {order[:20]!r}; save it again on a little-endian machine"
        )
    stream = io.BytesIO(members.checked("data.pkl").tobytes())
    tensors, storages = _torch_tensors.load(stream)
    data = {}
    for key, storage in storages.items():
        raw = data[key] = members.checked(f"data/{key}")
        if len(raw) != storage.root_bytes():
            raise ValueError(
                f"storage {key[:40]} has {len(raw)} bytes; its tensors need {storage.root_bytes()}"
            )
    return _torch_tensors.resolve(tensors, data)


class _Members:
    """The members of an archive as views of the mapped file."""

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except NOT_READABLE:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{path}: a damaged or truncated ZIP archive ({error})"
            ) from error
        self._data = mapped(path)
        pickle_names = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickle_names) != 1:
            raise ValueError(f"has {len(pickle_names)} members named data.pkl; expected one")
        self._folder = pickle_names[0].removesuffix("data.pkl")
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise ValueError("has two members of the same name")
        # Members that overlap would let a small file stand for any amount of data.
        if sum(info.compress_size for info in infos) > len(self._data):
            raise ValueError("its members overlap: the file is damaged")

    def __contains__(self, name: str) -> bool:
        return self._folder + name in self._infos

    def checked(self, name: str) -> Bytes:
        """[N] bytes of a member.

        Raises:
            ValueError: It is missing, compressed, or its checksum does not match.
        """
        info = self._infos.get(self._folder + name)
        if info is None:
            raise ValueError(f"has no member {self._folder}{name}")
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not stored or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted; torch stores members as they are")
        header = self._data[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise ValueError(f"{name} does not start with a ZIP header: the file is damaged")
        start = info.header_offset + len(header) + sum(_LOCAL_HEADER.unpack(header)[-2:])
        content = self._data[start : start + info.file_size]
        actual = crc32(content)
        if len(content) != info.file_size or actual != info.CRC:
            raise ValueError(
                f"{name} has checksum {actual:#010x}, expected {info.CRC:#010x}: the file is"
                " damaged (or was written with torch.serialization.set_crc32_options(False))"
            )
        return content


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


def _read_legacy(path: Path) -> Mapping[str, Array]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        number, protocol, info = (pickles.load_next(stream, frozenset()) for _ in range(3))
        if number != _NUMBER or protocol != _PROTOCOL:
            raise ValueError(f"is not of torch's older protocol {_PROTOCOL}")
        if not isinstance(info, dict) or info.get("little_endian") is not True:
            raise ValueError("was not written on a little-endian machine; save it again on one")
        tensors, storages = _torch_tensors.load(stream)
        keys = pickles.load_next(stream, frozenset())
        position = stream.tell()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise ValueError("its list of storages is malformed")
    if sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    data = _legacy_storages(mapped(path), position, [storages[key] for key in keys])
    return _torch_tensors.resolve(tensors, data)


def _legacy_storages(data: Bytes, position: int, storages: list[Storage]) -> dict[str, Bytes]:
    """The bytes of each storage; they follow each other, each after its number of elements."""
    found = {}
    for storage in storages:
        count = int.from_bytes(data[position : position + 8].tobytes(), "little", signed=True)
        start = position + 8
        position = start + storage.root_bytes()
        if position > len(data):
            raise ValueError(
                f"storage {storage.key[:40]} ends at byte {position}, but the file has {len(data)}:"
                " it is cut off"
            )
        if count != storage.root_count:
            raise ValueError(
                f"storage {storage.key[:40]} has {count} elements; its tensors need"
                f" {storage.root_count}"
            )
        found[storage.key] = data[start:position]
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes follow its last storage")
    return found
