"""Pickles that are made to do harm, in every format that is one: refused, and nothing is called.

Nothing far beyond the file's size is allocated either, and no small file takes long.
"""

import os
import pickle
import struct

import pytest

from convert.formats import FORMATS, torch_pt
from convert.formats import _pickle_writer as pickled
from convert.formats._fuzz_seeds import torch_members, zipped
from convert.formats._malicious import (
    COMMAND,
    HUGE,
    by_name,
    called,
    dictionary,
    legacy,
    recorded_calls,
    refusal,
)

# A pickle is more than one format's: how a value gets into a file of each, as the entry "w".
PICKLES = {
    "zip": (torch_pt, lambda value: zipped(torch_members(dictionary(value)))),
    "legacy": (torch_pt, lambda value: legacy(dictionary(value))),
    "caffe2_pkl": (FORMATS["caffe2_pkl"], lambda value: dictionary(value)),
    "flax_pickle": (FORMATS["flax_pickle"], lambda value: dictionary(value)),
}


@pytest.fixture(params=PICKLES)
def refused(request, tmp_path):
    """A function that puts a pickled value into a file and gives the text of its refusal."""
    module, content = PICKLES[request.param]

    def check(value):
        (tmp_path / "m").write_bytes(content(value))
        return refusal(module, tmp_path / "m")

    return check


@pytest.fixture
def executed(monkeypatch):
    return recorded_calls(monkeypatch)


FUNCTIONS = [
    *("os.system", "posix.system", "nt.system", "os.popen", "os.execv", "os.remove"),
    *("subprocess.Popen", "subprocess.check_output", "pty.spawn", "shutil.rmtree", "sys.exit"),
    *(f"builtins.{name}" for name in ("eval", "exec", "getattr", "__import__", "compile", "open")),
    *(f"__builtin__.{name}" for name in ("eval", "exec", "getattr", "apply", "file")),
    *("builtins.bytearray", "builtins.map", "builtins.breakpoint", "builtins.type"),
    *("importlib.import_module", "runpy.run_path", "pickle.loads", "_pickle.loads"),
    *("marshal.loads", "types.CodeType", "types.FunctionType", "functools.partial"),
    *("operator.attrgetter", "operator.methodcaller", "copyreg._reconstructor"),
    *("torch.load", "torch.hub.load", "torch.storage._load_from_bytes", "torch.jit.load"),
    *("numpy.load", "numpy.memmap", "numpy.fromfile", "numpy.core.multiarray.fromfile"),
    *("collections.namedtuple", "collections.defaultdict", "_codecs.decode", "ctypes.CDLL"),
    *("webbrowser.open", "socket.create_connection", "timeit.timeit", "code.interact"),
]


def on_stack(path):
    module, _, name = path.rpartition(".")
    return pickled.text(module) + pickled.text(name) + b"\x93"


