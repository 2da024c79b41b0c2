"""Files of features: every format, ours and others', the sidecar, and files that mean harm."""

import json
import pickle
import sys
import zipfile

import numpy as np
import pytest

from common.features import outputs
from common.features.outputs import Rows
from common.features.settings import FORMATS
from common.io import CheckpointError


def arrays(**counts):
    """Of individuals, with so many rows each; [N, 4], and from the second on [N, 10, 4]."""
    random = np.random.default_rng(3)
    shapes = [(count, 10, 4)[:: 1 if k else 2] for k, count in enumerate(counts.values())]
    return {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in zip(counts, shapes, strict=True)
    }


def rows(array):
    spans = 8 * np.arange(len(array))[:, None] + np.array([0, 64])
    return Rows(array, spans)


@pytest.fixture(params=FORMATS)
def suffix(request):
    if request.param == "h5":
        pytest.importorskip("h5py")
    return FORMATS[request.param]


def object_file(path, pickled):
    """A .npy of Python objects with any pickle."""
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)


def test_rows_must_be_finite():
    with pytest.raises(ValueError, match="not finite"):
        rows(np.array([[1, np.inf]], np.float32))


@pytest.mark.parametrize(
    "given", [arrays(**{"": 0}), arrays(**{"": 5}), arrays(**{"7": 3, "Зебра 2": 2, "a/b.npy": 1})]
)
def test_what_is_written_comes_back_and_has_the_same_bytes(tmp_path, suffix, given):
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    outputs.write(one, given, tracked=len(given) > 1)
    got = outputs.read(one)
    single = "" if suffix == ".npy" else "features"
    assert sorted(got) == (sorted(given) if len(given) > 1 else [single])
    for name, array in given.items():
        np.testing.assert_array_equal(got[name or single], array, strict=True)
    other = {name: np.asfortranarray(array.copy()) for name, array in given.items()}
    outputs.write(two, other, tracked=len(given) > 1)
    assert one.read_bytes() == two.read_bytes()
    assert {*tmp_path.iterdir()} == {one, two}


def test_numpy_and_h5py_open_our_arrays(tmp_path):
    given = arrays(**{"7": 3, "file": 2})
    for suffix in (".npy", ".npz"):
        outputs.write(tmp_path / f"t{suffix}", given, tracked=True)
    box = np.load(tmp_path / "t.npy", allow_pickle=True)
    assert box.shape == () and type(box.item()) is dict
    for got in (box.item(), np.load(tmp_path / "t.npz")):
        assert list(got) == ["7", "file"]
        for name, array in given.items():
            np.testing.assert_array_equal(got[name], array, strict=True)
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    h5py = pytest.importorskip("h5py")
    outputs.write(tmp_path / "v.h5", arrays(**{"": 2}), tracked=False)
    with h5py.File(tmp_path / "v.h5") as file:
        assert file["features"].dtype == "<f4"
        assert h5py.h5g.get_objinfo(file["features"].id).mtime == 0


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/.", "a\0b"])
def test_a_name_that_a_format_cannot_hold_is_an_error(tmp_path, suffix, name):
    with pytest.raises(ValueError, match=f"{suffix} cannot hold .*; choose npy or safetensors"):
        outputs.write(tmp_path / f"t{suffix}", arrays(**{name: 2}), tracked=True)
    for other in (".npy", ".safetensors"):
        outputs.write(tmp_path / f"t{other}", arrays(**{name: 2}), tracked=True)
        assert list(outputs.read(tmp_path / f"t{other}")) == [name]


def test_the_sidecar_says_what_rows_mean(tmp_path):
    found = {name: rows(array) for name, array in arrays(a=2, b=1).items()}
    path, record = tmp_path / "v.json", {"mode": "segment"}
    outputs.write_sidecar(path, {"rgb": found, "flow": {"c": found["a"]}}, record, 25.0, 1.5)
    got = json.loads(path.read_text())
    assert list(got) == ["mode", "arrays"]
    assert [*got["arrays"]["rgb"], *got["arrays"]["flow"]] == ["a", "b", "c"]
    assert got["arrays"]["rgb"]["a"] == {
        "shape": [2, 4],
        "fps": 25.0,
        "first": [0, 8],
        "last": [64, 72],
        "start": [1.5, 1.82],
        "center": [2.78, 3.1],
        "end": [4.06, 4.38],
    }
    outputs.write_sidecar(path, {"rgb": found}, {}, None)
    unknown = json.loads(path.read_text())["arrays"]["rgb"]["b"]
    assert unknown == {
        "shape": [1, 10, 4], "first": [0], "last": [64],
        **dict.fromkeys(("fps", "start", "center", "end")),
    }  # fmt: skip


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"HDF5 needs h5py.*'\.\[hdf5\]'"):
        outputs.write(tmp_path / "v.h5", arrays(**{"": 2}), tracked=False)
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ImportError, match="HDF5 needs h5py"):
        outputs.read(tmp_path / "w.h5")


