"""Damaged files of every format: one CheckpointError that names the file, never anything else.

Where nothing is checksummed, damage may also go unnoticed and yield arrays.
"""

import zipfile

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import _torch_legacy as torch_legacy
from convert.formats import flax_pickle, safetensors, tf1_checkpoint, torch_pt

# What a damaged protocol-0 string makes Python's parser say.
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")


def _nested(write):
    """A Flax checkpoint's names are nested."""
    return lambda path, arrays: write(path, {f"params:{name}": a for name, a in arrays.items()})


ROUNDS = 400
ARRAYS = {
    "conv/w": np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5).transpose(2, 0, 1),
    "conv/b": np.arange(7, dtype=np.float32),
    "step": np.array(12345, np.int64),
}
# What is damaged, and the format that reads it.
CASES = {
    "index": (tf1_checkpoint, tf1_checkpoint.write, "m.index"),
    "data": (tf1_checkpoint, tf1_checkpoint.write, "m.data-00000-of-00001"),
    "zip": (torch_pt, torch_pt.write, "m"),
    "legacy": (torch_pt, torch_pt.write_legacy, "m"),
    "safetensors": (safetensors, safetensors.write, "m"),
    "flax": (flax_pickle, _nested(flax_pickle.write), "m"),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """Name, module, the path to read, the file to damage and its content."""
    module, write, name = CASES[request.param]
    write(tmp_path / "m", ARRAYS)
    return request.param, module, tmp_path / "m", tmp_path / name, (tmp_path / name).read_bytes()


def damage(data, random):
    """One random kind of damage."""
    out = bytearray(data)
    at, size = int(random.integers(len(data))), int(random.integers(1, 40))
    other = int(random.integers(len(data)))
    kind = random.integers(7)
    if kind == 0:
        del out[at:]
    elif kind == 1:
        out[at] ^= 1 << int(random.integers(8))
    elif kind == 2:
        out[at] = int(random.integers(256))
    elif kind == 3:
        out[at:at] = random.bytes(size)
    elif kind == 4:
        del out[at : at + size]
    elif kind == 5:
        out[at : at + size] = random.bytes(size)
    else:
        out[at : at + size], out[other : other + size] = (
            out[other : other + size],
            out[at : at + size],
        )
    return bytes(out)


def outcome(module, path):
    """The arrays, or None when the file is refused; fails on anything else."""
    module.recognises(path)  # never raises
    try:
        got = module.read(path)
    except CheckpointError as error:
        assert str(error).startswith(str(path)), str(error)
        assert len(str(error)) < 2000
        return None
    assert all(type(name) is str and isinstance(array, np.ndarray) for name, array in got.items())
    return {name: array.copy() for name, array in got.items()}


def is_original(got):
    return sorted(got) == sorted(ARRAYS) and all(
        got[name].dtype == array.dtype and np.array_equal(got[name], array)
        for name, array in ARRAYS.items()
    )


def test_random_damage(case):
    name, module, path, file, data = case
    random = np.random.default_rng([1, *name.encode()])
    refused = 0
    for _ in range(ROUNDS):
        file.write_bytes(damage(data, random))
        got = outcome(module, path)
        refused += got is None
        # With checksums, damage may hit padding but never a value.
        if name in ("index", "data", "zip") and got is not None:
            assert is_original(got)
    assert refused > ROUNDS // 4


def test_every_truncation(case):
    _, module, path, file, data = case
    for size in range(len(data)):
        file.write_bytes(data[:size])
        assert outcome(module, path) is None, size


@pytest.mark.parametrize("case", ["index", "data"], indirect=True)
def test_every_bit_of_a_bundle(case):
    _, module, path, file, data = case
    for bit in range(8 * len(data)):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        assert outcome(module, path) is None, bit


@pytest.mark.parametrize("case", ["zip", "safetensors"], indirect=True)
def test_every_bit_of_the_tensors(case):
    _, module, path, file, data = case
    for array in ARRAYS.values():
        raw = np.ascontiguousarray(array).tobytes()
        assert data.count(raw) == 1
        start = data.index(raw)
        for bit in range(8 * start, 8 * (start + len(raw))):
            bad = bytearray(data)
            bad[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bad)
            assert outcome(module, path) is None, bit


@pytest.mark.parametrize("case", ["zip", "legacy", "safetensors", "flax"], indirect=True)
def test_every_bit_of_the_rest(case):
    """Headers and pickles: refused or harmless, for each single bit."""
    _, module, path, file, data = case
    for bit in range(0, 8 * len(data), 3):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        outcome(module, path)


@pytest.mark.parametrize("case", ["zip"], indirect=True)
def test_damaged_archive_is_never_read_wrongly(case):
    _, module, path, file, data = case
    with zipfile.ZipFile(path) as archive:
        pickle_bytes = archive.read("archive/data.pkl")
    start = data.index(pickle_bytes)
    for at in range(start, start + len(pickle_bytes)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        file.write_bytes(bad)
        assert outcome(module, path) is None, at


def test_legacy_magic_is_what_is_written(tmp_path):
    torch_pt.write_legacy(tmp_path / "m", ARRAYS)
    assert torch_legacy.recognises(tmp_path / "m")
