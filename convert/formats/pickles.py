"""Pickles, opened without executing anything, and written without the libraries they name.

Python's own unpickler calls whatever functions a pickle names. Here a name outside an allow-list is
refused, and calling an allowed one gives a `Call`, a record that readers interpret with checks.
"""

import io
import mmap
import pickle
import reprlib
import struct
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, TypeGuard

import numpy as np

from convert.arrays import Array
from convert.formats import _raw

# An open file that returns at most the bytes it has, whatever size is asked for.
Stream = mmap.mmap | io.BytesIO

# Bounds on what a few kilobytes of pickle can describe by sharing, far above any checkpoint.
MOST_VALUES = 1_000_000
DEEPEST = 100
_LONGEST_NAME = 1000  # characters

PERSISTENT = "persistent id"
ORDERED = "collections.OrderedDict"
_SCALARS = {"numpy.core.multiarray.scalar"}
ARRAYS = {"numpy.core.multiarray._reconstruct", "numpy.core.numeric._frombuffer"}
_ENCODE = "_codecs.encode"  # how protocol 2 writes bytes
NUMPY_NAMES = {*ARRAYS, *_SCALARS, "numpy.dtype", "numpy.ndarray", _ENCODE, ORDERED}

# Type codes of plain numbers: no objects, strings, records or dates.
_CODES = {dtype.str[1:]: dtype.name for dtype in _raw.TYPES.values()}
# The opcodes of a process-wide registry, and of sets, which hash what they hold.
_UNUSED = pickle.EXT1 + pickle.EXT2 + pickle.EXT4
_UNUSED += pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET
_DATA = 2**16  # bytes: longer byte strings of Python 2 are the data of arrays and stay bytes

