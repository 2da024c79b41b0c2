"""Checkpoints that are made to do harm: each is refused in one line, and nothing happens.

Nothing is executed, nothing far beyond the file's size is allocated, and no small file takes long.
"""

import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from common.errors import CheckpointError
from convert import hub
from convert.formats import FORMATS, _fuzzing, _leveldb_table, _varint, tf1_checkpoint, torch_pt
from convert.formats import _pickle_writer as pickled
from convert.formats._crc32c import masked
from convert.formats._fuzz_seeds import torch_members, zipped
from convert.formats._protobuf import (
    bytes_field,
    fixed32_field,
    header,
    string_field,
    varint_field,
)

HUGE = 2**40
RAW = bytes(24)  # six float32


def refusal(module, path):
    """The error of reading `path`, which is one readable line and costs little."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            module.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000 + 20 * size
    text = str(caught.value)
    assert _fuzzing.text_problem(text, path) is None  # printable, short, with the path
    return text


# A pickle is more than one format's: how a value gets into a file of each, as the entry "w".
PICKLES = {
    "zip": (torch_pt, lambda value: zipped(torch_members(dictionary(value)))),
    "legacy": (torch_pt, lambda value: legacy(dictionary(value))),
    "caffe2_pkl": (FORMATS["caffe2_pkl"], lambda value: dictionary(value)),
    "flax_pickle": (FORMATS["flax_pickle"], lambda value: dictionary(value)),
}


def dictionary(value):
    return b"\x80\4}" + pickled.text("w") + value + b"s."


def legacy(data):
    """The five pickles of torch's old container."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    start = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3." + pickle.dumps(info, 2)
    return start + data + pickle.dumps(["0"], 2) + struct.pack("<q", 24) + bytes(96)


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
    """What was called of the functions that malicious files like best."""
    calls = []
    for name in ("system", "popen", "execv", "remove"):
        monkeypatch.setattr(os, name, lambda *args: calls.append(args))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: calls.append(args))
    return calls


COMMAND = pickled.text("touch executed")
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


def by_name(path):
    module, _, name = path.rpartition(".")
    return pickled.name(module, name)


def on_stack(path):
    module, _, name = path.rpartition(".")
    return pickled.text(module) + pickled.text(name) + b"\x93"


