"""torch's container before 1.6: five pickles after each other, then the storages' raw bytes.

    magic | protocol 1001 | sys_info | the object | list of storage keys | i64 count, data | ...

All I3D weights of 2017-2019 are of this kind.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

from common.io import replacing
from convert.formats import _pickle_writer as pickled
from convert.formats import _raw_values, _torch_pickle, _unpickler
from convert.formats._mapped_file import Bytes, first_bytes, mapped, one_error
from convert.formats._raw_values import Array
from convert.formats._torch_tensors import Storage

_NUMBER = 0x1950A86A20F9469CFC6C
MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # that number, pickled
_PROTOCOL = 1001


def recognises(path: Path) -> bool:
    """Whether the file starts with the magic number."""
    return MAGIC in first_bytes(path, 32)


def read(path: Path) -> Mapping[str, Array]:
    """All tensors in stored order, as views of the mapped file.

    Raises:
        CheckpointError: As `torch_pt.read`.
    """
    with one_error(path):
        data = mapped(path)
        stream = _unpickler.Cursor(data)
        number = _unpickler.load(stream, allowed={}, source=path)
        protocol = _unpickler.load(stream, allowed={}, source=path)
        if number != _NUMBER or protocol != _PROTOCOL:
            raise ValueError(f"is not of torch's legacy protocol {_PROTOCOL}")
        info = _unpickler.load(stream, allowed={}, source=path)
        if not isinstance(info, dict) or info.get("little_endian") is not True:
            raise ValueError("was not written on a little-endian machine; save it again on one")
        storages: dict[str, Storage] = {}
        tensors = _torch_pickle.load(stream, storages, path, legacy=True)
        keys = _unpickler.load(stream, allowed={}, source=path)
        if not isinstance(keys, list) or not all(type(key) is str for key in keys):
            raise ValueError("its list of storages is malformed")
        if sorted(keys) != sorted(storages):
            raise ValueError("its list of storages is not that of its tensors")
        found = _storages(data, stream.tell(), [storages[key] for key in keys])
        return _torch_pickle.resolve(tensors, lambda storage: found[storage.key])


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes the container that every torch reads.

    Raises:
        CheckpointError: An array is of a type that torch has no storage class for.
    """
    path = Path(path)
    with one_error(path), replacing(path) as temporary, temporary.open("wb") as file:
        start = pickled.protocol(2)
        sizes = [(name, pickled.integer(n)) for name, n in (("short", 2), ("int", 4), ("long", 4))]
        info = [
            ("protocol_version", pickled.integer(_PROTOCOL)),
            ("little_endian", pickled.TRUE),
            ("type_sizes", pickled.EMPTY_DICT + pickled.items(sizes)),
        ]
        file.write(start + pickled.integer(_NUMBER) + pickled.STOP)
        file.write(start + pickled.integer(_PROTOCOL) + pickled.STOP)
        file.write(start + pickled.EMPTY_DICT + pickled.items(info) + pickled.STOP)
        file.writelines(_torch_pickle.dump(arrays, legacy=True))
        keys = b"".join(pickled.text(str(key)) for key in range(len(arrays)))
        file.write(start + b"](" + keys + b"e" + pickled.STOP)
        for array in arrays.values():
            file.write(struct.pack("<q", array.size))
            file.write(_raw_values.raw_bytes(array).data)


def _storages(data: Bytes, position: int, storages: list[Storage]) -> dict[str, Bytes]:
    """The bytes of each storage; they stand behind each other, each after its element count."""
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
