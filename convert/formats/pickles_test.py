"""Pickles: malicious ones in every container, and what NumPy writes."""

import collections
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, pickles
from convert.formats._pickle_writer import dump
from convert.formats.pickles import Call

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
RAW = ARRAY.tobytes()
COMMAND = dump("touch executed")


def dictionary(value):
    """A pickle of a dictionary whose entry "w" is a pickled value."""
    return b"\x80\4}" + dump("w") + value + b"s."


def zipped(body):
    """Torch's archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/data.pkl", body)
        archive.writestr("m/data/0", bytes(96))
    return buffer.getvalue()


def legacy(body):
    """Torch's old container around a pickle."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    start = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\2M\xe9\3." + pickle.dumps(info, 2)
    return start + body + pickle.dumps(["0"], 2) + struct.pack("<q", 24) + bytes(96)


CONTAINERS = {
    "zip": ("torch_pt", zipped),
    "legacy": ("torch_pt", legacy),
    "caffe2": ("caffe2_pkl", bytes),
    "flax": ("flax_pickle", bytes),
}


def by_name(path):
    return dump(Call(path))


def on_stack(path):
    module, _, name = path.rpartition(".")
    return dump(module) + dump(name) + b"\x93"


# The routes by which a pickle calls a function.
ROUTES = {
    "GLOBAL": lambda path: by_name(path) + b"(" + COMMAND + b"tR",
    "STACK_GLOBAL": lambda path: on_stack(path) + b"(" + COMMAND + b"tR",
    "memo": lambda path: b"(" + by_name(path) + b"q\7" + b"h\7" + COMMAND + b"\x85Rt",
    "INST": lambda path: b"(" + COMMAND + b"i" + by_name(path)[1:],
    "OBJ": lambda path: b"(" + by_name(path) + COMMAND + b"o",
    "key": lambda path: b"}" + by_name(path) + COMMAND + b"\x85RNs",
    "__setstate__": lambda path: (
        by_name("collections.OrderedDict") + b")R}" + dump("__setstate__") + by_name(path)
        + b"sbN" + COMMAND + b"\x86b"
    ),
    "NEWOBJ": lambda path: by_name(path) + COMMAND + b"\x85\x81",
    "NEWOBJ_EX": lambda path: by_name(path) + COMMAND + b"\x85}\x92",
    "BUILD": lambda path: by_name(path) + b"}" + COMMAND + b"Nsb",
    "persistent id": lambda path: by_name(path) + COMMAND + b"\x85RQ",
    "argument of a tensor": lambda path: (
        by_name("torch._utils._rebuild_tensor_v2") + b"(" + by_name(path) + COMMAND
        + b"\x85RK\0))\x89}tR"
    ),
}  # fmt: skip
FUNCTIONS = [
    *("os.system", "posix.system", "subprocess.Popen", "builtins.eval", "__builtin__.exec"),
    *("builtins.getattr", "functools.partial", "copyreg._reconstructor", "pickle.loads"),
    *("torch.load", "torch.storage._load_from_bytes", "numpy.load", "numpy.core.multiarray.x"),
    *("_codecs.decode", "numpy.ndarray.tofile", "os\x1b[2J.system", "collections.abc.OrderedDict"),
]


@pytest.fixture
def executed(monkeypatch):
    """The calls of os.system from now on."""
    calls = []
    monkeypatch.setattr(os, "system", lambda *args: calls.append(args))
    return calls


