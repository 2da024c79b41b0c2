"""Pickles, opened without executing anything.

A pickle is a program: Python's own unpickler calls whatever functions it names. Here a name
outside an allow-list is refused, and an allowed one is inert: calling it gives a `Call`, a record
of the name, the arguments and the state set afterwards. Readers interpret these records (`array`,
`torch_pt`) with checks of their own; no function of NumPy, torch or anybody else ever receives the
content of a file. `_pickle_writer` turns such records into a pickle again.

    tree = pickles.load(path)            # dictionaries, lists, numbers, strings and `Call`s
    for names, value in pickles.leaves(tree, (dict,)):
        if pickles.is_array(value):
            pickles.array(value)
"""

import io
import mmap
import pickle
from collections.abc import Callable, Container, Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeGuard

import numpy as np

from convert.arrays import Array
from convert.formats._mapped_file import STORED, elements

# An open file that returns at most the bytes it has, whatever size is asked for.
Stream = mmap.mmap | io.BytesIO

# Bounds on what a few kilobytes of pickle can describe by sharing, far above any checkpoint.
MOST_VALUES = 1_000_000
DEEPEST = 100
_LONGEST_NAME = 1000  # characters
_MOST_PAIRS = 100_000  # that OrderedDicts copy

PERSISTENT = "persistent id"
ORDERED = "collections.OrderedDict"
_SCALARS = frozenset(["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"])
_ARRAYS = frozenset(
    f"numpy.{core}.{function}"
    for core in ("core", "_core")  # NumPy 2 renamed it
    for function in ("multiarray._reconstruct", "numeric._frombuffer")
)
_DTYPE, _NDARRAY = "numpy.dtype", "numpy.ndarray"
_ENCODE = "_codecs.encode"  # how protocol 2 writes bytes
NUMPY_NAMES = frozenset([*_ARRAYS, *_SCALARS, _DTYPE, _NDARRAY, _ENCODE, ORDERED])

# Type codes of plain numbers: no objects, strings, records or dates.
_CODES = frozenset(dtype.str[1:] for dtype in STORED.values())

_DATA = 2**16  # bytes: longer byte strings of Python 2 are the data of arrays and stay bytes


class Refused(ValueError):  # noqa: N818  (the answer to a bad file, not an error of ours)
    """A pickle is well-formed but holds something that is not admitted."""


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A function or class that a pickle names, and the call of it that is never made.

    Attributes:
        function: The dotted name.
        args: The arguments, which may be calls again; None for the name alone.
        state: What the pickle sets as the state of the result; None if it does not.
    """

    function: str
    args: tuple[Any, ...] | None = None
    state: Any = None


def is_name(value: object, names: Container[str]) -> TypeGuard[Call]:
    """Whether a value is one of `names`, not called."""
    return isinstance(value, Call) and value.args is None and value.function in names


def arguments(value: object, function: str, least: int = 0) -> tuple[Any, ...]:
    """The arguments of a call of `function`, at least so many; a ValueError for anything else."""
    args = value.args if isinstance(value, Call) and value.function == function else None
    if args is None or len(args) < least:
        raise ValueError(f"something else where a call of {function} is expected")
    return args


def load(path: Path, offset: int = 0, allowed: Set[str] = NUMPY_NAMES) -> Any:
    """The object of the one pickle that fills the file from byte `offset` on.

    Raises:
        Refused: The pickle names something outside `allowed`, or could run code.
        ValueError: It is malformed, or bytes follow it.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            stream.seek(offset)
            tree = load_next(stream, allowed)
            if stream.tell() != size:
                raise ValueError(f"{size - stream.tell()} bytes follow the end of the pickle")
            return tree


def load_next(stream: Stream, allowed: Set[str], ids: list[Call] | None = None) -> Any:
    """The object of the next pickle in `stream`, which is left right behind it.

    Persistent ids are added to `ids`, each as a Call with the id as its argument; without such a
    list they are refused.

    Raises:
        Refused: The pickle names something outside `allowed`, or has an opcode no checkpoint needs.
        ValueError: It is malformed.
    """
    try:
        return _Unpickler(stream, allowed, ids).load()
    except Refused:
        raise
    except EOFError as error:
        raise ValueError("not a well-formed pickle: it is cut off") from error
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise ValueError(f"not a well-formed pickle ({text})") from error


def _refuse(opcode: str, _: "_Unpickler") -> NoReturn:
    raise Refused(f"refused the pickle opcode {opcode}: no checkpoint needs it")


