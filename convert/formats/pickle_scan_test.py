"""Pickles that would take far more memory, stack or time than their size: refused by a scan."""

import pickle
import tracemalloc

import pytest

from common.io import CheckpointError
from convert.formats import _pickle_writer as pickled
from convert.formats import _unpickler, flax_pickle
from convert.formats._numpy_pickle import NUMPY_GLOBALS
from convert.formats._torch_tensors import GLOBALS


def load(data):
    return _unpickler.load(data, allowed=NUMPY_GLOBALS, source="x.pkl")


HUGE = {
    "LONG_BINPUT": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "LONG_BINPUT above the data": b"\x80\x02" + b"N0" * 1000 + b"Nr\xff\xff\xff\x0f.",
    "PUT": b"Np99999999999\n.",
    "PUT below zero": b"Np-5\n.",
    "GET": b"g5\n.",
    "LONG4": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "LONG4 below zero": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "LONG4 of many bytes": b"\x80\x02\x8b\xff\x00\x00\x00" + b"\x7f" * 255 + b".",
    "LONG": b"I" + b"9" * 5000 + b"\n.",
    "BINBYTES8": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "BINBYTES8 of 8 GiB": b"\x80\x04\x8e\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "BINUNICODE8": b"\x80\x04\x8d\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "BINUNICODE": b"\x80\x02X\xff\xff\xff\xffabc.",
    "BINSTRING": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "BYTEARRAY8": b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00abc.",
    "FRAME": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "FRAME of 8 GiB": b"\x80\x04\x95\x00\x00\x00\x00\x02\x00\x00\x00N.",
    "across a frame": (
        b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00NNB\x08\x00\x00\x00\x8e\xff\xff\xff\xff\xff\x1f."
    ),
    "frame in a frame": b"\x80\x04\x95\x0b" + bytes(7) + b"\x95\x02" + bytes(7) + b"N.",
}


@pytest.mark.parametrize("kind", HUGE)
def test_declared_sizes_are_not_allocated(kind):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"^x\.pkl: "):
            load(HUGE[kind])
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


