"""The first gate of the restricted unpickler: reads a pickle opcode by opcode, executes nothing."""

import pickletools
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple, Protocol, cast

# What a name in a pickle stands for: a function to call, or an immutable value (string, tuple).
Allowed = Mapping[tuple[str, str], Any]

# Pushing data, building containers, calling an allowed name. Left out on purpose: INST and OBJ
# (call by another route), NEWOBJ_EX, EXT* (a process-wide registry), PERSID, buffers, and sets, POP
# and DUP, which no checkpoint needs. NEWOBJ stays so that the refusal can name the class before it.
# fmt: off
_OPCODES = frozenset(
    [
        "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "GET",
        "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1",
        "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_TUPLE", "TUPLE",
        "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT",
        "DICT", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD",
        "BINPERSID",
    ]
)
# fmt: on
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}
_FILLING = frozenset(["APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"])
_KEYED = frozenset(["DICT", "SETITEM", "SETITEMS"])
# What may be a key as often as it likes: see `_MOST_IN_KEYS`.
_KEYS = frozenset(
    [
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BININT", "BININT1", "BININT2"),
    ]
)
_STORING = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_FETCHING = frozenset(["GET", "BINGET", "LONG_BINGET"])

# Far above any checkpoint (a few thousand tensors of 30 opcodes, nested five deep), far below harm.
_MOST_OPCODES = 4_000_000
_DEEPEST = 100  # hashing a deeply nested tuple overflows the C stack
_MOST_EXPANDED = 50_000_000  # objects, counting a shared one every time it is reached
_MOST_INTEGER_BITS = 512
# Hashes of numbers and tuples are known, so keys can be made to collide: n of them take n**2 steps.
# Those of strings are secret; integers of 32 bits part after a few steps (2.6 us a key at worst).
# An optimiser's state has a few hundred integer keys.
_MOST_IN_KEYS = 10_000


