"""`python -m convert` and `python -m convert.inspect` as people call them."""

import subprocess
import sys

import numpy as np
import pytest

from common import arch
from convert import formats, hub
from parity_tests import randomise

NET = arch.inception_i3d(7, 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    hub.write(hub.Weights(NET, randomise.arrays(NET)), path, to="hassony2")
    return path


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_convert_says_what_it_did(checkpoint, tmp_path):
    target = tmp_path / "flow.ckpt"
    done = _run("convert", f"--input={checkpoint}", f"--output={target}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"torch_pt (hassony2) -> {target}: tf1_checkpoint (kinetics_i3d)",
        "inception_i3d, 7 classes, flow: 230 arrays, 12,279,767 numbers, read back and found equal",
    ]
    native = formats.detect(target).read(target)
    assert native["Flow/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b"].shape == (7,)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--input is missing"),
        (["--input=nowhere.pt", "--output=x.pt"], "Received: 'nowhere.pt'"),
        (["--input={checkpoint}", "--output={tmp}/x.h5"], ".safetensors"),
        (["--input={checkpoint}", "--output={checkpoint}"], "is what is read"),
        (["--input={checkpoint}", "--output={tmp}/x.pt", "--to=theano"], "theano"),
        (["--input={garbage}", "--output={tmp}/x.pt"], "garbage.pt"),
    ],
)
def test_a_wrong_call_ends_with_the_reason_and_writes_nothing(checkpoint, tmp_path, flags, message):
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"no checkpoint at all")
    filled = [flag.format(checkpoint=checkpoint, tmp=tmp_path, garbage=garbage) for flag in flags]
    done = _run("convert", *filled)
    assert done.returncode == 1
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [garbage]


def test_inspect_lists_arrays_and_says_what_they_are(checkpoint):
    done = _run("convert.inspect", checkpoint)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "conv3d_1a_7x7.conv3d.weight float32 [64, 2, 7, 7, 7]" in lines
    assert lines[-6:] == [
        "format: torch_pt",
        "dialect: hassony2",
        "architecture: inception_i3d",
        "classes: 7",
        "stream: flow",
        "parameters: 12,265,207 trainable, 12,279,767 in all",
    ]


def test_inspect_lists_a_file_of_no_known_network_too(tmp_path):
    path = tmp_path / "other.safetensors"
    formats.for_output(path).write(path, {"some.weight": np.zeros((2, 3), np.float32)})
    done = _run("convert.inspect", path)
    assert done.returncode == 1
    assert done.stdout.split() == ["some.weight", "float32", "[2,", "3]"]
    assert "no dialect of a known network has these names: some.weight" in done.stderr


def test_inspect_shows_names_and_does_not_obey_them(tmp_path):
    path = tmp_path / "other.safetensors"
    names = {
        "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
        "line\nclasses: 400": r"line\nclasses: 400     ",  # as wide as the first
        "größe.权重": "größe.权重               ",
    }
    formats.for_output(path).write(path, {name: np.zeros(3, np.float32) for name in names})
    done = _run("convert.inspect", path)
    assert done.returncode == 1
    assert done.stdout == "".join(f"{shown}  float32  [3]\n" for shown in names.values()) + "\n"
    (line,) = done.stderr.splitlines()
    assert line.isprintable() and r"\x1b[2J" in line and "größe.权重" in line
