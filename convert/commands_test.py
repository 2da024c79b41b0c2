"""`python -m convert`, `convert.inspect` and `convert.compare` as people call them."""

from dataclasses import replace

import numpy as np
import pytest

import convert.__main__ as conversion
from common import arch, command
from common.io import CheckpointError
from convert import compare, formats, hub, inspect
from convert.conftest import make_weights
from convert.dialects import DIALECTS, to_native

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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--input or --average"),
        (["--input=x.pt"], "--output is missing"),
        (["--input=x.pt", "--average=x.pt"], "--input or --average"),
        (["--input=nowhere.pt", "--output=x.pt"], "Received: 'nowhere.pt'"),
        (["--input={checkpoint}", "--output={tmp}/x.h5"], ".onnx, .pickle"),
        (["--input={checkpoint}", "--output={tmp}/../{tmp.name}/model.pt"], "is what is read"),
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
    with pytest.raises(CheckpointError, match=r"7 classes .*, r2plus1d_18 of 5 classes"):
        hub.average([make_weights("r2plus1d_18"), make_weights("r2plus1d_18", 5)])


def test_both_sides_are_run(tmp_path, convert):
    """What is changed for a dialect is changed back."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    hub.write(make_weights("i3d_resnet50_nl_32x2_padded"), tmp_path / "a.pt")
    flags = ["--verify", "--to=mmaction2", "--allow=mmaction2_nonlocal"]
    line = convert(tmp_path / "a.pt", tmp_path / "b.pt", *flags)[-1]
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
        compare.verify(one, replace(one, arrays=broken))
    with pytest.raises(CheckpointError, match=r"the two sides differ .* expected at most 0\.001"):
        compare.verify(one, other)


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
    formats.FORMATS["safetensors"].write(path, {name: np.zeros(3, np.float32) for name in names})
    status, lines, (error,) = call(inspect, path)
    assert status == 1
    assert lines == [*(f"{shown}  float32  [3]" for shown in names.values()), ""]
    assert "no dialect of a known network has these names" in error
    assert error.isprintable() and r"\x1b[2J" in error and "größe.权重" in error


@pytest.fixture
def same(tmp_path, checkpoint):
    def same(weights, name, to=None):
        hub.write(weights, tmp_path / name, to=to)
        text, equal = compare.compare(str(checkpoint), str(tmp_path / name))
        return equal, text.splitlines()

    return same


@pytest.mark.parametrize(("name", "dialect"), [("b.pkl", None), ("b.safetensors", "torchvision")])
def test_the_same_weights_in_another_dialect(same, name, dialect):
    equal, lines = same(make_weights("r2plus1d_18"), name, dialect)
    assert equal
    assert lines[0].endswith("model.pt: torch_pt (canonical), r2plus1d_18, 7 classes, rgb")
    assert lines[2] == "the same numbers under the same names, bit for bit"


def test_every_array_that_differs_is_measured(same):
    weights = make_weights("r2plus1d_18")
    bias, mean = "Logits.fc.conv.bias", "conv1_spatial.norm.running_mean"
    changed = {bias: weights.arrays[bias] * np.float32(1.5), mean: weights.arrays[mean].copy()}
    changed[mean][0] += 1
    equal, lines = same(replace(weights, arrays={**weights.arrays, **changed}), "b.pt")
    assert not equal
    assert lines[2] == "2 of 188 arrays that both have differ:"
    rows = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in lines[4:]}
    largest = np.abs(weights.arrays[bias]).max()
    assert rows[bias] == pytest.approx([largest / 2, 0.5], rel=1e-2)
    assert rows[mean] == pytest.approx([1, 1 / np.abs(weights.arrays[mean]).max()], rel=1e-2)
    assert list(rows) == [mean, bias]  # the larger of the two comes first


def test_other_networks_and_classes(same):
    equal, lines = same(make_weights("r2plus1d_18", 9), "b.pt")
    assert not equal and "Logits.fc.conv.bias: [7] in A, [9] in B" in lines
    equal, lines = same(make_weights("inception_i3d"), "c.pt")
    assert not equal
    assert lines[2].startswith("only in A: ") and lines[3].startswith("only in B: ")


def test_files_that_fit_several_networks_need_no_flag(tmp_path):
    weights = make_weights("i3d_resnet50_8x8")
    native = dict(to_native(DIALECTS["nonlocal_net"], weights.net, weights.arrays))
    del native["architecture"]
    formats.FORMATS["caffe2_pkl"].write(tmp_path / "a.pkl", native)
    hub.write(weights, tmp_path / "b.pt")
    text, equal = compare.compare(str(tmp_path / "a.pkl"), str(tmp_path / "b.pt"))
    assert equal and "i3d_resnet50_8x8 or i3d_resnet50_32x2 or i3d_resnet50_8x8_padded, 7" in text


def test_what_is_passed_over_in_a_conversion_is_compared(tmp_path, checkpoint):
    native = formats.FORMATS["torch_pt"].read(checkpoint)
    wrapped = {"state_dict/" + name: array for name, array in native.items()}
    one, other = tmp_path / "b.pt", tmp_path / "c.pt"
    for step, path in enumerate((one, other)):
        formats.FORMATS["torch_pt"].write(path, {**wrapped, "step": np.array(step)})
    text, equal = compare.compare(str(one), str(other))
    assert not equal and "step" in text.splitlines()[-1]
    # Around the same names, a level of a dictionary makes no difference.
    assert compare.compare(str(checkpoint), str(one))[1]


def test_files_of_no_known_network_are_compared_by_their_names(tmp_path, call):
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, value in zip(paths, (1, 1, 2), strict=True):
        formats.FORMATS["safetensors"].write(path, {"x": np.full(3, value, np.float32)})
    assert call(compare, *paths[:2])[0] == 0
    status, lines, _ = call(compare, *paths[1:])
    assert status == 1 and "1 of 1 arrays that both have differ:" in lines
    status, _, (error,) = call(compare, paths[0])
    assert status == 1 and "two checkpoints" in error