def test_reads_what_others_write(tmp_path):
    long = np.arange(12, dtype=np.float64).reshape(1, 3, 1, 1, 4)
    np.save(tmp_path / "a.npy", long)
    np.testing.assert_array_equal(outputs.read(tmp_path / "a.npy")[""], long, strict=True)
    np.savez_compressed(tmp_path / "b.npz", rgb=long, fps=np.array(25), names=np.array(["x"]))
    (tmp_path / "b.npz").rename(tmp_path / "b.features")  # its content says what it is
    got = outputs.read(tmp_path / "b.features")
    assert list(got) == ["rgb", "fps", "names"] and got["fps"] == 25
    np.testing.assert_array_equal(got["rgb"], long, strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_dictionaries_of_others(tmp_path, protocol):
    one, two = np.ones((2, 4), np.float32), np.arange(6.0).reshape(3, 2).T
    tree = {1: one, np.int64(2): two, "min_frames": {1: 8, np.int64(2): np.int64(9)}}
    object_file(tmp_path / "t.npy", pickle.dumps(np.array(tree, object), protocol))
    got = outputs.read(tmp_path / "t.npy")
    assert list(got) == ["1", "2", "min_frames:1", "min_frames:2"]
    np.testing.assert_array_equal(got["1"], one, strict=True)
    np.testing.assert_array_equal(got["2"], two, strict=True)
    assert (got["min_frames:1"], got["min_frames:2"]) == (8, 9)


def malicious(sentinel):
    """Pickles that make a file when they are executed."""
    argument = b"X" + len(f"touch {sentinel}").to_bytes(4, "little") + f"touch {sentinel}".encode()
    call = b"cposix\nsystem\n(" + argument + b"tR"
    around = pickle.dumps(np.array({"a": "HERE"}, object), 2)
    return {
        "alone": b"\x80\x04" + call + b".",
        "in the dictionary": around.replace(b"X\x04\x00\x00\x00HEREq", call + b"q"),
        "numpy's own": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(" + argument + b"}tR.",
    }


@pytest.mark.parametrize("kind", malicious(""))
def test_nothing_is_executed(tmp_path, kind):
    sentinel, path = tmp_path / "executed", tmp_path / "t.npy"
    object_file(path, malicious(sentinel)[kind])
    with pytest.raises(CheckpointError, match=f"^{path}: refused to load"):
        outputs.read(path)
    assert not sentinel.exists()
    if kind != "numpy's own":
        np.load(path, allow_pickle=True)
        assert sentinel.exists()  # or this would prove nothing


def boxed(tree):
    return pickle.dumps(np.array(tree, object), 4)


@pytest.mark.parametrize(
    ("pickled", "text"),
    [
        (pickle.dumps({"a": np.ones(2)}, 4), "holds Python objects; expected a dictionary"),
        (pickle.dumps(np.ones(2), 4), "holds Python objects"),
        (boxed([np.ones(2)]), "holds Python objects"),
        (boxed({"a": "text"}), "a is a str; expected an array"),
        (boxed({"a": np.array([{}], object)}), "a: an array of dtype 'O8'"),
        (boxed({"1": np.ones(2), 1: np.ones(2)}), "1 stands twice"),
        (boxed({}), "holds no array"),
        (boxed({"a": np.ones(2)}) + b"more", "4 bytes follow the end"),
        (boxed({"a": np.ones(2)})[:-3], "not a well-formed pickle"),
    ],
)
def test_other_objects_are_no_features(tmp_path, pickled, text):
    object_file(tmp_path / "t.npy", pickled)
    with pytest.raises(ValueError, match=f"^{tmp_path / 't.npy'}: .*{text}"):
        outputs.read(tmp_path / "t.npy")


def test_damaged_and_other_files_are_named(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=r"no\.npy: there is no such file"):
        outputs.read(tmp_path / "no.npy")
    path = tmp_path / f"a{suffix}"
    outputs.write(path, arrays(**{"": 3}), tracked=False)
    whole = path.read_bytes()
    contents = [b"", b"text", b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n" + bytes(100)]
    for content in (*contents, whole[: len(whole) - 20]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path}: "):
            outputs.read(path)


def test_objects_and_broken_headers_in_a_zip_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array({"a": 1}, object))
    with pytest.raises(ValueError, match=r"a\.npz: Object arrays cannot be loaded"):
        outputs.read(tmp_path / "a.npz")
    for header in (b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((", b"\x93NUMPY\x09\x00", b"none"):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("a.npy", header)
        with pytest.raises(ValueError, match=r"a\.npz: "):
            outputs.read(tmp_path / "a.npz")


def test_small_files_of_huge_arrays_are_refused(tmp_path):
    """Before memory is taken for them."""
    np.savez_compressed(tmp_path / "a.npz", a=np.broadcast_to(np.uint8(0), 300 << 20))
    with pytest.raises(ValueError, match=r"a\.npz: declares arrays of 314,\d+,\d+ bytes in a file"):
        outputs.read(tmp_path / "a.npz")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (1 << 40,), "u1", chunks=(1 << 20,))
    with pytest.raises(ValueError, match=r"a\.h5: declares arrays of 1,099,511,627,776 bytes"):
        outputs.read(tmp_path / "a.h5")


def test_hdf5_reads_no_other_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(b"0123456789")
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["a"] = np.ones(3)
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "a", (3,))
    places = [(str(tmp_path / "secret"), 0, 10)]
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("a", (10,), "u1", external=places)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["a"] = h5py.ExternalLink("source.h5", "a")
    for name in ("external", "virtual", "link"):
        expected = "holds no array" if name == "link" else "a is kept in another file"
        with pytest.raises(ValueError, match=f"{name}.h5: {expected}"):
            outputs.read(tmp_path / f"{name}.h5")
