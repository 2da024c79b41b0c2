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

TOGETHER = [name for name in FORMATS if name != "h5"]
RECORD = {"mode": "segment", "weights": {"a.pt": "sha256 00"}}


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


def object_file(path, pickled, shape=()):
    """A .npy of Python objects with any pickle."""
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_must_be_finite(bad):
    with pytest.raises(ValueError, match="not finite"):
        rows(np.array([[1, bad]], np.float32))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_one_array_comes_back(tmp_path, suffix, count):
    path = tmp_path / f"v{suffix}"
    given = arrays(**{"": count})
    outputs.write(path, given, RECORD, tracked=False)
    got = outputs.read(path)
    assert list(got) == ["" if suffix == ".npy" else "features"]
    np.testing.assert_array_equal(*got.values(), given[""], strict=True)
    assert [*tmp_path.iterdir()] == [path]


def test_individuals_come_back(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    given = arrays(**{"7": 3, "Зебра 2": 2, "a/b.npy": 1})
    outputs.write(path, given, RECORD, tracked=True)
    got = outputs.read(path)
    assert sorted(got) == sorted(given)
    for name, array in given.items():
        np.testing.assert_array_equal(got[name], array, strict=True)


def test_numpy_opens_our_arrays(tmp_path):
    given = arrays(**{"7": 3, "file": 2})
    for suffix in (".npy", ".npz"):
        outputs.write(tmp_path / f"t{suffix}", given, RECORD, tracked=True)
        outputs.write(tmp_path / f"u{suffix}", arrays(**{"": 3}), RECORD, tracked=False)
    plain = np.load(tmp_path / "u.npy")
    np.testing.assert_array_equal(plain, given["7"], strict=True)
    np.testing.assert_array_equal(np.load(tmp_path / "u.npz")["features"], plain, strict=True)
    box = np.load(tmp_path / "t.npy", allow_pickle=True)
    assert box.shape == () and type(box.item()) is dict
    for got in (box.item(), np.load(tmp_path / "t.npz")):
        assert list(got) == ["7", "file"]
        for name, array in given.items():
            np.testing.assert_array_equal(got[name], array, strict=True)
            assert got[name].flags.writeable or got is not box.item()


@pytest.mark.parametrize("tracked", [False, True])
def test_the_same_features_give_the_same_bytes(tmp_path, suffix, tracked):
    given = arrays(**{"a": 3, "b": 2} if tracked else {"": 3})
    other = {name: np.asfortranarray(array.copy()) for name, array in given.items()}
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    outputs.write(one, given, RECORD, tracked)
    outputs.write(two, other, RECORD, tracked)
    assert one.read_bytes() == two.read_bytes()
    if suffix == ".npz":
        with zipfile.ZipFile(one) as archive:
            entries = archive.infolist()
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert [entry.filename for entry in entries] == (
            ["a.npy", "b.npy"] if tracked else ["features.npy"]
        )


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/.", "a\0b"])
def test_a_name_that_a_format_cannot_hold_is_an_error(tmp_path, suffix, name):
    with pytest.raises(ValueError, match=f"{suffix} cannot hold .*; choose npy or safetensors"):
        outputs.write(tmp_path / f"t{suffix}", arrays(**{name: 2}), RECORD, tracked=True)
    for other in (".npy", ".safetensors"):
        path = tmp_path / f"t{other}"
        outputs.write(path, arrays(**{name: 2}), RECORD, tracked=True)
        assert list(outputs.read(path)) == [name]


def test_the_sidecar_says_what_rows_mean(tmp_path):
    found = {name: rows(array) for name, array in arrays(a=2, b=1).items()}
    path = tmp_path / "v.json"
    outputs.write_sidecar(path, {"rgb": found, "flow": {"c": found["a"]}}, RECORD, 25.0, 1.5)
    got = json.loads(path.read_text())
    assert list(got) == ["mode", "weights", "arrays"] and got["weights"] == RECORD["weights"]
    assert {stream: [*named] for stream, named in got["arrays"].items()} == {
        "rgb": ["a", "b"],
        "flow": ["c"],
    }
    assert got["arrays"]["rgb"]["a"] == {
        "shape": [2, 4],
        "fps": 25.0,
        "first": [0, 8],
        "last": [64, 72],
        "start": [1.5, 1.82],
        "center": [2.78, 3.1],
        "end": [4.06, 4.38],
    }
    assert got["arrays"]["rgb"]["b"]["shape"] == [1, 10, 4]
    outputs.write_sidecar(path, {"rgb": found}, {}, None)
    unknown = json.loads(path.read_text())["arrays"]["rgb"]["a"]
    assert [unknown[key] for key in ("fps", "start", "center", "end")] == [None] * 4
    assert unknown["last"] == [64, 72]


def test_hdf5_holds_its_record(tmp_path):
    h5py = pytest.importorskip("h5py")
    outputs.write(tmp_path / "v.h5", arrays(**{"": 2}), RECORD, tracked=False)
    with h5py.File(tmp_path / "v.h5") as file:
        assert json.loads(file.attrs["record"]) == RECORD
        assert file["features"].dtype == "<f4"
        assert h5py.h5g.get_objinfo(file["features"].id).mtime == 0


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"HDF5 needs h5py.*'\.\[hdf5\]'"):
        outputs.write(tmp_path / "v.h5", arrays(**{"": 2}), RECORD, tracked=False)
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ImportError, match="HDF5 needs h5py"):
        outputs.read(tmp_path / "w.h5")


