"""The restricted unpickler and hostile pickles: one CheckpointError, nothing is executed."""

import collections
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from common.errors import CheckpointError
from convert.formats import _pickle_writer as pickled
from convert.formats import _unpickler, flax_pickle, torch_pt
from convert.formats._numpy_pickle import NUMPY_GLOBALS, PickledArray, PickledScalar
from convert.formats._torch_tensors import GLOBALS


def load(data, **options):
    return _unpickler.load(data, **{"allowed": NUMPY_GLOBALS, "source": "x.pkl"} | options)


@pytest.fixture
def sentinel(tmp_path):
    return tmp_path / "executed"


def malicious(command):
    """Pickles that run `command` in Python's own unpickler, by every opcode that can."""
    text = pickled.text(command)
    short = b"\x8c" + bytes([len(command)]) + command.encode()
    argument = pickled.group([text])
    system = b"\x8c\x05posix\x8c\x06system\x93"
    return {
        "GLOBAL": b"\x80\x02cos\nsystem\n" + argument + b"R.",
        "GLOBAL posix": b"\x80\x02cposix\nsystem\n" + argument + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + system + argument + b"R.",
        "STACK_GLOBAL of memoized names": (
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93" + argument + b"R."
        ),
        "INST": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + argument + b"\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n" + argument + b"}\x92.",
        "BUILD": b"\x80\x02cos\nsystem\n}" + text + b"K\x01sb.",
        "allowed name with a dot": (
            b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__class__.mro\x93" + argument + b"R."
        ),
        "builtins": b"\x80\x02cbuiltins\neval\n(X\x02\x00\x00\x001\x2b1tR.",
        "__builtin__": b"\x80\x02c__builtin__\nexec\n" + argument + b"R.",
        "in a dictionary": b"\x80\x04}\x8c\x01ac" + b"os\nsystem\n" + argument + b"Rs.",
        "short": b"\x80\x04" + system + short + b"\x85R.",
        "torch's own loader": b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x00\x85R.",
    }


@pytest.mark.parametrize("kind", malicious(""))
def test_nothing_is_executed(kind, sentinel, tmp_path):
    data = malicious(f"touch {sentinel}")[kind]
    files = {"m.pkl": data, "m.pt": _zip(tmp_path, data), "legacy.pt": _legacy(data)}
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        module = flax_pickle if name == "m.pkl" else torch_pt
        with pytest.raises(CheckpointError, match="refused") as caught:
            module.read(path)
        assert str(caught.value).startswith(f"{path}: ")
    assert not sentinel.exists()


def test_the_pickles_do_execute_elsewhere(sentinel):
    """Otherwise the test above would prove nothing."""
    done = 0
    for name, data in malicious(f"touch {sentinel}").items():
        if name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "in a dictionary", "short"):
            pickle.loads(data)  # noqa: S301
            assert sentinel.exists()
            sentinel.unlink()
            done += 1
    assert done == 6


def test_reduce_of_an_object(sentinel):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {sentinel}",)

    for protocol in range(6):
        data = pickle.dumps({"w": Evil()}, protocol)
        with pytest.raises(CheckpointError, match=r"^x.pkl: refused to load \w+\.system"):
            load(data)
    assert not sentinel.exists()


def test_setstate_is_never_found(sentinel):
    data = pickle.dumps(_WithState())
    with pytest.raises(CheckpointError, match=r"refused to load .*unpickler_test\._WithState"):
        load(data)
    assert not _WithState.called


class _WithState:
    called = False

    def __setstate__(self, state):
        _WithState.called = True

    def __getstate__(self):
        return {"a": 1}


def test_functions_cannot_be_changed():
    """BUILD sets attributes; on a function that would last."""
    for name in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n"):
        for state in (b"}X\x01\x00\x00\x00aK\x01s", b"N}X\x0c\x00\x00\x00__defaults__)s\x86"):
            with pytest.raises(CheckpointError, match="refused to change"):
                load(b"\x80\x02" + name + state + b"b.")
    for key, value in GLOBALS.items():
        name = b"c" + "\n".join(key).encode() + b"\n"
        with pytest.raises(CheckpointError):
            load(b"\x80\x02" + name + b"}X\x01\x00\x00\x00aK\x01sb.", allowed=GLOBALS)
        assert not hasattr(value, "a")


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_registry(opcode):
    with pytest.raises(CheckpointError, match="refused the pickle opcode EXT"):
        load(b"\x80\x02" + opcode + b".")


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


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
RAW = ARRAY.tobytes()