ROUTES = {
    "name alone": by_name,
    "GLOBAL": lambda path: by_name(path) + b"(" + COMMAND + b"tR",
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


def tensor(*, size=(6,), stride=(1,), offset=0, count=24, key="0", kind="FloatStorage", old=False):
    pid = [pickled.text("storage"), pickled.name("torch", kind), pickled.text(key)]
    pid += [pickled.text("cpu"), pickled.integer(count)] + [b"N"] * old
    parts = [pickled.group(pid) + b"Q", pickled.integer(offset)]
    parts += [pickled.integers(size), pickled.integers(stride), b"\x89", b"}"]
    return by_name("torch._utils._rebuild_tensor_v2") + pickled.group(parts) + b"R"


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


TENSORS = {
    "size": {"size": (25,)},
    "size of 2**40": {"size": (HUGE,), "stride": (0,)},
    "size of 2**61": {"size": (2**61, 2**61)[:1]},
    "size of 32 axes": {"size": (2**40,) * 32, "stride": (0,) * 32},
    "size of 33 axes": {"size": (1,) * 33, "stride": (1,) * 33},
    "size below zero": {"size": (-6,)},
    "size of another rank": {"size": (2, 3)},
    "stride": {"stride": (5,)},
    "stride of 2**61": {"stride": (2**61,)},
    "stride below zero": {"stride": (-1,), "offset": 6},
    "offset": {"offset": 19},
    "offset of 2**61": {"offset": 2**61},
    "offset below zero": {"offset": -1},
    "storage of 2**61": {"count": 2**61},
    "storage below zero": {"count": -24},
    "wider storage": {"kind": "ComplexDoubleStorage"},
    "storage elsewhere": {"key": "../0"},
    "absolute storage": {"key": "/etc/passwd"},
    "storage that is the pickle": {"key": "../data.pkl"},
    "storage without a name": {"key": ""},
    "storage with a long name": {"key": "\0" * 5000},
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_lie(kind, old, tmp_path):
    body = dictionary(tensor(**TENSORS[kind], old=old))
    (tmp_path / "m").write_bytes(legacy(body) if old else zipped(torch_members(body)))
    refusal(torch_pt, tmp_path / "m")


def test_tensors_that_do_not_lie(tmp_path):
    """Otherwise the test above would prove nothing."""
    for old in (False, True):
        body = dictionary(tensor(old=old))
        (tmp_path / "m").write_bytes(legacy(body) if old else zipped(torch_members(body)))
        assert torch_pt.read(tmp_path / "m")["w"].shape == (6,)


def deflated(name, content):
    """The good archive with one member that is a thousandth of its content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for other, stored in GOOD.items():
            archive.writestr(other, content if other == name else stored, 8 * (other == name))
    assert len(buffer.getvalue()) < len(content) / 100
    return buffer.getvalue()


GOOD = torch_members(dictionary(tensor()))
ZIP = zipped(GOOD)
END = ZIP.rindex(b"PK\5\6")
CENTRAL = ZIP.index(b"PK\1\2")
LAST = ZIP.rindex(b"PK\1\2")  # of the storage


def patched(at, layout, *values, data=ZIP):
    out = bytearray(data)
    struct.pack_into(f"<{layout}", out, at, *values)
    return bytes(out)


def overlapping(count):
    """An archive in which many members are the same bytes, so that each costs as much as one."""
    big = bytes(2**20)
    body = b"\x80\4}" + pickled.items(
        (f"w{i}", tensor(count=2**18, key=str(i), size=(1,))) for i in range(count)
    )
    data = zipped({"m/data.pkl": body + b".", "m/data/0": big})
    at, end = data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")
    entry = data[at:end]
    more = b"".join(
        patched(28, "H", len(name), data=entry[:46]) + name
        for name in (b"m/data/%d" % i for i in range(1, count))
    )
    (size,) = struct.unpack_from("<I", data, end + 12)
    out = data[:end] + more + data[end:]
    last = end + len(more)
    return patched(last + 8, "HHI", count + 1, count + 1, size + len(more), data=out)


ZIP64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2**62, 2**62, 2**62, 0)
ZIP64 += struct.pack("<4sIQI", b"PK\6\7", 0, END, 1)
ARCHIVES = {
    "a deflated storage": deflated("m/data/0", bytes(50_000_000)),
    "a deflated pickle": deflated("m/data.pkl", b"N" * 50_000_000),
    "a poisoned pickle": zipped(GOOD | {"m/data.pkl": dictionary(ROUTES["GLOBAL"]("os.system"))}),
    "a second pickle": zipped(GOOD | {"n/data.pkl": dictionary(tensor())}),
    "65,536 members": zipped({f"m/{i}": b"" for i in range(2**16)}),
    "overlapping members": overlapping(3000),
    "two members of one name": ZIP.replace(b"m/byteorder", b"m/data.pkl\0"),
    "a storage of 4 GiB": patched(LAST + 20, "II", 2**32 - 2, 2**32 - 2),
    "a storage of 2 GiB inside": patched(LAST + 24, "I", 2**31),
    "a header past the end": patched(LAST + 42, "I", 2**32 - 2),
    "a header inside another": patched(LAST + 42, "I", 7),
    "local extra of 64 KiB": patched(ZIP.rindex(b"PK\3\4") + 28, "H", 2**16 - 1),
    "a directory of 4 GiB": patched(END + 12, "I", 2**32 - 2),
    "a directory at 4 GiB": patched(END + 16, "I", 2**32 - 2),
    "a directory of 2**62 bytes": ZIP[:END] + ZIP64 + patched(
        END + 8, "HHII", 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1)[END:],
    "encrypted": patched(LAST + 8, "H", 1),
    "an unknown compression": patched(LAST + 10, "H", 99),
    "version 255": patched(LAST + 6, "H", 255),
    "ends in its directory": ZIP[: LAST + 10],
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(kind, tmp_path, executed):
    (tmp_path / "m").write_bytes(ARCHIVES[kind])
    refusal(torch_pt, tmp_path / "m")
    assert not executed


@pytest.mark.parametrize("folder", ["../../x/", "/tmp/x/", "C:\\x/", "", "\x1b[2J/", "a//../"])
def test_members_that_climb_out_are_only_names(folder, tmp_path):
    """Nothing is unpacked, so where a member says it belongs does not matter."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (place / "m").write_bytes(zipped({name.replace("m/", folder, 1): GOOD[name] for name in GOOD}))
    assert list(torch_pt.read(place / "m")) == ["w"]
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", place, place / "m"]


def tensors(text):
    """A safetensors file."""
    return struct.pack("<Q", len(text)) + text + RAW


def entry(shape, offsets="[0,24]"):
    return f'{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}'.encode()


SAFETENSORS = {
    "a shape of 2**40": tensors(b'{"w":' + entry("[1099511627776,1048576]") + b"}"),
    "a shape of 2**61": tensors(b'{"w":' + entry(f"[{2**61},{2**61}]") + b"}"),
    "a shape of 10**5000": tensors(b'{"w":' + entry("[1" + "0" * 5000 + "]") + b"}"),
    "a shape below zero": tensors(b'{"w":' + entry("[-6,-1]") + b"}"),
    "a shape of true": tensors(b'{"w":' + entry("[true,6]") + b"}"),
    "a shape of 100000 axes": tensors(b'{"w":' + entry([1] * 100_000) + b"}"),
    "nothing of 2**61": tensors(b'{"w":' + entry(f"[0,{2**61},{2**61}]", "[0,0]") + b"}"),
    "offsets past the end": tensors(b'{"w":' + entry(f"[{HUGE}]", f"[0,{4 * HUGE}]") + b"}"),
    "offsets below zero": tensors(b'{"w":' + entry("[6]", "[-24,0]") + b"}"),
    "offsets of one and the same": tensors(
        b"{" + b",".join(b'"w%d":%s' % (i, entry("[6]")) for i in range(1000)) + b"}"
    ),
    "one name twice": tensors(b'{"w":' + entry("[6]") + b',"w":' + entry("[6]") + b"}"),
    "deep lists": tensors(b'{"w":' + b"[" * 100_000 + b"}"),
    "deep objects": tensors(b'{"w":' * 100_000 + b"}"),
    "a header of 2 GiB": struct.pack("<Q", 2**31) + b"{" + RAW,
    "a header of 2**63": struct.pack("<Q", 2**63) + b"{" + RAW,
    "a name that a terminal obeys": tensors(b'{"\\u001b]0;x\\u0007\\n":' + entry("[7]") + b"}"),
    "a long name": tensors(b'{"' + b"\xe2\x80\xae" * 50_000 + b'":' + entry("[7]") + b"}"),
}


def shaped(shape):
    """A msgpack file of an array whose shape is already packed."""
    payload = b"\x93" + shape + b"\xa7float32\xc4\x18" + RAW
    return b"\x81\xa1w\xc7" + bytes([len(payload)]) + b"\1" + payload


MSGPACK = {
    "a map of 2**32": b"\xdf\xff\xff\xff\xff\xa1w\xc0",
    "a map in a map of 2**32": b"\x81\xa1w\xdf\xff\xff\xff\xff",
    "a list of 2**32": b"\x81\xa1w\xdd\xff\xff\xff\xff",
    "bytes of 2 GiB": b"\x81\xa1w\xc6\x7f\xff\xff\xff" + RAW,
    "text of 2 GiB": b"\x81\xdb\x7f\xff\xff\xff" + RAW,
    "an extension of 2 GiB": b"\x81\xa1w\xc9\x7f\xff\xff\xff\1" + RAW,
    "an array of 2**40": shaped(b"\x91\xcf" + struct.pack(">Q", HUGE)),
    "an array of 2**61 * 2**61": shaped(b"\x92" + 2 * (b"\xcf" + struct.pack(">Q", 2**61))),
    "an array below zero": shaped(b"\x92\xff\xfa"),
    "deep maps": b"\x81\xa1w" * 50_000 + b"\xc0",
    "deep lists": b"\x81\xa1w" + b"\x91" * 50_000 + b"\xc0",
    "one name twice": b"\x82" + 2 * shaped(b"\x91\6")[1:],
    "an extension of another": b"\x81\xa1w\xd4\x05\0",
    "a name that a terminal obeys": shaped(b"\x91\7").replace(b"\xa1w", b"\xa4\x1b[2J"),
}


def mindspore(*tensor, name="w"):
    return bytes_field(1, string_field(1, name) + bytes_field(2, b"".join(tensor)))


KIND, CONTENT = string_field(2, "Float32"), bytes_field(3, RAW)
MINDSPORE = {
    "a dimension of 2**40": mindspore(varint_field(1, HUGE), KIND, CONTENT),
    "dimensions of 2**61": mindspore(varint_field(1, 2**61) * 2, KIND, CONTENT),
    "a dimension below zero": mindspore(varint_field(1, -6), KIND, CONTENT),
    "10000 dimensions": mindspore(varint_field(1, 1) * 10_000, KIND, CONTENT),
    "an entry of 2 GiB": mindspore(KIND, CONTENT) + header(1, 2**31) + RAW,
    "a content of 2 GiB": mindspore(varint_field(1, 6), KIND, header(3, 2**31), RAW),
    "a content of 2**63": mindspore(varint_field(1, 6), KIND, header(3, 2**63), RAW),
    "one name twice": 2 * mindspore(varint_field(1, 6), KIND, CONTENT),
    "a type of 100000 letters": mindspore(string_field(2, "F" * 100_000), CONTENT),
    "a name that a terminal obeys": mindspore(KIND, CONTENT, name="\x1b[2J\r\n" * 1000),
}


def mxnet(start="<QQQ", count=1, ndim=1, shape=(6,), names=1, length=1):
    return (
        struct.pack("<QQQ", 0x112, 0, count)
        + struct.pack(f"<Iii{len(shape)}q", 0xF993FAC9, 0, ndim, *shape)
        + struct.pack("<iii", 1, 0, 0)
        + RAW
        + struct.pack("<QQ", names, length)
        + b"w"
    )


MXNET = {
    "2**63 arrays": mxnet(count=2**63),
    "2**31 axes": mxnet(ndim=2**31 - 1),
    "axes below zero": mxnet(ndim=-1),
    "a size of 2**40": mxnet(shape=(HUGE,)),
    "sizes of 2**61": mxnet(ndim=2, shape=(2**61, 2**61)),
    "sizes below zero": mxnet(ndim=2, shape=(-6, -1)),
    "2**63 names": mxnet(names=2**63),
    "a name of 2 GiB": mxnet(length=2**31),
    "a name of 2**64": mxnet(length=2**64 - 1),
}


def v1(shape=(6,), extent=b"", values=bytes_field(5, RAW), more=b""):  # noqa: B008
    dims = b"".join(bytes_field(2, varint_field(1, size)) for size in shape)
    meta = string_field(1, "w") + bytes_field(2, dims) + varint_field(3, 1)
    saved = string_field(1, "w") + bytes_field(2, bytes_field(1, extent) * len(shape))
    items = [(b"", bytes_field(1, bytes_field(1, meta) + more))]
    items.append((b"\0w", bytes_field(2, saved + bytes_field(3, values))))
    return _leveldb_table.write(items)


V1 = {
    "a size of 2**40": v1(shape=(HUGE,)),
    "sizes of 2**61": v1(shape=(2**61, 2**61)),
    "a size below zero": v1(shape=(-6,)),
    "a slice past the end": v1(extent=varint_field(1, 3) + varint_field(2, 6)),
    "a slice of 2**62": v1(shape=(2**61,), extent=varint_field(1, 0) + varint_field(2, 2**61)),
    "values of 2 GiB": v1(values=header(5, 2**31) + RAW),
    "50001 tensors": v1(more=b"\x0a\0" * 50_001),
    "50001 values": v1(values=b"\x2d\0\0\0\0" * 50_001),
}
FILES = {
    "safetensors": SAFETENSORS,
    "flax_msgpack": MSGPACK,
    "mindspore_ckpt": MINDSPORE,
    "mxnet_params": MXNET,
    "tf1_v1_checkpoint": V1,
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in FILES.items() for kind in kinds]
)
def test_files(name, kind, tmp_path):
    (tmp_path / "m").write_bytes(FILES[name][kind])
    refusal(FORMATS[name], tmp_path / "m")


def test_the_makers_of_these_files_are_right(tmp_path):
    """Otherwise the test above would prove nothing."""
    good = {
        "safetensors": tensors(b'{"w":' + entry("[6]") + b"}"),
        "flax_msgpack": shaped(b"\x91\6"),
        "mindspore_ckpt": mindspore(varint_field(1, 6), KIND, CONTENT),
        "mxnet_params": mxnet(),
        "tf1_v1_checkpoint": v1(),
    }
    assert list(good) == list(FILES)
    for name, content in good.items():
        (tmp_path / name).write_bytes(content)
        ((key, array),) = FORMATS[name].read(tmp_path / name).items()
        assert key == "w" and array.shape == (6,)


def message(shape=(6,), offset=0, size=24, shard=0):
    """What an index says about a tensor."""
    dims = b"".join(bytes_field(2, varint_field(1, n)) for n in shape)
    return (
        varint_field(1, 1)
        + bytes_field(2, dims)
        + b"".join(varint_field(n, v) for n, v in ((3, shard), (4, offset), (5, size)) if v)
        + fixed32_field(6, masked(RAW))
    )


def index(value=None, shards=1, name=b"w", more=()):
    head = varint_field(1, shards) + bytes_field(3, varint_field(1, 1))
    return _leveldb_table.write([(b"", head), (name, value or message()), *more])


def blocks(data, entries):
    """A table whose index block has these entries, keys and handles, behind the bytes `data`."""
    out = data
    handles = b""
    for content in (b"", entries):
        content += struct.pack("<II", 0, 1)
        handles += _varint.write(len(out)) + _varint.write(len(content))
        out += content + b"\0" + struct.pack("<I", masked(content + b"\0"))
    return out + handles.ljust(40, b"\0") + _leveldb_table.MAGIC


NOTHING = struct.pack("<II", 0, 1)  # a block without entries


def block(content, compression=b"\0"):
    return content + compression + struct.pack("<I", masked(content + compression))


def entries(*rows):
    """Entries of a block: how much of the key before they share, the rest of it, the value."""
    return b"".join(
        b"".join(map(_varint.write, (shared, len(rest), len(value)))) + rest + value
        for shared, rest, value in rows
    )


def handles(count, offset, size):
    """Entries of an index block that are all of the same place."""
    place = _varint.write(offset) + _varint.write(size)
    return entries(*[(0, b"", place)] * count)


def named_alike():
    """A few kilobytes that stand for 120 megabytes of names."""
    head = varint_field(1, 1) + bytes_field(3, varint_field(1, 1))
    rows = [(0, b"", head), (0, b"k" * 60_000, message())]
    rows += [(60_000, b"%04d" % i, message()) for i in range(2000)]
    content = entries(*rows) + NOTHING
    return blocks(block(content), handles(1, 0, len(content)))


# Content of 3 MiB in 140 KiB that has no entry either: restart points alone.
POINTS = _varint.write(3 * 2**20) + b"\x0c\xff\xff\x0b\0" + b"\xfe\4\0" * 49_151
POINTS += b"\xee\4\0"
INDEXES = {
    "a shape of 2**40": index(message(shape=(HUGE,))),
    "a shape and size of 2**40": index(message(shape=(HUGE,), size=4 * HUGE)),
    "a shape of 2**61": index(message(shape=(2**61, 2**61))),
    "a shape below zero": index(message(shape=(-6,))),
    "an offset of 2**62": index(message(offset=2**62)),
    "an offset past the end": index(message(offset=1)),
    "a data file of 2**31": index(message(shard=2**31)),
    "99999 data files": index(message(shard=99_998), shards=99_999),
    "2**31 data files": index(shards=2**31),
    "one place for 1000 tensors": index(
        more=[(b"x%04d" % i, message()) for i in range(1000)],
    ),
    "a name that a terminal obeys": index(message(shape=(7,)), name=b"\x1b[2J\n"),
    "a long name": index(message(shape=(7,)), name=b"\n" * 100_000),
    "a block of 2**62": blocks(block(NOTHING), handles(1, 0, 2**62)),
    "a block at 2**62": blocks(block(NOTHING), handles(1, 2**62, 8)),
    "one block many times": blocks(
        block(struct.pack("<I", 2**16 - 1) * 2**16), handles(20_000, 0, 2**18)
    ),
    "one compressed block many times": blocks(
        block(POINTS, b"\1"), handles(20_000, 0, len(POINTS))
    ),
    "a compressed block of 2**62": blocks(
        block(_varint.write(2**62) + b"\0\0", b"\1"), handles(1, 0, 11)
    ),
    "long keys that share": blocks(
        block(NOTHING) * 1000,
        entries(
            (0, b"k" * 100_000, _varint.write(0) + b"\x08"),
            *((100_000, b"", _varint.write(13 * i) + b"\x08") for i in range(1, 1000)),
        ),
    ),
    "long names that share": named_alike(),
    "2**31 restart points": blocks(block(struct.pack("<I", 2**31)), handles(1, 0, 4)),
}


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("name", ["tf1_checkpoint", "tf2_checkpoint"])
def test_indexes(name, kind, tmp_path):
    (tmp_path / "m.index").write_bytes(INDEXES[kind])
    (tmp_path / "m.data-00000-of-00001").write_bytes(RAW)
    refusal(FORMATS[name], tmp_path / "m")


STATES = [
    'model_checkpoint_path: "../../model"',
    'model_checkpoint_path: "/etc/passwd"',
    'model_checkpoint_path: "..\\\\..\\\\model"',
    'model_checkpoint_path: ".."',
    'model_checkpoint_path: ""',
    'model_checkpoint_path: "' + "x" * 100_000,
    "model_checkpoint_path:" + " " * 500_000,
    "\n" * 500_000,
    " \n" * 500_000,
    "\0" * 500_000,
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_which_checkpoint_of_a_folder(state, tmp_path):
    """The text file beside the checkpoints names one of this folder, or none."""
    for folder, value in (("", 1), ("train", 2), ("train/deeper", 3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        tf1_checkpoint.write(tmp_path / folder / "model", {"w": np.array(value)})
        tf1_checkpoint.write(tmp_path / folder / "other", {"w": np.array(-value)})
    (tmp_path / "train" / "checkpoint").write_text(state)
    if state.split('"')[1:2] == ["../../model"] or "\\model" in state:
        assert tf1_checkpoint.read(tmp_path / "train")["w"] == 2
    else:
        assert "holds several checkpoints" in refusal(tf1_checkpoint, tmp_path / "train")


@pytest.mark.parametrize(
    "content",
    [PICKLES["flax_pickle"][1](ROUTES["GLOBAL"]("os.system")), SAFETENSORS["deep lists"]],
    ids=["pickle", "safetensors"],
)
def test_the_command_ends_with_one_line(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    arguments = [f"--input={tmp_path / 'm'}", f"--output={tmp_path / 'm.pt'}"]
    done = subprocess.run(
        [sys.executable, "-m", "convert", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'm'}: ")
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    with pytest.raises(CheckpointError):
        hub.read(tmp_path / "m")
