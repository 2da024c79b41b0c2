"""Choosing a format, by content and by ending."""

import errno
import subprocess
import sys

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import FORMATS, detect, for_output
from convert.formats._mapped_file import one_error


def test_a_flat_pickle_is_no_flax_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"nested names.*not 'conv/w'"):
        FORMATS["flax_pickle"].write(tmp_path / "m.pickle", {"conv/w": np.zeros(3)})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"not found: nothing", r"no known .*tf1_checkpoint, .*6e 6f 74 20.*\(b'not found: no"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page, not the file itself"),
        (b"\x1f\x8b\x08\x00nothing", "compressed with gzip"),
        (b"PK\3\4\x14\x00nothing much", "a ZIP archive, but not PyTorch's"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, text):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{path}: .*{text}"):
        detect(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.pt: no such file"):
        detect(tmp_path / "x.pt")
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
        "heavy = {'tensorflow', 'torch', 'jax', 'ml_dtypes'};"
        "print(*sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_full_disk_is_not_a_malformed_file(tmp_path):
    with pytest.raises(OSError, match="No space left"), one_error(tmp_path / "model.pt"):
        raise OSError(errno.ENOSPC, "No space left on device")
