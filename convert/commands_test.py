"""`python -m convert`, `convert.inspect` and `convert.compare` as people call them."""

import subprocess
import sys

import numpy as np
import pytest

import convert.__main__ as conversion
from common import arch, command
from common.io import CheckpointError
from convert import compare, formats, hub, inspect, verify
from convert.conftest import make_weights

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def call(capsys):
    """A function that calls a command in this process: its status and the lines it printed."""

    def call(module, *arguments):
        capsys.readouterr()
        status = command.call(module.main, module.Settings, [str(each) for each in arguments])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return call


@pytest.fixture
def convert(call):
    """A function that converts, which has to succeed, and returns the lines it printed."""

    def convert(source, target, *flags):
        status, lines, errors = call(conversion, f"--input={source}", f"--output={target}", *flags)
        assert status == 0, errors
        return lines

    return convert


@pytest.fixture
def checkpoint(tmp_path):
    hub.write(make_weights("r2plus1d_18"), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_convert_says_what_it_did(tmp_path, convert):
    weights = make_weights("inception_i3d", 7, 2)
    source, target = tmp_path / "model.pt", tmp_path / "flow.ckpt"
    hub.write(weights, source, to="hassony2")
    assert convert(source, target) == [
        f"torch_pt (hassony2) -> {target}: tf1_checkpoint (kinetics_i3d)",
        f"inception_i3d, 7 classes, flow: 230 arrays, {weights.numbers:,} numbers, read back and"
        " found equal",
    ]
    native = formats.detect(target).read(target)
    assert native["Flow/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b"].shape == (7,)


def test_a_process_of_its_own(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no checkpoint at all")
    for module, arguments in {
        "convert": [f"--input={tmp_path}/a.pt", f"--output={tmp_path}/b.pt"],
    }.items():
        command_line = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command_line, capture_output=True, text=True, check=False)
        (error,) = done.stderr.splitlines()
        assert done.returncode == 1 and "a.pt: no known checkpoint format" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--input is missing"),
        (["--input=x.pt"], "--output is missing"),
        (["--input=x.pt", "--average=x.pt"], "--input or --average, not both"),
        (["--input=nowhere.pt", "--output=x.pt"], "Received: 'nowhere.pt'"),
        (["--input={checkpoint}", "--output={tmp}/x.h5"], ".safetensors"),
        (["--input={checkpoint}", "--output={tmp}/../{tmp.name}/model.pt"], "is what is read"),
        (["--input={checkpoint}", "--output={tmp}/x.pt", "--to=theano"], "theano"),
        (["--input={checkpoint}", "--output={tmp}/x.pt", "--format=mxnet_params"], "mxnet_params"),
        (["--input={garbage}", "--output={tmp}/x.pt"], "garbage.pt"),
    ],
)
def test_a_wrong_call_ends_with_the_reason_and_writes_nothing(
    checkpoint, tmp_path, call, flags, message
):
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"no checkpoint at all")
    before = checkpoint.read_bytes()
    filled = [flag.format(checkpoint=checkpoint, tmp=tmp_path, garbage=garbage) for flag in flags]
    status, lines, (error,) = call(conversion, *filled, "--overwrite")
    assert (status, lines) == (1, []) and message in error
    assert sorted(tmp_path.iterdir()) == [garbage, checkpoint]
    assert checkpoint.read_bytes() == before


def test_narrower_numbers_are_pointed_out(tmp_path, convert):
    halves = {
        name: array.astype(np.float16) for name, array in make_weights("r2plus1d_18").arrays.items()
    }
    formats.FORMATS["torch_pt"].write(tmp_path / "a.pt", halves)
    lines = convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert "widened to float32: 187 of 187 arrays" in lines


def test_another_eps_is_pointed_out(tmp_path, convert):
    hub.write(make_weights("inception_i3d"), tmp_path / "a.pt")
    note = "note: mindspore's own code has an eps of 1e-05 in place of 0.001; for weights that are"
    lines = convert(tmp_path / "a.pt", tmp_path / "b.ms.ckpt")
    assert lines[-1] == f"{note} run there, add --adjust_eps"
    lines = convert(tmp_path / "b.ms.ckpt", tmp_path / "c.pt")
    assert lines[-1] == f"{note} trained there, add --adjust_eps"
    lines = convert(tmp_path / "b.ms.ckpt", tmp_path / "d.pt", "--adjust_eps")
    assert lines[-1] == "note: variances shifted from mindspore's eps of 1e-05"