class Readable(Protocol):
    """What a scan needs of an open file; a read never returns more than is there."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


class Refused(Exception):  # noqa: N818  (it is the answer to a bad file, not an error of ours)
    """A pickle that is well-formed but not admitted."""


def scan(file: Readable, allowed: Allowed, with_ids: bool) -> None:
    """Reads one pickle to its STOP.

    Args:
        file: Stands at the start of the pickle; stands behind its end afterwards.
        allowed: The names that it may load.
        with_ids: Whether it may hold persistent ids.

    Raises:
        Refused: It uses an opcode or name that is not admitted, or exceeds a bound.
        ValueError: It is malformed.
    """
    stack, frame_end = _Stack(), sys.maxsize
    for count, (opcode, argument, position) in enumerate(_operations(file), 1):
        end = file.tell()
        if opcode.name not in _OPCODES or (opcode.name == "BINPERSID" and not with_ids):
            raise Refused(
                f"refused the pickle opcode {opcode.name} at byte {position}: no checkpoint needs"
                " it and it could run code"
            )
        if count > _MOST_OPCODES:
            raise Refused(f"has more than {_MOST_OPCODES} opcodes; a checkpoint has thousands")
        # The C unpickler loses its place when an opcode lies across the end of a frame.
        if position >= frame_end:
            frame_end = sys.maxsize
        if end > frame_end or (opcode.name == "FRAME" and frame_end != sys.maxsize):
            raise Refused(f"the opcode at byte {position} lies across the end of its frame")
        if opcode.name == "FRAME":
            frame_end = end + int(argument or 0)
        elif opcode.name == "PROTO" and count > 1:
            raise Refused(f"a second protocol marker at byte {position}")
        elif opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            admit(module, name, allowed)
        elif isinstance(argument, int) and argument.bit_length() > _MOST_INTEGER_BITS:
            raise Refused(f"an integer of {argument.bit_length()} bits at byte {position}")
        if opcode.name != "STOP":
            stack.apply(opcode, argument, count)


def _operations(file: Readable) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int]]:
    """Yields opcode, argument and position: `pickletools.genops`, but for strings of protocol 0.

    Those of Python 2 hold any bytes, and genops wants ASCII in them.
    """
    # typeshed asks a reader for a whole IO; it needs read, readline and tell
    opened = cast("IO[bytes]", file)
    name = ""
    while name != "STOP":
        position = file.tell()
        code = file.read(1)
        if not code:
            raise ValueError("pickle exhausted before seeing STOP")
        opcode = _BY_CODE.get(code.decode("latin1"))
        if opcode is None:
            raise ValueError(f"at position {position}, opcode {code!r} unknown")
        name = opcode.name
        if name == "STRING":
            argument: Any = file.readline()
            if not argument.endswith(b"\n"):
                raise ValueError(f"no end of the string at position {position}")
        else:
            argument = opcode.arg.reader(opened) if opcode.arg else None
        yield opcode, argument, position


def admit(module: str, name: str, allowed: Allowed) -> None:
    """Raises Refused for a name that is not in the table."""
    if (module, name) not in allowed:
        shown = f"{module}.{name}"[:200]
        raise Refused(
            f"refused to load {shown if shown.isprintable() else ascii(shown)}: a checkpoint needs"
            " only arrays and plain containers, and unpickling anything else could run code"
        )


class _Object(NamedTuple):
    """What a scan knows of an object: its nesting, its expanded size, whether it is a good key."""

    depth: int
    size: int
    is_key: bool = False


class _Stack:
    """What the unpickler's stack would hold."""

    def __init__(self) -> None:
        self._items: list[_Object | None] = []  # None is a mark
        self._memo: dict[int, _Object] = {}
        self._in_keys = 0  # objects in keys that may collide, over the whole pickle

    def apply(self, opcode: pickletools.OpcodeInfo, argument: Any, count: int) -> None:
        name = opcode.name
        if name == "MARK":
            self._items.append(None)
        elif name in _STORING or name == "MEMOIZE":
            # A pickler numbers its memo consecutively; a huge number would size an array in C.
            number = len(self._memo) if name == "MEMOIZE" else argument
            if not 0 <= number <= count:
                raise Refused(f"memo number {number} is out of range: opcode {count} sets it")
            self._memo[number] = self._top()
        elif name in _FETCHING:
            if argument not in self._memo:
                raise Refused(f"memo number {str(argument)[:40]} is used before it is set")
            self._items.append(self._memo[argument])
        else:
            self._replace(opcode)

    def _replace(self, opcode: pickletools.OpcodeInfo) -> None:
        """Takes an opcode's operands off the stack and puts its result there."""
        before = opcode.stack_before
        operands: list[_Object] = []
        fixed = len(before)
        if pickletools.markobject in before:
            fixed = before.index(pickletools.markobject)
            while (item := self._pop()) is not None:
                operands.append(item)
        for _ in range(fixed):
            operands.append(self._top())
            self._items.pop()
        if not opcode.stack_after:
            return
        depth = 1 + max((item.depth for item in operands), default=-1)
        if (
            opcode.name in _FILLING
        ):  # the last operand is the container, which gets no deeper itself
            inner = max((item.depth for item in operands[:-1]), default=-1)
            depth = max(operands[-1].depth, 1 + inner)
        size = 1 + sum(item.size for item in operands)
        if depth > _DEEPEST:
            raise Refused(f"nested more than {_DEEPEST} deep; a checkpoint is a few")
        if size > _MOST_EXPANDED:
            raise Refused(f"expands to more than {_MOST_EXPANDED} objects")
        if opcode.name in _KEYED:
            # From the top: value, key, value, key, ..., and last the dictionary, if it was there.
            pairs = operands if opcode.name == "DICT" else operands[:-1]
            self._in_keys += sum(key.size for key in pairs[1::2] if not key.is_key)
            if self._in_keys > _MOST_IN_KEYS:
                raise Refused(
                    f"has more than {_MOST_IN_KEYS} objects in dictionary keys that are neither"
                    " strings nor integers of 32 bits; a checkpoint has a few hundred"
                )
        self._items.append(_Object(depth, size, opcode.name in _KEYS))

    def _top(self) -> _Object:
        item = self._items[-1] if self._items else None
        if item is None:
            raise Refused("takes more objects off its stack than it put there")
        return item

    def _pop(self) -> _Object | None:
        if not self._items:
            raise Refused("ends a group that it did not begin")
        return self._items.pop()
