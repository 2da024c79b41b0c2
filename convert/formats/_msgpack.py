"""MessagePack, as far as Flax needs it: values from mapped bytes, and the starts of values.

The first byte of a value says its kind. Small sizes are part of it; larger ones follow, big-endian.
Specification: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

import struct
from typing import Any

from convert.formats import _pickled_tree
from convert.formats._mapped_file import Bytes

# The first byte of a small value of a kind, and the sizes that it has room for.
_SHORT = {"map": (0x80, 16), "list": (0x90, 16), "text": (0xA0, 32)}
# Kind and bytes of the size that follows.
_SIZED = {
    **{0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4)},
    **{0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4)},
    **{0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4)},
    **{0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)},
}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# Forms of `struct`. Below 128 and from 224 on, the first byte is a number itself.
_NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq", strict=True))


class Reader:
    """Reads values from bytes that are mapped; never takes more than is there.

    What becomes of an extension and of a map is for a subclass to say.
    """

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0
        self._values = 0

    def extension(self, code: int, payload: Bytes) -> Any:
        """The value of an extension. MessagePack itself gives none a meaning but times."""
        raise ValueError(f"holds an extension of type {code} where none is expected")

    def mapping(self, entries: dict[str, Any]) -> Any:
        """The value of a map."""
        return entries

    def take(self, size: int) -> Bytes:
        """[size] bytes, a view.

        Raises:
            ValueError: So many are not left.
        """
        left = len(self._data) - self._at
        if size > left:
            raise ValueError(
                f"needs {size} bytes at byte {self._at}, but {left} are left: it is cut off"
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def head(self) -> tuple[str, Any]:
        """The kind of the next value and its size; of a "plain" one the value itself."""
        first = int(self.take(1)[0])
        if first < 0x80 or first >= 0xE0:
            return "plain", first if first < 0x80 else first - 0x100
        for kind, (base, end) in _SHORT.items():
            if base <= first < base + end:
                return kind, first - base
        if first in _SIZED:
            kind, width = _SIZED[first]
            return kind, int.from_bytes(self.take(width).tobytes(), "big")
        if first in _NUMBERS:
            form = f">{_NUMBERS[first]}"
            return "plain", struct.unpack(form, self.take(struct.calcsize(form)).tobytes())[0]
        if first in _CONSTANTS:
            return "plain", _CONSTANTS[first]
        if first not in _FIXED_EXTENSIONS:
            raise ValueError(f"byte {self._at - 1} is 0x{first:02x}, which msgpack does not use")
        return "extension", _FIXED_EXTENSIONS[first]

    def value(self, depth: int = 0) -> Any:
        """The next value; bytes as [N] uint8, a list as a map with the keys "0", "1", ...

        Raises:
            ValueError: It is cut off or malformed, too large or too deep, a key is no name or there
                twice.
        """
        kind, size = self.head()
        self._values += 1
        if self._values > _pickled_tree.MOST_VALUES or depth > _pickled_tree.DEEPEST:
            raise ValueError(
                f"has more than {_pickled_tree.MOST_VALUES} values or is nested more than"
                f" {_pickled_tree.DEEPEST} deep"
            )
        if kind == "plain":
            return size
        if kind == "extension":
            code = int(self.take(1)[0])
            return self.extension(code, self.take(size))
        if kind in ("text", "bytes"):
            raw = self.take(size)
            return _text(raw) if kind == "text" else raw
        if size > len(self._data) - self._at:  # each entry has a byte at least
            raise ValueError(f"a {kind} of {size} entries at byte {self._at}: it is cut off")
        return self._map(size, depth) if kind == "map" else self._list(size, depth)

    def name(self) -> str:
        """A string."""
        at = self._at
        kind, size = self.head()
        if kind != "text":
            raise ValueError(f"a {kind} value at byte {at} where a name is expected")
        return _text(self.take(size))

    def whole(self) -> Any:
        """The one value that the bytes are.

        Raises:
            ValueError: As `value`, or bytes follow.
        """
        value = self.value()
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes follow the end of its msgpack")
        return value

    def _map(self, size: int, depth: int) -> Any:
        entries: dict[str, Any] = {}
        for _ in range(size):
            name = self.name()
            if name in entries:
                raise ValueError(f"has the key {name[:200]!r} twice in one map")
            entries[name] = self.value(depth + 1)
        return self.mapping(entries)

    def _list(self, size: int, depth: int) -> dict[str, Any]:
        return {str(number): self.value(depth + 1) for number in range(size)}


def _text(raw: Bytes) -> str:
    try:
        return raw.tobytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"a name that is not UTF-8 ({error.reason})") from error


def head(kind: str, size: int) -> bytes:
    """The shortest start of a value of `kind`, as the msgpack package writes it.

    Raises:
        ValueError: No value can be as large.
    """
    base, end = _SHORT.get(kind, (0, 0))
    if size < end:
        return bytes([base + size])
    for first, fixed in _FIXED_EXTENSIONS.items():
        if kind == "extension" and size == fixed:
            return bytes([first])
    for first, (sized, width) in _SIZED.items():
        if sized == kind and size < 256**width:
            return bytes([first]) + size.to_bytes(width, "big")
    raise ValueError(f"a {kind} of {size} entries is too large for msgpack")


def integer(value: int) -> bytes:
    """An integer from 0 to 2**64 - 1, in its shortest form."""
    if value < 0x80:
        return bytes([value])
    width = next(width for width in (1, 2, 4, 8) if value < 256**width)
    return bytes([0xCC + width.bit_length() - 1]) + value.to_bytes(width, "big")


def text(value: str) -> bytes:
    """A string."""
    encoded = value.encode()
    return head("text", len(encoded)) + encoded
