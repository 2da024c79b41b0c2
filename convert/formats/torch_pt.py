"""torch's `.pt` / `.pth` files, read and written without torch.

Since torch 1.6 a ZIP archive of uncompressed members: `<any>/data.pkl` is the pickled state_dict,
`<any>/data/<key>` the raw bytes of a storage. Older files: see `_torch_legacy.py`.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.io import CheckpointError, replacing
from convert.formats import _raw_values, _torch_legacy, _torch_pickle, _unpickler
from convert.formats._mapped_file import (
    NOT_READABLE,
    Bytes,
    crc32,
    first_bytes,
    mapped,
    one_error,
    release,
)
from convert.formats._raw_values import Array
from convert.formats._torch_legacy import write as write_legacy
from convert.formats._torch_tensors import Storage

__all__ = ["NAME", "SUFFIXES", "files", "read", "recognises", "write", "write_legacy"]

NAME = "torch_pt"
SUFFIXES = (".pt", ".pth", ".pyth")

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_FOLDER = "archive"  # torch's own choice where it knows no file name
_ALIGNMENT = 64  # of each member's data, as torch pads it


def recognises(path: Path) -> bool:
    """Whether the file is a ZIP with a `data.pkl`, or starts with the legacy magic number."""
    path = Path(path)
    start = first_bytes(path, 30 + 512)
    if start[:4] != b"PK\3\4":
        return _torch_legacy.MAGIC in start[:32]
    if len(start) >= 30:  # torch writes data.pkl first, so that a damaged archive is still known
        name_length = int.from_bytes(start[26:28], "little")
        if start[30 : 30 + name_length].endswith(b"data.pkl"):
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # zipfile lets many types escape on a damaged archive
        return False


def files(path: Path) -> list[Path]:
    """The one file."""
    return [Path(path)]


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file that honour offset and stride.

    Names of nested mappings are joined with "/" ("state_dict/conv1.weight"); what is no tensor is
    left out.

    Raises:
        CheckpointError: The file is damaged or malformed, big-endian, compressed, holds no tensor,
            or its pickle names anything but tensors and plain containers.
    """
    path = Path(path)
    if _torch_legacy.recognises(path):
        return _torch_legacy.read(path)
    with one_error(path):
        members = _Members(path)
        order = members.read("byteorder") if members.has("byteorder") else b"little"
        if order != b"little":
            raise ValueError(
                f"its byte order is {order[:20]!r}; save it again on a little-endian machine"
            )
        storages: dict[str, Storage] = {}
        stream = _unpickler.Cursor(members.checked("data.pkl"))
        tensors = _torch_pickle.load(stream, storages, path, legacy=False)
        data = {}
        for key, storage in storages.items():
            raw = data[key] = members.checked(f"data/{key}")
            if len(raw) != storage.root_bytes():
                raise ValueError(
                    f"storage {key[:40]} has {len(raw)} bytes; its tensors need"
                    f" {storage.root_bytes()}"
                )
        return _torch_pickle.resolve(tensors, lambda storage: data[storage.key])


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes an archive that `torch.load` opens, mapped or not, with `weights_only` or not.

    The same arrays give the same bytes.

    Raises:
        CheckpointError: An array is of a type that torch has no storage class for.
    """
    path = Path(path)
    with one_error(path), replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, "data.pkl", np.frombuffer(_pickle(arrays), np.uint8))
        for name, content in (
            (".format_version", b"1"),
            (".storage_alignment", str(_ALIGNMENT).encode()),
            ("byteorder", b"little"),
        ):
            _add(archive, name, np.frombuffer(content, np.uint8))
        for key, array in enumerate(arrays.values()):
            _add(archive, f"data/{key}", _raw_values.raw_bytes(array))
            release(array)
        _add(archive, "version", np.frombuffer(b"3\n", np.uint8))


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
        pickles = [i.filename for i in infos if i.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"has {len(pickles)} members named data.pkl; expected one")
        self._folder = pickles[0].removesuffix("data.pkl")
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise ValueError("has two members of the same name")
        starts = sorted(info.header_offset for info in infos)
        self._ends = dict(zip(starts, [*starts[1:], len(self._data)], strict=True))
        if len(self._ends) != len(infos):
            raise ValueError("has two members at the same place")

    def has(self, name: str) -> bool:
        return self._folder + name in self._infos

    def read(self, name: str) -> bytes:
        return self.checked(name).tobytes()

    def checked(self, name: str) -> Bytes:
        """[N] bytes of a member.

        Raises:
            ValueError: It is missing, compressed, or its checksum does not match.
        """
        info = self._infos.get(self._folder + name)
        if info is None:
            raise ValueError(f"has no member {self._folder}{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted; torch stores members as they are")
        header = self._data[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise ValueError(f"{name} does not start with a ZIP header: the file is damaged")
        name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        end = start + info.file_size
        # Members that overlap would let a small file stand for any amount of data.
        limit = self._ends[info.header_offset]
        if info.compress_size != info.file_size or end > limit:
            raise ValueError(f"{name} lies at bytes {start}..{end}; expected to end at {limit}")
        content = self._data[start:end]
        actual = crc32(content)
        if actual != info.CRC:
            raise ValueError(
                f"{name} has checksum {actual:#010x}, expected {info.CRC:#010x}: the file is"
                " damaged (or was written with torch.serialization.set_crc32_options(False))"
            )
        return content


def _pickle(arrays: Mapping[str, Array]) -> bytes:
    return b"".join(_torch_pickle.dump(arrays, legacy=False))


def _add(archive: zipfile.ZipFile, name: str, content: Bytes) -> None:
    """Adds a member whose data starts at a multiple of 64 bytes, as mapping it wants."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # the fixed date is 1980-01-01
    info.create_system = 0  # the same bytes on every system
    info.file_size = len(content)
    large = len(content) * 1.05 > zipfile.ZIP64_LIMIT
    assert archive.fp is not None
    start = archive.fp.tell() + _LOCAL_HEADER.size + len(info.filename) + 4 + (20 if large else 0)
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=large) as member:
        member.write(content.data)