WRAPPER = "blobs"  # the outer key of Caffe2's files
_PREFIX = 1024  # bytes: the first array of a checkpoint starts well within
# How a pickle of a dictionary starts: protocols 2 to 5 with a marker, 0 and 1 with the dictionary.
_STARTS = (
    *(b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"),
    *(b"}q", b"(dp", b"ccollections\nOrderedDict\n"),
)


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A function or class that a pickle names, and the call of it that is never made."""

    function: str  # the dotted name
    args: tuple[Any, ...] | None = None  # None for the name alone
    state: Any = None  # what the pickle sets as the state of the result

    def __call__(self, *args: Any) -> Any:
        if self.args is not None:
            raise ValueError("a call of something that is no function")
        if self.function == ORDERED:
            entries = _Dictionary()
            for pairs in args:  # of Python 2; Python 3 fills an empty one
                for key, value in pairs:
                    entries[key] = value
                pairs.clear()  # used once, or a few bytes could copy it any number of times
            return entries
        if self.function == _ENCODE and len(args[0]) <= _LONGEST_NAME:
            return args[0].encode("latin1")  # the data of arrays stays a Call until it is needed
        return Call(self.function, args)

    def __setstate__(self, state: Any) -> None:
        if self.args is None or self.state is not None:
            raise ValueError("refused to set a state of something that has none, or has it set")
        self.state = state


class _Dictionary(dict[Any, Any]):
    """A dictionary of a pickle, whose keys are names."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        parts: tuple[Any, ...] = key if type(key) is tuple else (key,)
        # Hashing a deeply nested tuple would overflow the C stack.
        if not all(isinstance(p, str | bytes | int | float | None | Call) for p in parts):
            raise ValueError(f"a key of type {type(key).__name__} in a dictionary; expected names")
        super().__setitem__(key, value)

    def __setstate__(self, state: Any) -> None:
        """Ignores the attributes of an OrderedDict, such as torch's `_metadata`."""


def load(path: Path, offset: int = 0) -> Any:
    """The object of the one pickle that fills the file from byte `offset` on; see `load_next`."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        stream.seek(offset)
        tree = load_next(stream)
        if stream.tell() != len(stream):
            raise ValueError(f"{len(stream) - stream.tell()} bytes follow the end of the pickle")
        return tree


def load_next(
    stream: Stream, allowed: Set[str] = NUMPY_NAMES, ids: list[Call] | None = None
) -> Any:
    """The object of the next pickle in `stream`, which is left right behind it.

    Persistent ids are added to `ids`, each as a Call with the id as its argument. A pickle that
    names something outside `allowed`, or is malformed, is a ValueError.
    """
    try:
        return _Unpickler(stream, allowed, ids).load()
    except ValueError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"not a well-formed pickle ({text})") from error


def outline(path: Path) -> Literal["flat", "nested"] | None:
    """Whether a pickle's first kilobyte has dictionaries in a dictionary, as Flax's, or arrays.

    Caffe2's wrapper does not count. None if it is no pickle of a dictionary.
    """
    start = _raw.part(path, 0, _PREFIX)
    if not start.startswith(_STARTS):
        return None
    unpickler = _Unpickler(io.BytesIO(start), NUMPY_NAMES, None)
    try:
        waiting = [unpickler.load()]
    except Exception:  # it is cut off: its values lie on the stacks, the innermost in the last
        stacks = (unpickler.stack, *reversed(unpickler.metastack))
        waiting = [value for stack in stacks for value in reversed(stack)]
    if waiting and type(waiting[-1]) is int:  # torch's old files
        return None
    dictionaries, before = 0, None
    while waiting:
        value = waiting.pop()
        if is_array(value, scalars=False):
            break
        if isinstance(value, dict):
            dictionaries += 1
            if dictionaries == 2:
                return "flat" if before == WRAPPER else "nested"
            waiting += [each for pair in reversed(value.items()) for each in reversed(pair)]
        before = value.decode("latin1") if isinstance(value, bytes) else value
    return "flat"


class _Unpickler(pickle._Unpickler):
    """The standard library's unpickler in Python; the one in C allocates any declared size."""

    stack: list[Any]
    metastack: list[list[Any]]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(self, stream: Stream, allowed: Set[str], ids: list[Call] | None) -> None:
        super().__init__(stream)
        self._allowed, self._ids = allowed, ids

    def find_class(self, module: str, name: str) -> Call:
        path = f"{module}.{name}".replace("numpy._core", "numpy.core")  # as NumPy 2 calls it
        if path not in self._allowed:
            raise ValueError(
                f"refused to load {path[:200]}, which could run code. Of a whole torch module, save"
                " only the weights: torch.save(model.state_dict(), path)"
            )
        return Call(path)

    def persistent_load(self, pid: Any) -> Call:
        if self._ids is None:
            raise ValueError("refused a persistent id, which this format does not have")
        self._ids.append(Call(PERSISTENT, (pid,)))
        return self._ids[-1]

    def _decode_string(self, value: bytes) -> str | bytes:
        return value if len(value) >= _DATA else value.decode("latin1")

    def _dictionary(self) -> None:
        self.stack.append(_Dictionary())

    def _marked_dictionary(self) -> None:
        if self.pop_mark():
            raise ValueError("a dictionary made from the stack, which no pickler writes")
        self._dictionary()

    def _byte_array(self) -> None:
        self.stack.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch: ClassVar[dict[int, Any]] = {
        **{code: run for code, run in pickle._Unpickler.dispatch.items() if code not in _UNUSED},
        pickle.EMPTY_DICT[0]: _dictionary,
        pickle.DICT[0]: _marked_dictionary,
        pickle.BYTEARRAY8[0]: _byte_array,
    }


def leaves(tree: Any, containers: tuple[type, ...]) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yields path and value of everything in `tree` that is not one of `containers`, in order."""
    visits = 0
    waiting: list[tuple[tuple[object, ...], Any]] = [((), tree)]
    while waiting:
        path, found = waiting.pop()
        if not isinstance(found, containers):
            yield path, found
            continue
        node: Any = found
        visits += len(node)
        if visits > MOST_VALUES or len(path) >= DEEPEST:
            raise ValueError(f"has over {MOST_VALUES} values or is nested more than {DEEPEST} deep")
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        waiting += [((*path, key), value) for key, value in reversed(list(pairs))]


def shown(path: tuple[object, ...], separator: str) -> str:
    """The path of a leaf as a name; a ValueError if it is longer than any checkpoint's."""
    parts = (str(key) if isinstance(key, str | int) else type(key).__name__ for key in path)
    name = separator.join(parts)
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters, {name[:80]!r}...")
    return name


def is_array(value: object, *, scalars: bool = True) -> TypeGuard[Call]:
    """Whether a value is the record of a NumPy array or, with `scalars`, of a NumPy number."""
    known = ARRAYS | _SCALARS if scalars else ARRAYS
    return isinstance(value, Call) and value.args is not None and value.function in known


def array(call: Call, name: str = "an array") -> Array:
    """The array of a record, a read-only view of the pickle's bytes; a number has shape ().

    NumPy pickles an array as `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape,
    dtype, Fortran order, bytes); in protocol 5 `_frombuffer(bytes, dtype, shape, order, axes)`.
    """
    axes = None
    match call.function.rpartition(".")[2], call.args, call.state:
        case "_reconstruct", _, (*_, tuple(shape), dtype, fortran, raw):
            pass
        case "_frombuffer", (raw, dtype, tuple(shape), order, *rest), _:
            fortran, axes = order == "F", rest[0] if rest else None
        case "scalar", (dtype, raw), _:
            shape, fortran = (), False
        case _:
            raise ValueError(f"{name} is not an array in one of NumPy's forms")
    match dtype:
        case Call(args=(str(code), *_), state=(_, order, None, None, None, *_)) if (
            code in _CODES and order in ("<", ">", "|")
        ):
            pass
        case Call(args=(code, *_)):
            text = reprlib.repr(code)
            raise ValueError(f"{name}: an array of dtype {text}; expected plain numbers")
        case _:
            raise ValueError(f"{name} has no type")
    match raw:
        case Call(function="_codecs.encode", args=(str(text), *_)) | str(text):
            raw = text.encode("latin1")
        case bytes():
            pass
        case _:
            raise ValueError(f"{name} has a {type(raw).__name__} as data; expected bytes")
    shape = shape[::-1] if fortran else shape
    found = _raw.values(np.frombuffer(raw, np.uint8), _CODES[code], shape, name)
    if order == ">" and found.dtype != bool:
        found = found.view(found.dtype.newbyteorder(">"))
    return found.T if fortran else found if axes is None else found.transpose(axes)


def number(name: str, value: complex) -> Array:
    """A number of Python as int64, float64 or complex128 of shape ()."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is an integer of {value.bit_length()} bits; expected 64 at most")
    kinds = {int: np.int64, float: np.float64}
    return np.array(value, kinds.get(type(value), np.complex128))


def check_sharing(together: int, stored: int) -> None:
    """Refuses arrays that are more than 16 times larger together than the bytes they share."""
    if together > 16 * stored + 2**26:
        raise ValueError(f"its arrays are {together} bytes or more, but share only {stored}")


def dump(value: Any, *, python2: bool = False) -> bytes:
    """The opcodes that make None, a bool, an integer, text, bytes, a `Call`, or a tuple of these.

    `python2` makes all strings byte strings, of up to 255 bytes.
    """
    match value:
        case None | bool() | int():
            return pickle.dumps(value, 2)[2:-1]  # without the marks of start and end
        case str() | bytes() if python2:
            encoded = value.encode("ascii") if isinstance(value, str) else value
            return b"U" + bytes([len(encoded)]) + encoded
        case str() | bytes():
            return pickle.dumps(value, 3)[2:-3]  # nor a place in the memo
        case tuple():
            return b"(" + b"".join(dump(item, python2=python2) for item in value) + b"t"
        case Call(function=function, args=None):
            module, _, name = function.rpartition(".")
            return f"c{module}\n{name}\n".encode("ascii")
        case Call(function="persistent id", args=(pid,)):
            return dump(pid) + b"Q"
        case Call(function=function, args=args, state=state):
            given = dump(args, python2=python2) if args else b")"
            made = dump(Call(function)) + given + b"R"
            return made if state is None else made + dump(state, python2=python2) + b"b"
    raise TypeError(f"cannot pickle a {type(value).__name__}")


def write_array(file: BinaryIO, array: Array, name: str, *, python2: bool = False) -> None:
    """Writes the opcodes of an array that any NumPy opens, of protocol 4, or 2 for `python2`."""
    stored = _raw.TYPES[_raw.name_of(array, name)].str  # NumPy's byte order and type code
    state = (3, stored[0], None, None, None, -1, -1, 0)
    dtype = Call("numpy.dtype", (stored[1:], False, True), state)
    empty = Call("numpy.core.multiarray._reconstruct", (Call("numpy.ndarray"), (0,), b"b"))
    size = array.nbytes
    if python2:
        code, layout = (b"U", "<B") if size < 2**8 else (b"T", "<i")
    else:
        code, layout = (b"B", "<I") if size < 2**32 else (b"\x8e", "<Q")
    file.write(dump(empty, python2=python2) + b"(" + dump(1) + dump(array.shape))
    file.write(dump(dtype, python2=python2) + dump(False) + code + struct.pack(layout, size))
    file.write(_raw.raw_bytes(array).data)
    _raw.release(array)
    file.write(b"tb")
