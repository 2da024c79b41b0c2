"""The pickled state_dict that both torch containers hold, read and written without torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from common.io import CheckpointError
from convert.arrays import LazyArrays
from convert.formats import _pickle_writer as pickled
from convert.formats import _pickled_tree, _raw_values, _torch_tensors, _unpickler
from convert.formats._mapped_file import Bytes
from convert.formats._numpy_pickle import PickledArray
from convert.formats._raw_values import Array
from convert.formats._torch_tensors import STORAGE_OF, PickledTensor, Storage


def load(
    stream: Any, storages: dict[str, Storage], source: str | Path, *, legacy: bool
) -> dict[str, PickledTensor | PickledArray]:
    """The tensors of a pickled checkpoint by flattened name; `storages` receives what they need.

    Nested mappings are joined with "/"; what is no tensor (epoch, names, settings) is left out.

    Raises:
        CheckpointError: The pickle is malformed, refused, or holds no tensor in a mapping.
    """

    def persistent_load(pid: Any) -> Storage:
        storage = _torch_tensors.storage_of(pid, legacy)
        known = storages.setdefault(storage.key, storage)
        if known.root_bytes() != storage.root_bytes():
            raise ValueError(f"storage {storage.key} is named with two sizes")
        return storage

    try:
        tree = _unpickler.load(
            stream, allowed=_torch_tensors.GLOBALS, persistent_load=persistent_load, source=source
        )
    except CheckpointError as error:
        if "refused to load" not in str(error):
            raise
        raise CheckpointError(
            f"{error}. If this is a whole module or TorchScript: load it where its code is at hand"
            " and save only its weights, torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(tree, dict):
        raise ValueError(f"holds a {_kind(tree)}; expected a mapping of names to tensors")
    tensors: dict[str, PickledTensor | PickledArray] = {}
    for path, leaf in _pickled_tree.leaves(tree, (dict, list, tuple)):
        if not isinstance(leaf, (PickledTensor, PickledArray)):
            continue
        name = _pickled_tree.shown(path, "/")
        if name in tensors:
            raise ValueError(f"two tensors have the name {name[:200]!r}")
        tensors[name] = leaf
    if not tensors:
        raise ValueError("holds no tensor")
    return tensors


def resolve(
    tensors: Mapping[str, PickledTensor | PickledArray], data: Callable[[Storage], Bytes]
) -> LazyArrays:
    """The tensors as arrays; `data` gives the bytes of a whole storage.

    Raises:
        ValueError: A tensor does not fit its storage; the text names it.
    """
    arrays, size, stored = LazyArrays(), 0, 0
    known = set()  # storages
    for name, tensor in tensors.items():
        try:
            if isinstance(tensor, PickledArray):
                array, dtype = tensor.resolve(), ""
                stored += array.nbytes
            else:
                raw = data(tensor.storage)
                array, dtype = tensor.stored(raw), tensor.type
                stored += 0 if tensor.storage.key in known else len(raw)
                known.add(tensor.storage.key)
        except ValueError as error:
            raise ValueError(f"{name[:200]}: {error}") from error
        arrays.add(name, array.shape, partial(_raw_values.widened, array, dtype))
        size += array.nbytes
        _pickled_tree.check_sharing(size, stored)
    return arrays


def dump(arrays: Mapping[str, Array], *, legacy: bool) -> Iterator[bytes]:
    """Yields, in pieces, the protocol-2 pickle of an OrderedDict of tensors; storage i is array i.

    Raises:
        ValueError: torch has no storage class for an array's type.
    """
    empty = pickled.name("collections", "OrderedDict") + pickled.EMPTY_TUPLE + pickled.REDUCE
    yield pickled.protocol(2) + empty + b"("
    for key, (name, array) in enumerate(arrays.items()):
        dtype = _raw_values.name_of(array, name)
        if dtype not in STORAGE_OF:
            raise ValueError(f"{name} has dtype {dtype}, for which torch has no storage class")
        pid = [
            pickled.text("storage"),
            pickled.name("torch", STORAGE_OF[dtype]),
            pickled.text(str(key)),
            pickled.text("cpu"),
            pickled.integer(array.size),
            *([pickled.NONE] if legacy else []),
        ]
        tensor = [
            pickled.group(pid) + pickled.PERSISTENT,
            pickled.integer(0),
            pickled.integers(array.shape),
            pickled.integers(_c_strides(array.shape)),
            pickled.FALSE,
            empty,
        ]
        rebuild = pickled.name("torch._utils", "_rebuild_tensor_v2")
        yield pickled.text(name) + rebuild + pickled.group(tensor) + pickled.REDUCE
    yield b"u" + pickled.STOP


def _c_strides(shape: Iterable[int]) -> list[int]:
    strides, step = [], 1
    for size in reversed(list(shape)):
        strides.append(step)
        step *= max(size, 1)
    return strides[::-1]


def _kind(value: object) -> str:
    return "tensor" if isinstance(value, PickledTensor) else type(value).__name__