def test_the_average_is_that_of_every_array(tmp_path, call):
    checkpoints = [make_weights("r2plus1d_18", seed=seed) for seed in range(3)]
    for i, weights in enumerate(checkpoints):
        hub.write(weights, tmp_path / f"{i}.pt")
    inputs = ",".join(str(tmp_path / f"{i}.pt") for i in range(3))
    status, lines, _ = call(conversion, f"--average={inputs}", f"--output={tmp_path}/mean.pt")
    assert status == 0 and "note: the mean of 3 checkpoints" in lines
    for name, array in hub.read(tmp_path / "mean.pt").arrays.items():
        expected = np.mean([w.arrays[name].astype(np.float64) for w in checkpoints], axis=0)
        np.testing.assert_array_equal(array, expected.astype(np.float32), err_msg=name)
    with pytest.raises(CheckpointError, match=r"7 classes .*and r2plus1d_18 of 5 classes"):
        hub.average([make_weights("r2plus1d_18"), make_weights("r2plus1d_18", 5)])


# --- verify ---


@pytest.mark.parametrize(
    ("architecture", "target", "flags"),
    [
        ("r2plus1d_18", "b.pkl", []),
        (  # what is changed for a dialect is changed back
            "i3d_resnet50_nl_32x2_padded",
            "b.pt",
            ["--to=mmaction2", "--allow=mmaction2_nonlocal"],
        ),
    ],
)
def test_both_sides_are_run(tmp_path, convert, architecture, target, flags):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    hub.write(make_weights(architecture), tmp_path / "a.pt")
    line = convert(tmp_path / "a.pt", tmp_path / target, "--verify", *flags)[-1]
    assert line.startswith("verified on a clip of ") and ": source in torch" in line
    assert float(line.split("difference ")[1].split()[0]) <= 1e-4


@pytest.mark.parametrize(
    ("name", "package", "endpoints"),
    [
        ("a.onnx", "onnxruntime", 2),
        pytest.param("a.savedmodel", "tensorflow", 3, marks=pytest.mark.slow),
    ],
)
def test_whole_models_run_in_their_own_runtime(
    checkpoint, tmp_path, convert, name, package, endpoints
):
    pytest.importorskip(package, reason=f"needs {package}")
    line = convert(checkpoint, tmp_path / name, "--verify")[-1]
    assert f"target in {package}" in line and f"of {endpoints} endpoints" in line
    assert float(line.split("difference ")[1].split()[0]) <= 1e-5


def test_a_different_side_is_seen():
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    one, other = make_weights("r2plus1d_18"), make_weights("r2plus1d_18", seed=1)
    stem = "conv1_spatial.conv.weight"
    broken = {**other.arrays, stem: one.arrays[stem] * np.nan}
    with pytest.raises(CheckpointError, match="largest difference inf"):
        verify.verify(hub.Report(one, hub.Weights(one.net, broken), "path"))
    with pytest.raises(CheckpointError, match=r"the two sides differ .* expected at most 0\.001"):
        verify.verify(hub.Report(one, other, "path"))


# --- inspect and compare ---


def test_inspect_lists_arrays_and_says_what_they_are(tmp_path, call):
    weights = make_weights("inception_i3d", 7, 2)
    hub.write(weights, tmp_path / "model.pt", to="hassony2")
    status, lines, _ = call(inspect, tmp_path / "model.pt")
    lines = [" ".join(line.split()) for line in lines]
    assert status == 0
    assert "conv3d_1a_7x7.conv3d.weight float32 [4, 2, 7, 7, 7]" in lines
    assert lines[-6:] == [
        "format: torch_pt",
        "dialect: hassony2",
        "architecture: inception_i3d",
        "classes: 7",
        "stream: flow",
        f"parameters: {arch.count(weights.net):,} trainable, {weights.numbers:,} in all",
    ]


def test_inspect_shows_names_of_no_known_network_and_does_not_obey_them(tmp_path, call):
    path = tmp_path / "other.safetensors"
    names = {
        "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
        "line\nclasses: 400": r"line\nclasses: 400     ",  # as wide as the first
        "größe.权重": "größe.权重               ",
    }
    formats.for_output(path).write(path, {name: np.zeros(3, np.float32) for name in names})
    status, lines, (error,) = call(inspect, path)
    assert status == 1
    assert lines == [*(f"{shown}  float32  [3]" for shown in names.values()), ""]
    assert "no dialect of a known network has these names" in error
    assert error.isprintable() and r"\x1b[2J" in error and "größe.权重" in error


def test_compares_status_says_whether_they_are_the_same(tmp_path, call):
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.safetensors"
        formats.for_output(path).write(path, {"x": np.full(3, value, np.float32)})
    a, b, c = sorted(tmp_path.iterdir())
    assert call(compare, a, b)[0] == 0
    assert call(compare, a, c)[0] == 1
    status, _, (error,) = call(compare, a)
    assert status == 1 and "two checkpoints" in error