# Other ways to call and instantiate, a process-wide registry, sets, and buffers from outside.
_REFUSED = {
    getattr(pickle, name)[0]: partial(_refuse, name)
    for name in (
        *("INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"),
        *("EMPTY_SET", "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER"),
    )
}


class _Unpickler(pickle._Unpickler):
    """The standard library's unpickler in Python, reduced to data.

    The one in C allocates the sizes that a pickle declares before it reads; this one holds what
    `stream` really has.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(self, stream: Stream, allowed: Set[str], ids: list[Call] | None) -> None:
        super().__init__(stream)
        self._allowed = allowed
        self._ids = ids
        self._copied = 0

    def find_class(self, module: str, name: str) -> Call:
        path = f"{module}.{name}"
        if path not in self._allowed:
            raise Refused(
                f"refused to load {path[:200]}: a checkpoint needs only arrays and plain"
                " containers, and unpickling anything else could run code"
            )
        return Call(path)

    def persistent_load(self, pid: Any) -> Call:
        if self._ids is None:
            raise Refused("refused a persistent id, which this format does not have")
        self._ids.append(Call(PERSISTENT, (pid,)))
        return self._ids[-1]

    def _decode_string(self, value: bytes) -> str | bytes:
        """A byte string of Python 2."""
        return value if len(value) >= _DATA else value.decode("latin1")

    def _call(self) -> None:
        args = self.stack.pop()
        name = self.stack[-1]
        if not isinstance(name, Call) or name.args is not None or type(args) is not tuple:
            raise ValueError("a call of something that is no function")
        first = args[0] if args else ()
        made: Any = Call(name.function, args)
        if name.function == ORDERED:  # Python 2 passes its entries, Python 3 fills an empty one
            self._copied += len(first)
            if self._copied > _MOST_PAIRS:
                raise Refused(f"has OrderedDicts made of more than {_MOST_PAIRS} pairs")
            made = {}
            _fill(made, [part for key, value in first for part in (key, value)])
        elif name.function == _ENCODE and isinstance(first, str) and len(first) <= _LONGEST_NAME:
            made = first.encode("latin1")  # the data of arrays stays a Call, until it is needed
        self.stack[-1] = made

    def _set_state(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Call) and target.args is not None and target.state is None:
            target.state = state
        elif not isinstance(target, dict):  # attributes of an OrderedDict, such as `_metadata`
            raise Refused("refused to change the state of something that has none, or has it set")

    def _set_items(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], items)

    def _set_item(self) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        _fill(self.stack[-1], items)

    def _make_dictionary(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        _fill(self.stack[-1], items)

    def _byte_array(self) -> None:
        self.stack.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        **_REFUSED,
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.BUILD[0]: _set_state,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _make_dictionary,
        pickle.BYTEARRAY8[0]: _byte_array,
    }


def _fill(target: Any, items: list[Any]) -> None:
    """Puts keys and values, in turn, into a dictionary."""
    if type(target) is not dict or len(items) % 2:
        raise ValueError("entries for something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        parts: tuple[Any, ...] = key if type(key) is tuple else (key,)
        # Hashing a deeply nested tuple would overflow the C stack.
        if not all(isinstance(p, str | bytes | int | float | None | Call) for p in parts):
            raise ValueError(f"a key of type {type(key).__name__} in a dictionary; expected names")
        target[key] = value


def leaves(tree: Any, containers: tuple[type, ...]) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yields path and value of everything in `tree` that is not one of `containers`, in order.

    Raises:
        ValueError: It is nested too deeply (or in a cycle), or has too many leaves.
    """
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
            raise ValueError(
                f"has more than {MOST_VALUES} values or is nested more than {DEEPEST} deep"
            )
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        waiting += [((*path, key), value) for key, value in reversed(list(pairs))]


def shown(path: tuple[object, ...], separator: str) -> str:
    """The path of a leaf as a name.

    Raises:
        ValueError: It is longer than any checkpoint's.
    """
    name = separator.join(
        key if isinstance(key, str) else str(key) if isinstance(key, int) else type(key).__name__
        for key in path
    )
    if len(name) > _LONGEST_NAME:
        raise ValueError(
            f"a name of {len(name)} characters, {name[:80]!r}...; expected {_LONGEST_NAME} at most"
        )
    return name


def is_array(value: object, *, scalars: bool = True) -> TypeGuard[Call]:
    """Whether a value is the record of a NumPy array or, with `scalars`, of a NumPy number."""
    known = _ARRAYS | _SCALARS if scalars else _ARRAYS
    return isinstance(value, Call) and value.args is not None and value.function in known


