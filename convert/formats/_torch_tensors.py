"""The pickled state_dict in both of torch's containers, read and written without torch.

A tensor is pickled as a call of `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, and its
storage as the persistent id `("storage", class, key, location, number of elements)`.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeGuard

import numpy as np

from convert.arrays import LazyArrays
from convert.formats import _pickle_writer as pickled
from convert.formats import _raw_values, pickles
from convert.formats._mapped_file import Bytes
from convert.formats._raw_values import Array
from convert.formats.pickles import Call

_STORAGES = {
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
_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
# Dotted names of storage classes and types, and the element type of each.
_DTYPES = {
    **{f"torch.{name}": dtype for name, dtype in _STORAGES.items()},
    **{f"torch.cuda.{name}": dtype for name, dtype in _STORAGES.items()},
    **{f"torch.{name}": name for name in _raw_values.STORED},
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


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage as the pickle describes it.

    Attributes:
        dtype: The element type, a name of `_raw_values.STORED`.
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

    def root_bytes(self) -> int:
        """The size of the stored bytes."""
        return self.root_count * _raw_values.STORED[self.dtype].itemsize


def load(stream: pickles.Stream) -> tuple[dict[str, Call], dict[str, Storage]]:
    """Tensors and arrays of a pickled checkpoint by flattened name, and all storages by key.

    Names of nested containers are joined with "/". What is no tensor (epoch, settings) is left out.

    Raises:
        ValueError: The pickle is malformed, refused, or holds no tensor in a mapping.
    """
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
    storages: dict[str, Storage] = {}
    for storage in map(_storage, ids):
        if storages.setdefault(storage.key, storage).root_bytes() != storage.root_bytes():
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


def resolve(tensors: Mapping[str, Call], data: Mapping[str, Bytes]) -> LazyArrays:
    """The tensors as arrays, views of their storages.

    Args:
        tensors: What `load` gives.
        data: The bytes of each storage, by key.

    Raises:
        ValueError: A tensor does not fit its storage; the text names it.
    """
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
        arrays.add(name, array.shape, partial(_raw_values.widened, array, dtype))
        together += array.nbytes
        pickles.check_sharing(together, stored)
    return arrays


def dump(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    """Yields, in pieces, the protocol-2 pickle of an OrderedDict of tensors; storage i is array i.

    Raises:
        ValueError: torch has no storage class for an array's type.
    """
    empty = pickled.name("collections", "OrderedDict") + pickled.EMPTY_TUPLE + pickled.REDUCE
    yield pickled.protocol(2) + empty + b"("
    for key, (name, array) in enumerate(arrays.items()):
        dtype = _raw_values.name_of(array, name)
        if dtype not in _STORAGE_OF:
            raise ValueError(f"{name} has dtype {dtype}, for which torch has no storage class")
        pid = [
            pickled.text("storage"),
            pickled.name("torch", _STORAGE_OF[dtype]),
            pickled.text(str(key)),
            pickled.text("cpu"),
            pickled.integer(array.size),
        ]
        tensor = [
            pickled.group(pid) + pickled.PERSISTENT,
            pickled.integer(0),
            pickled.integers(array.shape),
            pickled.integers(math.prod(array.shape[i:]) for i in range(1, array.ndim + 1)),
            pickled.FALSE,
            empty,
        ]
        rebuild = pickled.name("torch._utils", "_rebuild_tensor_v2")
        yield pickled.text(name) + rebuild + pickled.group(tensor) + pickled.REDUCE
    yield b"u" + pickled.STOP


def _is_tensor(value: object) -> TypeGuard[Call]:
    return isinstance(value, Call) and value.args is not None and value.function in _TENSORS


def _storage(pid: object) -> Storage:
    """The storage that a persistent id describes."""
    (parts,) = pickles.arguments(pid, "persistent id", 1)
    if type(parts) is not tuple or len(parts) not in (5, 6) or parts[0] != "storage":
        raise ValueError("a malformed persistent id")
    _, kind, key, _, count, view = (*parts, None)[:6]
    if not pickles.is_name(kind, _DTYPES) or type(key) is not str:
        raise ValueError("a persistent id that names no storage")
    dtype = _DTYPES[kind.function]
    base, size = 0, count
    if view is not None:
        if type(view) is not tuple or len(view) != 3:
            raise ValueError("a malformed view of a storage")
        _, base, size = view
    _raw_values.elements((count, base, size))  # checks that they are integers from 0 on
    if base + size > count:
        raise ValueError(f"a view of elements {base}..{base + size} of a storage of {count}")
    return Storage(dtype, key, base, size, count)


def _view(tensor: Call, data: Mapping[str, Bytes]) -> tuple[Array, str]:
    """The tensor as a view of its storage's bytes, and its type, a name of `_raw_values.STORED`."""
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
    count = _raw_values.elements(shape)
    _raw_values.elements((offset, *strides[:31]))  # checks that they are integers from 0 on
    used = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
    dtype = storage.dtype
    flat = data[storage.key].view(_raw_values.STORED[dtype])
    flat = flat[storage.base : storage.base + storage.count]
    if tensor.function == _TENSOR_V3:  # the storage is bytes, the tensor itself has a type
        if len(args) < 7 or not pickles.is_name(args[6], _DTYPES):
            raise ValueError("a tensor without a type")
        dtype = _DTYPES[args[6].function]
        flat = flat.view(_raw_values.STORED[dtype])
    if offset + used > len(flat) or count > max(len(flat), _MOST_EXPANDED):
        raise ValueError(
            f"a tensor of size {list(shape)}, stride {list(strides)} from element {offset} on"
            f" does not fit its storage of {len(flat)} elements"
        )
    steps = [step * flat.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps if count else None)
    return view, dtype