ROUTES = {
    "name alone": by_name,
    "GLOBAL": called,
    "STACK_GLOBAL": lambda path: on_stack(path) + b"(" + COMMAND + b"tR",
    "STACK_GLOBAL of the memo": lambda path: (
        b"(" + on_stack(path)[:-1] + b"t" + on_stack(path) + COMMAND + b"\x85R\x86"
    ),
    "memo": lambda path: b"(" + by_name(path) + b"q\7" + b"h\7" + COMMAND + b"\x85Rt",
    "INST": lambda path: b"(" + COMMAND + b"i" + by_name(path)[1:],
    "OBJ": lambda path: b"(" + by_name(path) + COMMAND + b"o",
    "NEWOBJ": lambda path: by_name(path) + COMMAND + b"\x85\x81",
    "NEWOBJ_EX": lambda path: by_name(path) + COMMAND + b"\x85}\x92",
    "BUILD": lambda path: by_name(path) + b"}" + COMMAND + b"Nsb",
    "key": lambda path: b"}" + by_name(path) + COMMAND + b"\x85RNs",
    "persistent id": lambda path: by_name(path) + COMMAND + b"\x85RQ",
    "storage type": lambda path: (
        b"(" + pickled.text("storage") + by_name(path) + b"X\1\0\0\0000" + COMMAND + b"K\1tQ"
    ),
    "argument of a tensor": lambda path: (
        by_name("torch._utils._rebuild_tensor_v2") + b"(" + by_name(path) + COMMAND
        + b"\x85RK\0))\x89}tR"
    ),
    "state of an array": lambda path: (
        by_name("numpy.core.multiarray._reconstruct") + b"(" + by_name("numpy.ndarray")
        + b"K\0\x85C\1btR(K\1)" + by_name(path) + COMMAND + b"\x85R\x89C\0tb"
    ),
    "pairs of a dictionary": lambda path: (
        by_name("collections.OrderedDict") + b"](](" + COMMAND + by_name(path) + COMMAND
        + b"\x85Reae\x85R"
    ),
    "__setstate__": lambda path: (
        by_name("collections.OrderedDict") + b")R}" + pickled.text("__setstate__") + by_name(path)
        + b"sbN" + COMMAND + b"\x86b"
    ),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_no_function_is_called(route, refused, executed):
    for path in FUNCTIONS:
        assert "refused" in refused(ROUTES[route](path)), path
    assert not executed


def test_the_routes_do_execute_elsewhere(executed):
    """Otherwise the test above would prove nothing."""
    for route in ("GLOBAL", "STACK_GLOBAL", "memo", "INST", "OBJ", "key", "__setstate__"):
        pickle.loads(dictionary(ROUTES[route]("os.system")))  # noqa: S301
        (argument,) = executed.pop()
        assert argument in ("touch executed", (None, "touch executed")), route


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "ndarray.tofile"),
        ("numpy", "ndarray.__class__.__base__.__subclasses__"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy ", "ndarray"),
        ("numpy\n", "ndarray"),
        ("ｎumpy", "ndarray"),
        ("Numpy", "ndarray"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections.abc", "OrderedDict"),
        ("_codecs", "encode\0"),
        ("_codecs", "encode.__self__.lookup"),
        ("os\x1b[2J", "system"),
        ("\ud800", "system"),
        ("x" * 100_000, "system"),
        ("", ""),
        ("__main__", "__builtins__"),
    ],
)
def test_names_that_only_look_allowed(module, name, refused, executed):
    names = [pickled.text(part) if part.isascii() else unicode(part) for part in (module, name)]
    assert "refused to load" in refused(b"".join(names) + b"\x93" + COMMAND + b"\x85R")
    assert not executed


