"""The restricted unpickler and hostile pickles: one CheckpointError, nothing is executed."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _pickle_writer as pickled
from convert.formats import _unpickler, flax_pickle, torch_pt
from convert.formats._numpy_pickle import NUMPY_GLOBALS
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
