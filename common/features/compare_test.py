"""Two files of features, held against each other, and files that are damaged or mean harm."""

import pickle
import sys

import numpy as np
import pytest

from common import command, io
from common.features.compare import MOST_SHIFT, Settings, agreement, compare, main, read


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def saved(folder, name, array):
    path = folder / name
    (np.savez(path, **array) if isinstance(array, dict) else np.save(path, array))
    return str(path)


def test_differences_are_measured():
    a = np.array([[3, 4], [1, 0], [0, -5]], np.float32)
    b = np.array([[6, 8], [0, 1], [0, -5.5]], np.float32)
    assert agreement(a, b[:, None]) == (  # axes of size 1 are dropped
        pytest.approx(2 / 3),
        "3 rows, mean cosine 0.666667, least 0.000000, largest difference 4 (largest value in A 5)",
    )
    a, b = random(5, 10, 8), random(5, 10, 8)
    b[3, 7] *= -1  # cosines are of each crop
    mean, text = agreement(a, b)
    assert mean == pytest.approx(1 - 2 / 50) and "least -1.000000" in text


@pytest.mark.parametrize("shift", [-3, 0, 2, MOST_SHIFT])
def test_the_shift_is_found(shift):
    whole = random(300, 8)
    mean, text = agreement(whole[64:264], whole[64 - shift : 264 - shift])
    assert (mean < 0.5) == (shift != 0)
    assert (f"row i of A and row i{shift:+d} of B: mean cosine 1.000000" in text) == (shift != 0)


def test_a_shift_leaves_half_of_the_rows_and_must_be_better():
    whole, a, b = random(60, 8), random(9, 8), random(9, 8, seed=1)
    assert "row i+7 of B" in agreement(whole[7:17], whole)[1]
    assert "row i-4 of B" in agreement(a, np.concatenate([a[4:], b[:4]]))[1]
    b[0] = a[8]  # one row alone fits
    assert "i-8" not in agreement(a, b)[1]
    turning = np.tile(np.eye(4), (10, 1))  # every fourth row is the same
    assert "row i" not in agreement(turning, turning)[1]
    assert "row i+1 of B" in agreement(turning, np.roll(turning, 1, axis=0))[1]


def test_what_cannot_be_compared_is_said():
    for a, b, text in (
        (random(5, 10, 8), random(5, 8), "rows of one size"),
        (np.array(["x"]), random(1), "expected finite numbers, got <U1"),
        (random(2), np.array([1, np.nan]), "expected finite numbers, got float64"),
    ):
        with pytest.raises(ValueError, match=text):
            agreement(a, b)


def test_individuals_are_compared_by_name_the_worst_first(tmp_path):
    a = {"7": random(5, 8), "8": random(6, 8, seed=1), "9": random(2, 8), "x": random(5, 8)}
    b = {np.int64(8): a["8"] * 2, 7: -a["7"], "\x1b[2J": a["9"], "x": random(5, 9), "min": {1: 2}}
    np.save(tmp_path / "b.npy", np.array(b, object))
    text, comparable = compare(saved(tmp_path, "a.npz", a), str(tmp_path / "b.npy"))
    assert not comparable
    lines = text.splitlines()
    assert lines[0].endswith("a.npz: arrays: 4")
    assert lines[2:4] == ["only in A: 9", r"only in B: \x1b[2J"]
    starts = ("x: [5, 8] and [5, 9]: exp", "7: [5, 8] and [5, 8]: 5 rows, mean cosine -1.0", "8: ")
    assert [line.startswith(start) for line, start in zip(lines[4:], starts, strict=True)]


def test_the_status_is_1_only_where_nothing_can_be_compared(tmp_path, capsys):
    whole = random(9, 5)
    a, b = saved(tmp_path, "a.npy", whole[3:]), saved(tmp_path, "b.npz", {"x": whole})
    c = saved(tmp_path, "c.npz", {"x": whole, "y": whole})
    assert command.call(main, Settings, [a, b]) == 0  # single ones, whatever their names
    shown = "; row i of A and row i+3 of B: mean cosine 1.000000\n"
    assert capsys.readouterr().out.endswith(shown)
    assert command.call(main, Settings, [a, c]) == 1
    assert "no array of A has the name of one of B" in capsys.readouterr().out
    assert command.call(main, Settings, [a, str(tmp_path / "no.npy")]) == 1
    assert "no.npy" in capsys.readouterr().err
    assert command.call(main, Settings, [a]) == 1


def object_file(path, pickled):
    """A .npy of Python objects with any pickle."""
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)
    return path


def boxed(tree, protocol=4):
    return pickle.dumps(np.array(tree, object), protocol)


def test_huge_arrays_in_small_files_and_other_files_are_not_read(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(io, "_MOST_BYTES", 0)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**20))
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("a", (2**30,), "f4", chunks=True)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("a", (4,), "f4", external="elsewhere.bin")
    for name, text in (("bomb.npz", "declares"), ("bomb.h5", "declares"), ("other.h5", "another")):
        with pytest.raises(ValueError, match=text):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["alone", "in the dictionary"])
def test_nothing_is_executed(tmp_path, kind):
    sentinel = tmp_path / "executed"
    argument = f"touch {sentinel}".encode()
    call = b"cposix\nsystem\n(X" + len(argument).to_bytes(4, "little") + argument + b"tR"
    inside = boxed({"a": "HERE"}, 2).replace(b"X\x04\x00\x00\x00HEREq", call + b"q")
    content = {"alone": b"\x80\x04" + call + b".", "in the dictionary": inside}[kind]
    path = object_file(tmp_path / "t.npy", content)
    with pytest.raises(ValueError, match=f"^{path}: .*refused to load"):
        read(path)
    assert not sentinel.exists()
    np.load(path, allow_pickle=True)
    assert sentinel.exists()  # or this would prove nothing


@pytest.mark.parametrize(
    ("pickled", "text"),
    [
        (boxed([np.ones(2)]), "expected an array, or a dictionary"),
        (boxed({"a": np.array([{}], object)}), "an array of dtype 'O8'"),
        (boxed({"a": "text"}), "holds no array"),
        (boxed({"a": np.ones(2)}) + b"more", "4 bytes follow the end"),
    ],
)
def test_other_objects_are_no_features(tmp_path, pickled, text):
    path = object_file(tmp_path / "t.npy", pickled)
    with pytest.raises(ValueError, match=f"^{path}: .*{text}"):
        read(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".h5"])
def test_damaged_files_are_named(tmp_path, suffix, monkeypatch):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"a{suffix}"
    for content in (b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path}: "):
            read(path)
    with pytest.raises(ValueError, match=r"a\.txt: expected features as \.npy, \.npz"):
        read(tmp_path / "a.txt")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"HDF5 needs h5py.*'\.\[hdf5\]'"):
        read(tmp_path / "v.h5")