@pytest.fixture(params=CONTAINERS)
def refusal(request, tmp_path, monkeypatch):
    """A function that puts a pickled value into a file and returns the text of its refusal."""
    monkeypatch.setattr(pickles, "MOST_VALUES", 20_000)  # a million takes seconds
    name, content = CONTAINERS[request.param]

    def check(value):
        path = tmp_path / "m"
        path.write_bytes(content(dictionary(value)))
        FORMATS[name].recognises(path)
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                FORMATS[name].read(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20_000_000 + 200 * path.stat().st_size
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and text.isprintable() and len(text) < 2000
        return text

    return check


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_executed(route, refusal, executed):
    for path in FUNCTIONS:
        assert "refused" in refusal(ROUTES[route](path)), path
    assert not executed


def test_the_routes_do_execute_elsewhere(executed):
    """Otherwise the test above would prove nothing."""
    for route in list(ROUTES)[:7]:
        pickle.loads(dictionary(ROUTES[route]("os.system")))  # noqa: S301
        assert executed.pop()[-1] in ("touch executed", (None, "touch executed")), route


# Three bytes double a tuple, so that its text and its hash take forever.
ENDLESS = b"N" + b"q\0h\0\x86" * 60
RECONSTRUCT = by_name("numpy.core.multiarray._reconstruct") + (
    b"(" + by_name("numpy.ndarray") + b"K\0\x85C\1btR"
)
ORDERED = by_name("collections.OrderedDict")
HOSTILE = {
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62),
    "bytes of 2 GiB": b"B\xff\xff\xff\x7f",
    "a byte array of 2**40": b"\x96" + struct.pack("<Q", 2**40),
    "text of 4 GiB": b"X\xff\xff\xff\xff",
    "an integer of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "a frame of 2**62": b"\x95" + struct.pack("<Q", 2**62) + b"N",
    "memo number 2**32": b"Nr\xff\xff\xff\xff",
    "a memo number that is not set": b"j\xff\xff\xff\x7f",
    "200,000 lists in lists": b"]" * 200_000 + b"a" * 199_999,
    "200,000 tuples as a key": b"}" + b")" + b"\x85" * 200_000 + b"Ns",
    "200,000 calls of calls": ORDERED + b")" + (b"\x85" + b"0" + ORDERED + b")") * 9 + b"R",
    "2**60 values by sharing": ENDLESS,
    "2**60 values as a key": b"}" + ENDLESS + b"Ns",
    "2**60 values as a type": by_name("numpy.core.multiarray.scalar") + (
        by_name("numpy.dtype") + ENDLESS + b"\x85RC\1x\x86R"
    ),
    "2**60 values as a dimension": RECONSTRUCT + (
        b"(K\1" + ENDLESS + b"\x85" + by_name("numpy.dtype") + dump("u1") + b"\x85R"
        + b"\x89C\1xtb"
    ),
    "2**60 values as an order": by_name("numpy.core.numeric._frombuffer") + (
        b"(C\1x" + by_name("numpy.dtype") + dump("u1") + b"\x85R)" + ENDLESS + b"tR"
    ),
    "2**60 values as a size": by_name("torch._utils._rebuild_tensor_v2") + (
        b"((" + dump("storage") + by_name("torch.FloatStorage") + dump("0")
        + dump("cpu") + b"K\x18tQK\0" + ENDLESS + b"\x85K\1\x85\x89}tR"
    ),
    "a list in itself": b"]q\0h\0a",
    "an extension code": b"\x82\1",
    "a set": b"\x8f",
    "a state of a function": by_name("numpy.dtype") + b"}" + COMMAND + b"Nsb",
    "a state twice": by_name("numpy.dtype") + b")R)b)b",
    "a call of a text": dump("os.system") + COMMAND + b"\x85R",
    "OrderedDicts of one list": (
        b"](" + (b"](" + dump("a") + b"Ne") * 2000 + b"eq\0"
        + (b"0" + ORDERED + b"h\0\x85R") * 1000
    ),
    "bytes in an OrderedDict": ORDERED + dump("abc") + b"\x85R",
    "an item of a list": b"]K\0Ns",
    "an empty stack": b"0000",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles(kind, refusal):
    refusal(HOSTILE[kind])


def state(shape=b"K\x02K\x03\x86", code="f4", order="<", raw=RAW, fortran=b"\x89"):
    """A pickled array whose parts can be wrong."""
    dtype = dump(Call("numpy.dtype", (code, False, True), (3, order, None, None, None, -1, -1, 0)))
    data = raw if raw[:1] == b"]" else b"B" + struct.pack("<I", len(raw)) + raw
    return RECONSTRUCT + b"(K\1" + shape + dtype + fortran + data + b"tb"


def test_the_maker_of_arrays_is_right(tmp_path):
    (tmp_path / "m").write_bytes(dictionary(state(order=">", fortran=b"\x88")))
    expected = ARRAY.view(">f4").ravel().reshape(3, 2).T
    got = FORMATS["flax_pickle"].read(tmp_path / "m")["w"]
    np.testing.assert_array_equal(got, expected)
    (tmp_path / "m").write_bytes(dictionary(state()))
    np.testing.assert_array_equal(pickle.loads(dictionary(state()))["w"], ARRAY)  # noqa: S301


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"raw": bytes(20)}, "needs 24 bytes, not 20"),
        ({"shape": b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86"}, "a dimension of -2"),
        ({"shape": b"\x8a\x08" + b"\xff" * 7 + b"\x7fK\x00\x86"}, "a dimension of 92233"),
        ({"shape": b"K\x02"}, "malformed"),
        ({"shape": b"\x88\x85"}, "a dimension of True"),
        ({"shape": b"(" + b"K\x01" * 40 + b"t"}, "40 dimensions"),
        ({"code": "O8", "raw": b"]"}, "dtype 'O8'; expected plain numbers"),
        ({"code": "M8[s]"}, "dtype 'M8"),
        ({"code": "f4", "order": "x"}, "malformed state"),
        ({"code": "f4", "raw": b"]"}, "data is a list; expected bytes"),
    ],
)
def test_arrays_that_contradict_themselves(parts, text, tmp_path):
    (tmp_path / "m").write_bytes(dictionary(state(**parts)))
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm'}: w: .*{text}"):
        FORMATS["flax_pickle"].read(tmp_path / "m")


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_pickles(protocol, tmp_path):
    turned = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    tree = collections.OrderedDict(
        c=ARRAY, f=np.asfortranarray(ARRAY), big=ARRAY.astype(">f8"), turned=turned,
        mask=ARRAY > 2, s=np.float64(2.5), n=3, rows=[ARRAY[1], (ARRAY[0], None)],
    )  # fmt: skip
    tree[np.int64(5)] = {"a": 0.5}
    (tmp_path / "m").write_bytes(pickle.dumps(tree, protocol))
    got = {}
    for path, value in pickles.leaves(pickles.load(tmp_path / "m"), (dict, list, tuple)):
        keys = [pickles.array(key).item() if pickles.is_array(key) else key for key in path]
        got[pickles.shown((*keys,), "/")] = (
            pickles.array(value) if pickles.is_array(value) else value
        )
    assert [*got] == [*list(tree)[:7], "rows/0", "rows/1/0", "rows/1/1", "5/a"]
    for key in list(tree)[:6]:
        np.testing.assert_array_equal(got[key], tree[key], err_msg=key)
        assert got[key].dtype == tree[key].dtype
    assert (got["n"], got["rows/1/1"], got["5/a"]) == (3, None, 0.5)
    assert got["rows/1/0"].tolist() == [0, 1, 2]


def test_the_pickle_fills_the_file(tmp_path):
    (tmp_path / "m").write_bytes(b"head" + pickle.dumps([1, "a"]))
    assert pickles.load(tmp_path / "m", 4) == [1, "a"]
    (tmp_path / "m").write_bytes(b"head" + pickle.dumps([1, "a"]) + b"x")
    with pytest.raises(ValueError, match="1 bytes follow the end"):
        pickles.load(tmp_path / "m", 4)
