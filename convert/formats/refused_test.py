"""Files that lie: one clear error for each, little memory, and nothing is executed."""

import io
import json
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, pickles
from convert.formats._wire import field
from convert.formats.pickles import Call, dump

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")

W = np.arange(6, dtype=np.float32).reshape(2, 3)
RAW = W.tobytes()
HUGE = (2**61, 2**61)


@pytest.fixture
def refusal(tmp_path):
    """A function that returns the text of the error with which a format refuses a file."""

    def check(format_name, content):
        path = tmp_path / "m"
        path.write_bytes(content)
        module = FORMATS[format_name]
        module.recognises(path)  # never raises
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                module.read(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20_000_000 + 200 * len(content)
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and text.isprintable() and len(text) < 2000
        return text

    return check


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


COMMAND = dump("touch executed")
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


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_executed(container, route, refusal, executed):
    format_name, content = CONTAINERS[container]
    for path in FUNCTIONS:
        text = refusal(format_name, content(dictionary(ROUTES[route](path))))
        assert "refused to load" in text, path
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
U1 = dump(Call("numpy.dtype", ("u1", False, True), (3, "|", None, None, None, -1, -1, 0)))
ORDERED = by_name("collections.OrderedDict")
HOSTILE = {
    "a byte array of 2**40": b"\x96" + struct.pack("<Q", 2**40),
    "an integer of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "memo number 2**32": b"Nr\xff\xff\xff\xff",
    "100,000 lists in lists": b"]" * 100_000 + b"a" * 99_999,
    "100,000 tuples as a key": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
    "100,000 tuples in a set": b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90",
    "2**60 values by sharing": ENDLESS,
    "2**60 values as a key": b"}" + ENDLESS + b"Ns",
    "2**60 values as a type": by_name("numpy.core.multiarray.scalar") + (
        by_name("numpy.dtype") + ENDLESS + b"\x85RC\1x\x86R"
    ),
    "2**60 values as a dimension": RECONSTRUCT + b"(K\1" + ENDLESS + b"\x85" + U1 + b"\x89C\1xtb",
    "2**60 values as a size": by_name("torch._utils._rebuild_tensor_v2") + (
        b"((" + dump("storage") + by_name("torch.FloatStorage") + dump("0")
        + dump("cpu") + b"K\x18tQK\0" + ENDLESS + b"\x85K\1\x85\x89}tR"
    ),
    "a list in itself": b"]q\0h\0a",
    "an extension code": b"\x82\1",
    "a state of a function": by_name("numpy.dtype") + b"}" + COMMAND + b"Nsb",
    "OrderedDicts of one list": (
        b"](" + (b"](" + dump("a") + b"Ne") * 2000 + b"eq\0"
        + (b"0" + ORDERED + b"h\0\x85R") * 1000 + b"0]"
    ),
}  # fmt: skip


@pytest.mark.parametrize("container", ["zip", "flax"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles(container, kind, refusal, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_VALUES", 20_000)  # a million takes seconds
    format_name, content = CONTAINERS[container]
    refusal(format_name, content(dictionary(HOSTILE[kind])))


def array(shape=(2, 3), code="f4", order="<", raw=RAW, fortran=False):
    """A pickled dictionary with an array whose parts can be wrong."""
    dtype = Call("numpy.dtype", (code, False, True), (3, order, None, None, None, -1, -1, 0))
    parts = [dump(part) for part in (1, shape, dtype, fortran)] + [dump(raw) if raw else b"]"]
    return dictionary(RECONSTRUCT + b"(" + b"".join(parts) + b"tb")


def test_the_maker_of_arrays_is_right(tmp_path):
    (tmp_path / "m").write_bytes(array(order=">", fortran=True))
    got = FORMATS["flax_pickle"].read(tmp_path / "m")["w"]
    np.testing.assert_array_equal(got, W.view(">f4").ravel().reshape(3, 2).T)
    np.testing.assert_array_equal(pickle.loads(array())["w"], W)  # noqa: S301


def extension(code, payload):
    return b"\x81\xa1w\xc8" + struct.pack(">HB", len(payload), code) + payload


def stored(shape=b"\x92\x01\x02", dtype=b"\xa7float32", size=8):
    return b"\x93" + shape + dtype + b"\xc4" + bytes([size]) + struct.pack("<2f", 1, 2)


def entry(*parts):
    return field(1, b"".join(parts))


def tensor(dims=(2, 3), kind=b"Float32", content=RAW):
    shape = b"".join(field(1, dim) for dim in dims)
    return entry(field(1, b"w"), field(2, shape + field(2, kind) + field(3, content)))


def with_checksum(message):
    return message + b"crc_num" + zlib.crc32(message).to_bytes(10, "big")


def params(names=("w",), magic=0xF993FACA, storage=0, shape=(2, 3), ndim=None, code=0, count=1):
    ndim = len(shape) if ndim is None else ndim
    return (
        struct.pack("<QQQIii", 0x112, 0, count, magic, storage, ndim)
        + struct.pack(f"<{len(shape)}qiii", *shape, 1, 0, code) + RAW
        + struct.pack("<Q", len(names))
        + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    )  # fmt: skip


def header(content, data=bytes(8)):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TWICE = b'{"w":' + json.dumps(F32).encode() + b',"w":' + json.dumps(F32).encode() + b"}"

FILES = [
    ("flax_pickle", array(raw=bytes(20)), r"w: .*float32 \[2, 3\] needs 24 bytes, not 20"),
    ("flax_pickle", array(shape=(-2, -3)), r"w has shape \[-2, -3\]"),
    ("flax_pickle", array(shape=(1,) * 40), "w has shape .*expected at most 32"),
    ("flax_pickle", array(code="O8", raw=[]), "w: an array of dtype 'O8'; expected plain numbers"),
    ("flax_pickle", array(code="M8[s]"), "w: an array of dtype 'M8"),
    ("flax_pickle", array(order="x"), "expected plain numbers"),
    ("flax_pickle", pickle.dumps({"a": {"b:c": W}}), "'a:b:c': a key is no string or contains ':'"),
    ("flax_pickle", pickle.dumps({3: W}), "a key is no string"),
    ("flax_pickle", pickle.dumps({"a": {}}), "holds no array"),
    ("flax_pickle", pickle.dumps({"a": W}) + b"x", "1 bytes follow the end"),
    ("caffe2_pkl", pickle.dumps({"a": {"w": W}}), "a is a .*expected one dictionary"),
    ("caffe2_pkl", pickle.dumps({"blobs": {"a": np.dtype("f4")}}), "a is a Call"),
    ("caffe2_pkl", pickle.dumps({"blobs": {("a",): W}}), "a key of type tuple"),
    ("caffe2_pkl", pickle.dumps({"a": W, b"a": W}), "same name twice"),
    ("caffe2_pkl", pickle.dumps({"model_iter": 2**63}), "model_iter is an integer of 64 bits"),
    ("flax_msgpack", b"\x81\xa1w\xc9\xff\xff\xff\xff\x01", ""),
    ("flax_msgpack", b"\xdf\xff\xff\xff\xff\xa1w", "exceeds max_map_len"),
    ("flax_msgpack", b"\x81\xa1w" * 5000 + b"\x00", "StackError"),
    ("flax_msgpack", b"\x81\xa1w" * 200 + b"\x00", "nested more than 100 deep"),
    ("flax_msgpack", b"\x82\xa1w\x01\xa1w\x02", "twice"),
    ("flax_msgpack", b"\x81\xa3a:b\x02", "'a:b': a key is no string or contains ':'"),
    ("flax_msgpack", extension(5, b"\x01"), "type 5 that is not one of Flax"),
    ("flax_msgpack", extension(1, stored(b"\x92\x01\x03")), "needs 12 bytes, not 8"),
    ("flax_msgpack", extension(1, stored(dtype=b"\xa6object")), "has dtype 'object'"),
    ("mindspore_ckpt", tensor() * 2, "w is in the file twice"),
    ("mindspore_ckpt", tensor(content=bytes(20)), "needs 24 bytes, not 20"),
    ("mindspore_ckpt", tensor(dims=HUGE), "needs 21267647932558653966460912964485513216 bytes"),
    ("mindspore_ckpt", tensor(kind=b"Int4"), "w has dtype 'int4'; expected one of"),
    ("mindspore_ckpt", tensor() + field(2, 1), "something else than tensors"),
    ("mindspore_ckpt", tensor()[:-1], r"no MindSpore checkpoint\) is cut off"),
    ("mindspore_ckpt", with_checksum(tensor())[:-1] + b"\0", "expected 0x.*: it is damaged"),
    ("mxnet_params", params(count=2**64 - 1), "magic 0x1: damaged"),
    ("mxnet_params", params(magic=0xF993FAC8), "magic 0xf993fac8.* before 1.0"),
    ("mxnet_params", params(storage=1), "array 0 of 1 is sparse"),
    ("mxnet_params", params(shape=(), magic=0xF993FAC9), "was never filled"),
    ("mxnet_params", params(code=8), "has type code 8; expected 0 to 7"),
    ("mxnet_params", params(shape=HUGE), "2126764793255865396646"),
    ("mxnet_params", params(names=()), "has 0 names for 1 arrays; save a dictionary"),
    ("safetensors", header({"w": F32 | {"shape": [2] + [1] * 32}}), "expected at most 32"),
    ("safetensors", header({"w": F32 | {"dtype": "F8_E4M3", "shape": [8]}}), "dtype 'F8_E4M3'"),
    ("safetensors", header(TWICE), "twice"),
    ("safetensors", header({"__metadata__": {"crc32c": "{}"}, "w": F32}), "w does not have the ch"),
    ("safetensors", header({"__metadata__": {"format": "pt"}}, b""), "holds no array"),
]  # fmt: skip


@pytest.mark.parametrize(("format_name", "content", "text"), FILES)
def test_files_that_lie(format_name, content, text, refusal):
    assert re.search(text, received := refusal(format_name, content)), received


TWICE_NAMED = {"a": W, "a:b": W}


@pytest.mark.parametrize(
    ("format_name", "arrays", "text"),
    [
        ("flax_pickle", {"conv/w": W}, r"nested, not 'conv/w'"),
        ("flax_pickle", TWICE_NAMED, "a:b is an array and a group"),
        ("flax_msgpack", TWICE_NAMED, "a:b is an array and a group"),
        ("flax_msgpack", {"a:__msgpack_chunked_array__": W}, "a name that Flax reserves"),
        ("flax_msgpack", {":".join("a" * 101): W}, "nested too deeply"),
        ("mindspore_ckpt", {"w": np.zeros(2, np.complex64)}, "w has dtype complex64"),
        ("mindspore_ckpt", {"w": np.zeros(0)}, r"w: MindSpore takes shape"),
        ("torch_pt", {"w": np.zeros(2, np.uint16)}, "w has dtype uint16"),
        ("tf1_checkpoint", {"": W}, "a name is empty"),
        ("tf2_checkpoint", {"": W}, "the model itself"),
        ("tf2_checkpoint", {"a..b": W, "a.b": W}, "'a.b' and a..b stand for the same object"),
    ],
)
def test_what_cannot_be_written(format_name, arrays, text, tmp_path):
    with pytest.raises(CheckpointError, match=rf"^{tmp_path / 'm'}: .*{text}"):
        FORMATS[format_name].write(tmp_path / "m", arrays)
    assert list(tmp_path.iterdir()) == []