def test_reads_what_others_write(tmp_path):
    long = np.arange(12, dtype=np.float64).reshape(1, 3, 1, 1, 4)
    np.save(tmp_path / "a.npy", long)
    np.testing.assert_array_equal(outputs.read(tmp_path / "a.npy")[""], long, strict=True)
    np.savez_compressed(tmp_path / "b.npz", rgb=long, fps=np.array(25), names=np.array(["x"]))
    got = outputs.read(tmp_path / "b.npz")
    assert list(got) == ["rgb", "fps", "names"] and got["fps"] == 25
    np.testing.assert_array_equal(got["rgb"], long, strict=True)
    (tmp_path / "b.npz").rename(tmp_path / "b.features")  # its content says what it is
    assert list(outputs.read(tmp_path / "b.features")) == ["rgb", "fps", "names"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_dictionaries_of_others(tmp_path, protocol):
    one, two = np.ones((2, 4), np.float32), np.arange(6.0).reshape(3, 2).T
    tree = {1: one, np.int64(2): two, "min_frames": {1: 8, np.int64(2): np.int64(9)}}
    box = np.array(tree, object)
    object_file(tmp_path / "t.npy", pickle.dumps(box, protocol))
    if protocol == 4:
        np.save(tmp_path / "s.npy", box)
        assert (tmp_path / "s.npy").read_bytes() == (tmp_path / "t.npy").read_bytes()
    got = outputs.read(tmp_path / "t.npy")
    assert list(got) == ["1", "2", "min_frames:1", "min_frames:2"]
    np.testing.assert_array_equal(got["1"], one, strict=True)
    np.testing.assert_array_equal(got["2"], two, strict=True)
    assert (got["min_frames:1"], got["min_frames:2"]) == (8, 9)


def malicious(sentinel):
    """Pickles that make a file when they are executed."""
    argument = b"X" + len(f"touch {sentinel}").to_bytes(4, "little") + f"touch {sentinel}".encode()
    call = b"cposix\nsystem\n(" + argument + b"tR"
    box = np.array({"a": "HERE"}, object)
    around = pickle.dumps(box, 2).replace(b"X\x04\x00\x00\x00HEREq", call + b"q")
    return {
        "alone": b"\x80\x04" + call + b".",
        "in the dictionary": around,
        "a class": b"\x80\x02csubprocess\nPopen\n(" + argument + b"t\x81.",
        "numpy's own": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(" + argument + b"}tR.",
    }


@pytest.mark.parametrize("kind", malicious(""))
def test_nothing_is_executed(tmp_path, kind):
    sentinel = tmp_path / "executed"
    path = tmp_path / "t.npy"
    object_file(path, malicious(sentinel)[kind])
    with pytest.raises(CheckpointError, match="refused to load") as caught:
        outputs.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", ["alone", "in the dictionary"])
def test_the_files_do_execute_elsewhere(tmp_path, kind):
    """Otherwise the test above would prove nothing."""
    sentinel = tmp_path / "executed"
    object_file(tmp_path / "t.npy", malicious(sentinel)[kind])
    np.load(tmp_path / "t.npy", allow_pickle=True)
    assert sentinel.exists()


def boxed(tree):
    return pickle.dumps(np.array(tree, object), 4)


@pytest.mark.parametrize(
    ("pickled", "text"),
    [
        (pickle.dumps({"a": np.ones(2)}, 4), "holds Python objects; expected a dictionary"),
        (pickle.dumps(np.ones(2), 4), "holds Python objects"),
        (boxed([np.ones(2)]), "holds Python objects"),
        (pickle.dumps(np.array([{}, {}], object), 4), "holds Python objects"),
        (boxed({"a": "text"}), "a is a str; expected an array"),
        (boxed({"a": [1.0]}), "a is a list; expected an array"),
        (boxed({"a": np.array([{}], object)}), "a: an array of dtype 'O8'"),
        (boxed({"1": np.ones(2), 1: np.ones(2)}), "1 stands twice"),
        (boxed({}), "holds no array"),
        (boxed({"a": np.ones(2)}) + b"more", "4 bytes follow the end"),
        (boxed({"a": np.ones(2)})[:-3], "not a well-formed pickle"),
    ],
)
def test_other_objects_are_no_features(tmp_path, pickled, text):
    object_file(tmp_path / "t.npy", pickled)
    with pytest.raises(ValueError, match=text) as caught:
        outputs.read(tmp_path / "t.npy")
    assert str(caught.value).startswith(f"{tmp_path / 't.npy'}: ")


def test_objects_in_a_zip_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array({"a": 1}, object))
    with pytest.raises(ValueError, match=r"a\.npz: Object arrays cannot be loaded"):
        outputs.read(tmp_path / "a.npz")