def unicode(value):
    """Any string, lone surrogates as well."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


RECONSTRUCT = by_name("numpy.core.multiarray._reconstruct") + (
    b"(" + by_name("numpy.ndarray") + b"K\0\x85C\1btR"
)
SCALAR = by_name("numpy.core.multiarray.scalar")
OBJECTS = by_name("numpy.dtype") + b"X\2\0\0\0O8\x89\x88\x87R(K\3X\1\0\0\0|NNNJ\xff\xff\xff\xff"
OBJECTS += b"J\xff\xff\xff\xffK?tb"
FLOATS = by_name("numpy.dtype") + b"X\2\0\0\0f4\x89\x88\x87R(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xff"
FLOATS += b"J\xff\xff\xff\xffK\0tb"
EVIL = pickle.dumps(os.getpid)
ENCODE = by_name("_codecs.encode")
ORDERED = by_name("collections.OrderedDict")


def array(shape, dtype=FLOATS, raw=b"C\x18" + bytes(24)):
    """An array of six numbers, all of it but the shape."""
    return RECONSTRUCT + b"(K\1" + shape + dtype + b"\x89" + raw + b"tb"


VALUES = {
    "a string is called": pickled.text("os.system") + COMMAND + b"\x85R",
    "a string of the memo is called": b"(" + COMMAND + b"q\0h\0h\0\x85Rt",
    "None is called": b"N)R",
    "a dictionary is called": b"})R",
    "an array is called": b"(" + RECONSTRUCT + b")Rt",
    "arguments are a dictionary": ORDERED + b"}R",
    "arguments are a list": ORDERED + b"]R",
    "a name made of bytes": ENCODE + pickled.text("os") + pickled.text("latin1") + b"\x86R"
    + pickled.text("system") + b"\x93)R",
    "bytes in another encoding": ENCODE + pickled.text("os") + pickled.text("rot13") + b"\x86R",
    "a name made of an integer": b"K\1K\2\x93",
    "memo of 2**31": b"j\xff\xff\xff\x7f",
    "memo of text": b"gos.system\n",
    "memo below zero": b"g-1\n",
    "memo not yet set": b"h\x09h\x08\x85R",
    "memo set at 2**32": b"Nr\xff\xff\xff\xff",
    "extension 1": b"\x82\1",
    "extension 2": b"\x83\1\0",
    "extension 4": b"\x84\1\0\0\0",
    "persistent id of text": b"Pos.system\n",
    "persistent id of a string": COMMAND + b"Q",
    "persistent id of a module": b"(" + pickled.text("module") + COMMAND * 3 + b"K\1tQ",
    "out-of-band buffer": b"\x97",
    "read-only buffer": b"N\x98",
    "set": b"\x8f",
    "two things of one": COMMAND + b"2\x86",
    "an unknown opcode": b"\xff",
    "stack below its start": b"0000",
    "protocol 255": b"\x80\xff",
    "state of a function": ENCODE + b"}" + pickled.text("__code__") + b"Nsb",
    "state of a class": by_name("numpy.dtype") + b"N}" + pickled.text("resolve") + b"Ns\x86b",
    "state of a name": by_name("numpy.ndarray") + b"}" + pickled.text("x") + b"Nsb",
    "state of a string": COMMAND + b"}" + pickled.text("x") + b"Nsb",
    "class of a dictionary": b"}}" + pickled.text("__class__") + by_name("numpy.dtype") + b"sb",
    "object scalar": SCALAR + OBJECTS + b"C" + bytes([len(EVIL)]) + EVIL + b"\x86R",
    "object scalar without bytes": SCALAR + OBJECTS + b"]\x86R",
    "object array": array(b"K\1\x85", OBJECTS, b"](" + COMMAND + b"e"),
    "object array of bytes": array(b"K\1\x85", OBJECTS, b"C\x08" + bytes(8)),
    "records": array(b"K\1\x85", FLOATS.replace(b"NNN", b"N)}"), b"C\x04" + bytes(4)),
    "an array of another class": RECONSTRUCT.replace(b"numpy\nndarray", b"numpy\nmatrix"),
    "an array whose state is code": RECONSTRUCT + by_name("os.system") + b"b",
    "an array of 2**40": array(pickled.integers([HUGE])),
    "an array of 2**62 in 32 axes": array(pickled.integers([2**61] * 32)),
    "an array of -1": array(pickled.integers([-1])),
    "an array of -6 * -1": array(pickled.integers([-6, -1])),
    "an array of 0 * 2**62": array(pickled.integers([0, 2**62]), raw=b"C\0"),
    "an array of True": array(b"\x88\x85"),
    "an array of 1.5": array(b"G?\xf8\0\0\0\0\0\0\x85"),
    "an array of 64 axes": array(pickled.integers([1] * 64)),
    "an array of text": array(pickled.integers([6]), raw=b"X\x02\0\0\0\xc4\x80"),
    "an array without data": array(pickled.integers([6]), raw=b"N"),
    "bytes of 2 GiB": b"B\xff\xff\xff\x7fabc",
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62) + b"abc",
    "text of 2 GiB": b"X\xff\xff\xff\x7fabc",
    "text of 2**62": b"\x8d" + struct.pack("<Q", 2**62) + b"abc",
    "a string of 2 GiB": b"T\xff\xff\xff\x7fabc",
    "a string below zero": b"T\xff\xff\xff\xffabc",
    "a bytearray of 2**62": b"\x96" + struct.pack("<Q", 2**62) + b"abc",
    "a frame of 2**62": b"\x95" + struct.pack("<Q", 2**62) + b"N",
    "an integer of 2 GiB": b"\x8b\xff\xff\xff\x7f\1",
    "an integer of 100000 digits": b"I" + b"9" * 100_000 + b"\n",
    "deep tuples": b")" + b"\x85" * 5_000,
    "deep lists": b"]" * 5_000 + b"a" * 4_999,
    "deep dictionaries": b"}" + b"N}" * 5_000 + b"s" * 5_000,
    "deep calls": ORDERED * 200 + b")" + b"R" + b"\x85R" * 199,
    "laughs": b"(N" + b"".join(b"tq" + bytes([i]) + b"(" + b"h" + bytes([i]) + b"h" + bytes([i])
                              for i in range(60)) + b"t",
    "laughs of lists": b"]" + b"".join(b"q" + bytes([i]) + b"](" + (b"h" + bytes([i])) * 10 + b"e"
                                       for i in range(30)),
    "integer keys that collide": b"}(" + b"".join(
        pickled.integer(i * (2**61 - 1)) + b"N" for i in range(11_000)) + b"u",
    "an OrderedDict of colliding keys": ORDERED + b"](" + b"".join(
        pickled.integer(i * (2**61 - 1)) + b"N\x86" for i in range(2_000)) + b"e\x85R",
    "a dictionary that holds itself": b"}q\0" + COMMAND + b"h\0s",
    "a list that holds itself": b"]q\0h\0a",
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_values(kind, refused, executed):
    refused(VALUES[kind])
    assert not executed