def state(shape=b"K\x02K\x03\x86", code="f4", order="<", raw=RAW, fortran=b"\x89"):
    """A pickled array whose parts can be wrong."""
    dtype = pickled.name("numpy", "dtype") + pickled.group([pickled.text(code), b"\x89", b"\x88"])
    dtype += b"R" + pickled.group([b"K\x03", pickled.text(order), b"NNN", b"J\xff\xff\xff\xff" * 2])
    dtype = dtype[:-1] + b"K\x00tb"
    data = raw if raw[:1] == b"]" else pickled.bytes_header(len(raw)) + raw
    reconstruct = pickled.name("numpy.core.multiarray", "_reconstruct")
    reconstruct += pickled.group([pickled.name("numpy", "ndarray"), b"K\x00\x85", b"C\x01b"]) + b"R"
    body = reconstruct + pickled.group([b"K\x01", shape, dtype, fortran, data]) + b"b"
    return b"\x80\x04}" + pickled.text("w") + body + b"s."


def test_hand_made_array(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(state())
    np.testing.assert_array_equal(flax_pickle.read(path)["w"], ARRAY)
    np.testing.assert_array_equal(pickle.loads(state())["w"], ARRAY)  # noqa: S301
    path.write_bytes(state(order=">", fortran=b"\x88"))
    expected = ARRAY.view(">f4").ravel().reshape(3, 2).T
    np.testing.assert_array_equal(flax_pickle.read(path)["w"], expected)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"raw": bytes(20)}, "needs 24 bytes, not 20"),
        ({"raw": b""}, "needs 24 bytes, not 0"),
        ({"shape": b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86"}, "a dimension of -2"),
        ({"shape": b"\x8a\x08" + b"\xff" * 7 + b"\x7fK\x00\x86"}, "a dimension of 92233"),
        ({"shape": b"K\x02"}, "malformed"),
        ({"shape": b"X\x01\x00\x00\x002\x85"}, "a dimension of 2"),
        ({"shape": b"\x88\x85"}, "a dimension of True"),
        ({"shape": b"(" + b"K\x01" * 40 + b"t"}, "40 dimensions"),
        ({"code": "O"}, "dtype 'O'; expected plain numbers"),
        ({"code": "O8", "raw": b"]"}, "dtype 'O8'"),
        ({"code": "V4"}, "dtype 'V4'"),
        ({"code": "M8[s]"}, "dtype 'M8"),
        ({"code": "f4", "order": "x"}, "malformed state"),
        ({"code": "f4", "raw": b"]"}, "data is a list; expected bytes"),
    ],
)
def test_arrays_that_contradict_themselves(parts, text, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(state(**parts))
    with pytest.raises(CheckpointError, match=text) as caught:
        flax_pickle.read(path)
    assert str(caught.value).startswith(f"{path}: w: ")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_numpy_pickles(protocol):
    tree = collections.OrderedDict(
        c=ARRAY, f=np.asfortranarray(ARRAY), big=ARRAY.astype(">f8"), s=np.float64(2.5), n=3
    )
    got = load(pickle.dumps(tree, protocol))
    for key in ("c", "f", "big"):
        assert type(got[key]) is PickledArray
        np.testing.assert_array_equal(got[key].resolve(), ARRAY)
    assert got["big"].resolve().dtype == np.dtype(">f8")
    assert type(got["s"]) is PickledScalar and got["s"].resolve() == 2.5
    assert got["n"] == 3 and list(got) == list(tree)


def test_python_2_bytes():
    data = b"\x80\x02}q\x01U\x01wq\x02U\x03\x00\xff\x80q\x03s."
    assert load(data) == {"w": "\x00\xff\x80"}


def test_pickles_after_each_other(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"".join(pickle.dumps(x, p) for p, x in enumerate(["a", [1], {"b": 2}, ()])))
    for stream in (path.open("rb"), io.BytesIO(path.read_bytes())):
        with stream:
            assert [load(stream) for _ in range(4)] == ["a", [1], {"b": 2}, ()]
            assert stream.read() == b""
            with pytest.raises(CheckpointError, match="exhausted"):
                load(stream)


def test_persistent_ids_need_a_loader():
    data = b"\x80\x02K\x05Q."
    assert load(data, persistent_load=lambda pid: pid + 1) == 6
    with pytest.raises(CheckpointError, match="opcode BINPERSID"):
        load(data)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x09N.", b"}", b"N", b"(.", b"t.", b"\xff"])
def test_malformed(data):
    with pytest.raises(CheckpointError, match=r"^x\.pkl: "):
        load(data)


def test_random_bytes_raise_nothing_else():
    random = np.random.default_rng(3)
    opcodes = np.frombuffer(bytes(range(256)), np.uint8)
    for _ in range(3000):
        body = random.choice(opcodes, size=int(random.integers(1, 40))).tobytes()
        try:
            load(b"\x80\x04" + body + b".")
        except CheckpointError as error:
            assert str(error).startswith("x.pkl: ")


def _zip(folder, data):
    path = folder / "template.pt"
    torch_pt.write(path, {"w": np.zeros(2, np.float32)})
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, data if name.endswith("data.pkl") else content)
    return buffer.getvalue()


def _legacy(data):
    start = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return start + pickle.dumps(info, 2) + data + pickle.dumps([], 2) + struct.pack("<q", 0)
