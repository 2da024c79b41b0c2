"""Stand-ins for what a pickled state_dict names: storages, tensors, parameters, sizes.

A tensor is pickled as a call of `_rebuild_tensor_v2(storage, offset, size, stride, ...)`; the
storage is only a persistent id. These record both, and check them when the bytes are at hand.
"""

import dataclasses
from typing import Any, NamedTuple, NoReturn

import numpy as np

from convert.formats import _raw_values
from convert.formats._mapped_file import Bytes
from convert.formats._numpy_pickle import NUMPY_GLOBALS
from convert.formats._pickle_scan import Refused
from convert.formats._raw_values import Array

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
STORAGE_OF = {dtype: name for name, dtype in STORAGES.items()}

# An expanded tensor (stride 0) may have more elements than its storage; without a bound, a few
# bytes would stand for terabytes.
_MOST_EXPANDED = 65_536


class StorageType(NamedTuple):
    """A storage class; `dtype` is "uint8" for untyped bytes."""

    dtype: str


class DtypeName(NamedTuple):
    """A torch.dtype."""

    dtype: str


class _Sealed:
    """Refuses the opcode BUILD, which would rewrite what is already checked, frozen or not."""

    def __setstate__(self, state: object) -> NoReturn:
        raise Refused(f"refused to change the state of a {type(self).__name__}")


# No slots: for a frozen class with slots, dataclasses generate a __setstate__ that rewrites it.
@dataclasses.dataclass(frozen=True)
class Storage(_Sealed):
    """A storage as the pickle names it.

    Attributes:
        dtype: Its element type, a name of `_raw_values.STORED`.
        key: Its name in the container.
        count: Number of elements.
        base: First element, where it is a view of the storage `key` (old files).
        root_count: Number of elements of that storage.
    """

    dtype: str
    key: str
    count: int
    base: int
    root_count: int

    def root_bytes(self) -> int:
        """The size of the stored bytes."""
        return self.root_count * _raw_values.STORED[self.dtype].itemsize


@dataclasses.dataclass(frozen=True)
class PickledTensor(_Sealed):
    """What a file says about a tensor; nothing in it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any
    dtype: str | None = None

    @property
    def type(self) -> str:
        """The type of its elements, a name of `_raw_values.STORED`."""
        return str(self.dtype or self.storage.dtype)

    def stored(self, data: Bytes) -> Array:
        """The tensor as a view of its storage's bytes, of the type `STORED[self.type]`.

        Args:
            data: [N] bytes of the whole storage.

        Raises:
            ValueError: It reaches outside its storage, or its numbers are malformed.
        """
        storage = self.storage
        shape, strides = self.size, self.stride
        if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
            raise ValueError("a tensor with a malformed size or stride")
        count = _raw_values.elements(shape)
        _raw_values.elements(strides)  # integers from 0 on
        start = _raw_values.elements((self.offset,))
        used = (
            1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
        )
        flat = data.view(_raw_values.STORED[storage.dtype])
        flat = flat[storage.base : storage.base + storage.count]
        if self.dtype is not None:  # bytes that the tensor itself gives a type
            flat = flat.view(_raw_values.STORED[self.dtype])
        if start + used > len(flat) or count > max(len(flat), _MOST_EXPANDED):
            raise ValueError(
                f"a tensor of size {list(shape)}, stride {list(strides)} from element {start} on"
                f" does not fit its storage of {len(flat)} elements"
            )
        steps = [step * flat.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(flat[start:], shape, steps if count else None)


def storage_of(pid: Any, legacy: bool) -> Storage:
    """The storage that a persistent id names."""
    if type(pid) is not tuple or len(pid) != (6 if legacy else 5) or pid[0] != "storage":
        raise ValueError("a malformed persistent id")
    kind, key, count = pid[1], pid[2], pid[4]
    if type(kind) is not StorageType or type(key) is not str:
        raise ValueError("a persistent id that names no storage")
    _raw_values.elements((count,))
    view = pid[5] if legacy else None
    if view is None:
        return Storage(kind.dtype, key, count, 0, count)
    if type(view) is not tuple or len(view) != 3:
        raise ValueError("a malformed view of a storage")
    _, base, size = view
    _raw_values.elements((base, size))
    if base + size > count:
        raise ValueError(f"a view of elements {base}..{base + size} of a storage of {count}")
    return Storage(kind.dtype, key, size, base, count)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> PickledTensor:
    if type(storage) is not Storage:
        raise ValueError("a tensor without a storage")
    return PickledTensor(storage, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, metadata: Any = None
) -> PickledTensor:
    return _rebuild_tensor(storage, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> PickledTensor:
    if type(storage) is not Storage or type(dtype) is not DtypeName:
        raise ValueError("a tensor without a storage or dtype")
    return PickledTensor(storage, offset, size, stride, dtype.dtype)


def _rebuild_parameter(data: Any, grad: Any, hooks: Any) -> PickledTensor:
    if type(data) is not PickledTensor:
        raise ValueError("a parameter without a tensor")
    return data


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    return tuple(sizes)


def _device(*parts: Any) -> None:
    """Where a tensor was does not matter."""


GLOBALS: dict[tuple[str, str], Any] = {
    **NUMPY_GLOBALS,
    **{
        (module, name): StorageType(dtype)
        for module in ("torch", "torch.cuda")
        for name, dtype in STORAGES.items()
    },
    ("torch.storage", "UntypedStorage"): StorageType("uint8"),
    ("torch", "UntypedStorage"): StorageType("uint8"),
    **{("torch", name): DtypeName(name) for name in _raw_values.STORED},
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}
