"""Choosing a format, and what holds for every one of them."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, detect, for_output
from convert.formats._mapped_file import one_error

OUTPUTS = {
    "tf1_checkpoint": "m.ckpt",
    "tf2_checkpoint": "m.tf2.ckpt",
    "torch_pt": "m.pt",
    "safetensors": "m.safetensors",
    "caffe2_pkl": "m.pkl",
    "flax_pickle": "m.flax.pickle",
    "flax_msgpack": "m.msgpack",
    "mindspore_ckpt": "m.ms.ckpt",
}
WRITTEN = [name for name, module in FORMATS.items() if module.SUFFIXES]
SORTED = ("tf1_checkpoint", "tf2_checkpoint")


@pytest.fixture
def arrays(request, arrays):
    """Those of every format, under nested names where a format wants them."""
    if request.node.callspec.params.get("name") == "flax_pickle":
        return {f"params:{name}": array for name, array in arrays.items()}
    return arrays


def test_every_format_can_be_written_or_says_that_it_cannot():
    assert set(OUTPUTS) == set(WRITTEN)
    for name, module in FORMATS.items():
        assert hasattr(module, "write") == (name in WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_round_trip_is_detected(name, tmp_path, arrays, same):
    path = tmp_path / OUTPUTS[name]
    module = for_output(path)
    assert name == module.NAME
    module.write(path, arrays)
    assert detect(path) is module
    assert [m.NAME for m in FORMATS.values() if m.recognises(path)] == [name]
    same(module.read(path), arrays)
    assert sorted(module.files(path)) == sorted(tmp_path.iterdir())  # and no temporary file


@pytest.mark.parametrize("name", WRITTEN)
def test_same_arrays_give_same_bytes(name, tmp_path, arrays):
    for folder in ("one", "two"):
        FORMATS[name].write(tmp_path / folder / "m.ckpt", arrays)
    first, second = (
        [file.read_bytes() for file in sorted((tmp_path / folder).iterdir())]
        for folder in ("one", "two")
    )
    assert first == second


@pytest.mark.parametrize("name", WRITTEN)
def test_stored_order(name, tmp_path, arrays):
    path = tmp_path / "m.ckpt"
    FORMATS[name].write(path, arrays)
    expected = sorted(arrays) if name in SORTED else list(arrays)
    assert list(FORMATS[name].read(path)) == expected


@pytest.mark.parametrize("name", WRITTEN)
def test_a_failed_write_leaves_the_old_file(name, tmp_path, arrays):
    path = tmp_path / "m.ckpt"
    FORMATS[name].write(path, arrays)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"words.* has dtype"):
        FORMATS[name].write(path, {**arrays, "words": np.array(["a"])})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", WRITTEN)
def test_overwriting_what_was_read(name, tmp_path, same):
    """Arrays are views of the old file, which must stay readable while it is replaced."""
    path = tmp_path / "m.ckpt"
    FORMATS[name].write(path, {"x:a": np.arange(1000.0), "x:b": np.arange(5)})
    got = FORMATS[name].read(path)
    FORMATS[name].write(path, {"x:a": got["x:b"], "x:b": got["x:a"]})
    same(FORMATS[name].read(path), {"x:a": np.arange(5), "x:b": np.arange(1000.0)})
    same(got, {"x:a": np.arange(1000.0), "x:b": np.arange(5)})


def test_a_flat_pickle_is_no_flax_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"nested names.*not 'conv/w'"):
        FORMATS["flax_pickle"].write(tmp_path / "m.pickle", {"conv/w": np.zeros(3)})


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.pt: no such file"):
        detect(tmp_path / "x.pt")


def test_empty_file(tmp_path):
    path = tmp_path / "x.pt"
    path.touch()
    with pytest.raises(CheckpointError, match=rf"^{path}: the file is empty"):
        detect(path)


@pytest.mark.parametrize("name", FORMATS)
def test_reading_a_folder(name, tmp_path):
    path = tmp_path / "m.ckpt"
    path.mkdir()
    with pytest.raises((CheckpointError, IsADirectoryError)) as caught:
        FORMATS[name].read(path)
    assert str(path) in str(caught.value)
    assert "damaged" not in str(caught.value) and "malformed" not in str(caught.value)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_may_not_be_read(name, tmp_path, arrays):
    path = tmp_path / OUTPUTS[name]
    FORMATS[name].write(path, arrays)
    for file in tmp_path.iterdir():
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("this user may read everything")
    for read in (FORMATS[name].read, lambda path: detect(path).read(path)):
        with pytest.raises(PermissionError, match=re.escape(str(path))):
            read(path)


def test_unknown_content(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"not found: nothing")
    with pytest.raises(CheckpointError) as caught:
        detect(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: no known checkpoint format")
    assert ", ".join(FORMATS) in text
    assert "6e 6f 74 20" in text
    assert "b'not found: no" in text


def test_folder_without_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=rf"^{tmp_path}: a folder without"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.pt", "torch_pt"),
        ("A.PTH", "torch_pt"),
        ("model.ckpt", "tf1_checkpoint"),
        ("model.ckpt.index", "tf1_checkpoint"),
        ("i3d.ckpt.pickle", "flax_pickle"),
        ("a.safetensors", "safetensors"),
        ("i3d.pkl", "caffe2_pkl"),
        ("i3d.tf2.ckpt", "tf2_checkpoint"),
        ("i3d.mindspore.ckpt", "mindspore_ckpt"),
    ],
)
def test_ending_chooses_the_format(name, format_name):
    assert format_name == for_output(name).NAME


def test_unknown_ending():
    with pytest.raises(ValueError, match=r"out\.bin: the ending .* \.ckpt, .*\.safetensors"):
        for_output("out.bin")


def test_import_is_cheap():
    code = (
        "import sys, convert.formats;"
        "heavy = {'tensorflow', 'torch', 'jax', 'ml_dtypes', 'safetensors'};"
        "print(*sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page, not the file itself"),
        (b"\x1f\x8b\x08\x00nothing", "compressed with gzip"),
        (b"PK\3\4\x14\x00nothing much", "a ZIP archive, but not PyTorch's"),
    ],
)
def test_what_people_get_in_place_of_a_checkpoint_is_named(tmp_path, content, text):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=text):
        detect(path)


def test_a_full_disk_is_not_a_malformed_file(tmp_path):
    with pytest.raises(OSError, match="No space left"), one_error(tmp_path / "model.pt"):
        raise OSError(errno.ENOSPC, "No space left on device")