def array(call: Call, name: str = "") -> Array:
    """The array of a record, a read-only view of the pickle's bytes; a number has shape ().

    Raises:
        ValueError: Shape, type and number of bytes contradict each other, or it is not numeric;
            the text starts with `name`.
    """
    try:
        return _array(call)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


def _array(call: Call) -> Array:
    # NumPy pickles an array as `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape,
    # dtype, Fortran order, bytes); in protocol 5 `_frombuffer(bytes, dtype, shape, order, axes)`.
    kind, args, axes = call.function.rpartition(".")[2], call.args or (), None
    if kind == "_reconstruct" and args and is_name(args[0], [_NDARRAY]):
        state = call.state
        if type(state) is not tuple or len(state) not in (4, 5):  # the oldest have no version
            raise ValueError("an array with a malformed state")
        shape, dtype, fortran, raw = state[-4:]
    elif kind == "_frombuffer" and len(args) in (4, 5):
        raw, dtype, shape, order, axes = (*args, None)[:5]
        fortran = order == "F"
        if order not in ("C", "F", "K") or (order == "K") != (axes is not None):
            raise ValueError(f"an array in order {_brief(order)}; expected C, F, or K and axes")
    elif kind == "scalar" and len(args) == 2:
        (dtype, raw), shape, fortran = args, (), False
    else:
        raise ValueError("an array of an unknown class")
    if type(shape) is not tuple:
        raise ValueError("an array with a malformed shape")
    flat = _flat(raw, _dtype(dtype), shape)
    if axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _dtype(call: Any) -> np.dtype[Any]:
    """The type that a `numpy.dtype(code, ...)` with the state (version, byte order, ...) means."""
    code = arguments(call, _DTYPE, 1)[0]
    if not isinstance(code, str) or code not in _CODES:
        raise ValueError(f"an array of dtype {_brief(code)}; expected plain numbers")
    state = call.state
    if state is None and code in ("b1", "i1", "u1"):
        state = (3, "|", None, None, None)
    if type(state) is not tuple or state[2:5] != (None,) * 3 or state[1] not in ("<", ">", "|"):
        raise ValueError(f"dtype {code} has a malformed state")
    found: np.dtype[Any] = np.dtype(f"{state[1]}{code}")
    return found


def _brief(value: object) -> str:
    """A value for an error; that of a container of shared parts could be endless."""
    return repr(value[:40]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _flat(raw: object, dtype: np.dtype[Any], shape: tuple[Any, ...]) -> Array:
    """[N] elements of `raw`, which must be exactly those that `shape` needs."""
    if isinstance(raw, Call):
        raw = arguments(raw, _ENCODE, 1)[0]
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise ValueError(f"an array whose data is a {type(raw).__name__}; expected bytes")
    expected = elements(shape) * dtype.itemsize
    if len(raw) != expected:
        raise ValueError(
            f"an array of {dtype.name} {list(shape)} needs {expected} bytes, not {len(raw)}"
        )
    if dtype == np.bool_:
        truth: Array = np.frombuffer(raw, np.uint8) != 0
        return truth
    return np.frombuffer(raw, dtype)


def number(name: str, value: complex) -> Array:
    """A number of Python as int64, float64 or complex128 of shape ().

    Raises:
        ValueError: It is an integer that int64 cannot hold.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is an integer of {value.bit_length()} bits; expected 64 at most")
    kinds = {int: np.int64, float: np.float64}
    return np.array(value, kinds.get(type(value), np.complex128))


def check_sharing(together: int, stored: int) -> None:
    """Refuses arrays that are far larger together than the bytes they share.

    Raises:
        ValueError: `together` bytes are more than 16 times the `stored` ones and 64 MiB.
    """
    if together > 16 * stored + 2**26:
        raise ValueError(f"its arrays are {together} bytes or more, but share only {stored}")


def started(start: bytes) -> list[Any]:
    """What the first bytes of a pickle make before they end, the outermost value last."""
    unpickler = _Unpickler(io.BytesIO(start), NUMPY_NAMES, None)
    made: list[Any] = []
    try:
        made = [unpickler.load()]
    except Exception:  # it is cut off: what has been read so far lies on the stacks
        for stack in (getattr(unpickler, "stack", []), *reversed(unpickler.metastack)):
            made += reversed(stack)
    return made
