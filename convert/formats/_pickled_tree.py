"""The tree of containers in a pickle: its outline, its leaves within bounds, its arrays."""

import contextlib
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from convert.formats import _unpickler
from convert.formats._mapped_file import first_bytes, mapped
from convert.formats._numpy_pickle import NUMPY_GLOBALS
from convert.formats._raw_values import Array

# A few kilobytes of pickle can describe a tree with more leaves than atoms.
MOST_VALUES = 1_000_000
DEEPEST = 100

# How a pickle starts: protocols 2 to 5 with a marker, 0 and 1 with their dictionary.
_STARTS = (
    b"\x80\2",
    b"\x80\3",
    b"\x80\4",
    b"\x80\5",
    b"}q",
    b"(dp",
    b"ccollections\nOrderedDict\n",
)
_PREFIX = 1024  # bytes: the first array of a checkpoint starts well within
_NUMBERS = frozenset(["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"])
_ARRAYS = frozenset(["_reconstruct", "_frombuffer"])  # how NumPy makes one; protocol 5's the last
WRAPPER = "blobs"  # of Caffe2
_FLAX = frozenset(["params", "batch_stats"])


class Stored(Protocol):
    """What a file says about an array."""

    def resolve(self) -> Array: ...


def outline(path: Path) -> Literal["flat", "nested"] | None:
    """Which tree of arrays the pickle at `path` holds; None where it is no pickle of a tree.

    "nested" is a dictionary of dictionaries, as Flax has them; "flat" is one dictionary, in
    Caffe2's wrapper or not. Read off the first opcodes: nothing is executed, nothing raised. Where
    these do not tell (damage), only what begins with a key of Flax is "nested".
    """
    start = first_bytes(Path(path), _PREFIX)
    if not start.startswith(_STARTS):
        return None
    dictionaries, texts = 0, list[str]()
    with contextlib.suppress(Exception):  # whatever a cut or damaged pickle provokes
        for count, (kind, text) in enumerate(_events(start)):
            if kind == "number" and not count:
                return None  # torch's old files start with one
            if kind == "array":
                return "flat"
            if kind == "text":
                texts.append(text)
            elif kind == "name":  # its two parts were no keys
                del texts[-2:]
            elif kind == "dictionary":
                dictionaries += 1
                if dictionaries == 2:
                    return "flat" if texts[-1:] == [WRAPPER] else "nested"
    return "nested" if texts and texts[0] in _FLAX else "flat"


def load(path: Path) -> tuple[dict[Any, Any], int]:
    """The outermost dictionary of a pickle of NumPy arrays, and the size of the file.

    Raises:
        CheckpointError: The pickle is malformed or names anything but arrays and plain containers.
        ValueError: It holds no dictionary, or something follows it.
    """
    data = mapped(path)
    stream = _unpickler.Cursor(data)
    tree = _unpickler.load(stream, allowed=NUMPY_GLOBALS, source=path)
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell()} bytes follow the end of the pickle")
    if not isinstance(tree, dict):
        raise ValueError(f"holds a {type(tree).__name__}; expected a dictionary of arrays")
    return tree, len(data)


def leaves(tree: Any, containers: tuple[type, ...]) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yields path and value of everything that is no container, in stored order.

    Args:
        tree: The outermost container; containers may share or cycle.
        containers: Of dict, list and tuple those to look into.

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
    """The path as a name.

    Raises:
        ValueError: It is longer than any checkpoint's.
    """
    name = separator.join(
        key if isinstance(key, str) else str(key) if isinstance(key, int) else type(key).__name__
        for key in path
    )
    if len(name) > 1000:
        raise ValueError(
            f"a name of {len(name)} characters, {name[:80]!r}...; expected 1000 at most"
        )
    return name


def resolved(name: str, value: Stored) -> Array:
    """The array called `name`.

    Raises:
        ValueError: What the file says about it does not fit together; the text names it.
    """
    try:
        return value.resolve()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def number(name: str, value: complex) -> Array:
    """A number of Python as int64, float64 or complex128 of shape ().

    Raises:
        ValueError: It is an integer that int64 cannot hold.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is an integer of {value.bit_length()} bits; expected 64 at most")
    kinds = {int: np.int64, float: np.float64}
    return np.array(value, kinds.get(type(value), np.complex128))


def check_sharing(shared: int, stored: int) -> None:
    """Refuses arrays that are far larger together than the bytes they share.

    Raises:
        ValueError: More than 16 times as large.
    """
    if shared > 16 * stored + 2**26:
        raise ValueError(f"its arrays are more than {shared} bytes, but share only {stored}")


def _events(start: bytes) -> Iterator[tuple[str, str]]:
    """Yields kind and text of the opcodes that tell trees apart."""
    before = ""
    for opcode, argument, _ in pickletools.genops(start):
        name = opcode.name
        if name in _NUMBERS:
            yield "number", ""
        elif name == "GLOBAL":
            yield ("array" if str(argument).rpartition(" ")[2] in _ARRAYS else "call"), ""
        elif isinstance(argument, (str, bytes)):
            text = argument if isinstance(argument, str) else argument.decode("latin1")
            yield ("array" if text in _ARRAYS else "text"), text
        elif name == "STACK_GLOBAL":
            yield "name", ""
        # A call without arguments makes an OrderedDict.
        elif name in ("EMPTY_DICT", "DICT") or (name == "REDUCE" and before == "EMPTY_TUPLE"):
            yield "dictionary", ""
        before = "EMPTY_TUPLE" if (before, name) == ("MARK", "TUPLE") else name  # of protocol 0