DEEP = {
    "tuples": b")" + b"\x85" * 100_000,
    "lists": b"]" * 100_000 + b"a" * 99_999,
    "dictionaries": b"}" + b"N}" * 100_000 + b"s" * 100_000,
    "tuples as keys": b"})" + b"\x85" * 100_000 + b"Ns",
    "a key that expands": b"})" + b"q\x00h\x00\x86" * 80 + b"Ns",
    "calls": b"ccollections\nOrderedDict\n" * 200 + b")" + b"R" + b"\x85R" * 199,
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_and_wide(kind):
    with pytest.raises(CheckpointError, match=r"nested more than|expands to more"):
        load(b"\x80\x02" + DEEP[kind] + b".")


def test_dictionaries_that_expand_later(tmp_path):
    """Filled from the outside in, so that no size is known when each is put into the next."""
    build = b"\x80\x02" + b"".join(b"}q" + bytes([i]) for i in range(90))
    for i in range(89):
        below = b"h" + bytes([i + 1])
        build += b"h" + bytes([i]) + b"(" + pickled.text("a") + below + pickled.text("b") + below
        build += b"u"
    build += b"h\x00."
    path = tmp_path / "m.pkl"
    path.write_bytes(build)
    with pytest.raises(CheckpointError, match="has more than 1000000 values"):
        flax_pickle.read(path)


def test_cycle(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")
    with pytest.raises(CheckpointError, match="nested more than"):
        flax_pickle.read(path)


def test_the_same_string_for_many_calls():
    text = pickled.text("x" * 100_000)
    encode = pickled.name("_codecs", "encode")
    calls = b"".join(b"h\x00h\x01h\x02\x86R" for _ in range(1000))
    data = b"\x80\x02(" + encode + b"q\x00" + text + b"q\x01" + pickled.text("latin1") + b"q\x02"
    with pytest.raises(CheckpointError, match="too many function calls"):
        load(data + calls + b"t.")


def test_the_same_dictionary_for_many_calls():
    size = pickled.name("torch", "Size")  # makes a tuple of the keys
    entries = [(f"k{i}", b"N") for i in range(1000)]
    data = b"\x80\x02(" + size + b"q\x00}" + pickled.items(entries) + b"\x85q\x01"
    data += b"h\x00h\x01R" * 2000 + b"t."
    with pytest.raises(CheckpointError, match="too many function calls"):
        _unpickler.load(data, allowed=GLOBALS, source="x.pkl")


MODULUS = 2**61 - 1  # of Python's hash of integers

KEYS = {
    "integers": [pickled.integer(i * MODULUS) for i in range(100_000)],
    "tuples": [  # -1 and -2 have the same hash
        pickled.group(pickled.integer(-1 - (i >> bit & 1)) for bit in range(17))
        for i in range(12_000)
    ],
    "one large tuple": [b"h\x00"] * 200_000,
}


@pytest.mark.parametrize("opcodes", ["SETITEMS", "SETITEM", "DICT", "several"])
@pytest.mark.parametrize("kind", KEYS)
def test_keys_that_collide(kind, opcodes, monkeypatch):
    """A megabyte of them would take a minute to build: n keys of one hash take n**2 steps."""
    keys = KEYS[kind]
    pairs = b"N".join(keys) + b"N"
    body = {
        "SETITEMS": b"}(" + pairs + b"u",
        "SETITEM": b"}" + b"Ns".join(keys) + b"Ns",
        "DICT": b"(" + pairs + b"d",
        "several": b"(" + b"".join(b"}" + key + b"Ns" for key in keys) + b"l",
    }[opcodes]
    start = b"(" + b"K\x01" * 100 + b"tq\x00" if kind == "one large tuple" else b""
    monkeypatch.setattr(_unpickler, "_Unpickler", None)  # nothing may be built
    with pytest.raises(CheckpointError, match=r"more than 10000 objects in dictionary keys"):
        load(b"\x80\x02" + start + body + b".")


@pytest.mark.parametrize("protocol", range(5))
def test_keys_of_checkpoints(protocol):
    """Names without end, and the few integers of an optimiser's state."""
    tree = {"model": {f"w{i}": i for i in range(20_000)}, "state": {i: None for i in range(5000)}}
    assert load(pickle.dumps(tree, protocol)) == tree


@pytest.mark.parametrize("protocol", range(1, 5))
def test_short_integers_are_keys(protocol):
    """Tracklets have one a frame; protocol 0 writes all integers as text."""
    tree = {who: {i: None for i in range(30_000)} for who in ("a", "b")}
    assert load(pickle.dumps(tree, protocol)) == tree


@pytest.mark.parametrize("value", [{1, 2}, frozenset([1]), set()])
def test_sets_are_refused(value):
    with pytest.raises(CheckpointError, match=r"refused the pickle opcode (EMPTY_SET|FROZENSET)"):
        load(pickle.dumps({"w": value}, 4))


ORDERED = pickled.name("collections", "OrderedDict")


def test_ordered_dictionary_of_python_2():
    pairs = [["b", 1], ["a", 2]]
    call = ORDERED + pickle.dumps(pairs, 2)[2:-1] + b"\x85R"
    got = load(b"\x80\x02" + call + b".")
    assert list(got.items()) == [("b", 1), ("a", 2)]


@pytest.mark.parametrize("pairs", [[(MODULUS, 1)], [((-1,), 1)], ["ab"], [5], {"a": 1}, "ab", 5])
def test_ordered_dictionary_of_anything_else(pairs):
    call = ORDERED + pickle.dumps(pairs, 2)[2:-1] + b"\x85R"
    with pytest.raises(CheckpointError, match="something else than names and values"):
        load(b"\x80\x02" + call + b".")