def test_damaged_and_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.npy: there is no such file"):
        outputs.read(tmp_path / "no.npy")
    path = tmp_path / "a.npy"
    for content in (b"", b"text", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path}: "):
            outputs.read(path)
    for suffix in (FORMATS[name] for name in TOGETHER):
        outputs.write(path.with_suffix(suffix), arrays(**{"": 3}), RECORD, tracked=False)
        whole = path.with_suffix(suffix).read_bytes()
        path.write_bytes(whole[: len(whole) - 20])
        with pytest.raises(ValueError, match=f"^{path}: "):
            outputs.read(path)


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
    for name in ("external", "virtual"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            if name == "external":
                place = [(str(tmp_path / "secret"), 0, 10)]
                file.create_dataset("a", (10,), "u1", external=place)
            else:
                layout = h5py.VirtualLayout((3,), "f8")
                layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "a", (3,))
                file.create_virtual_dataset("a", layout)
        with pytest.raises(ValueError, match=f"{name}.h5: a is kept in another file"):
            outputs.read(tmp_path / f"{name}.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["a"] = h5py.ExternalLink("source.h5", "a")
    with pytest.raises(ValueError, match=r"link\.h5: holds no array"):
        outputs.read(tmp_path / "link.h5")


def test_a_broken_header_in_a_zip_is_named(tmp_path):
    for header in (b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((", b"\x93NUMPY\x09\x00", b"none"):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("a.npy", header)
        with pytest.raises(ValueError, match=r"a\.npz: "):
            outputs.read(tmp_path / "a.npz")


def test_damaged_hdf5_is_named(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match=f"^{path}: "):
        outputs.read(path)
