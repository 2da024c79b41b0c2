"""Two checkpoints, held against each other across formats and dialects."""

import numpy as np
import pytest

from common import arch
from convert import formats, hub
from convert.compare import compare
from convert.dialects import DIALECTS, to_native
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")


def _weights(architecture="r2plus1d_18", **changed):
    net = arch.make(architecture, 7)
    return hub.Weights(net, randomise.arrays(net) | changed)


@pytest.fixture
def first(tmp_path):
    hub.write(_weights(), tmp_path / "a.pt")
    return str(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "dialect"), [("b.pkl", None), ("b.safetensors", "torchvision"), ("b.ckpt", None)]
)
def test_the_same_weights_in_another_dialect(tmp_path, first, name, dialect):
    hub.write(_weights(), tmp_path / name, to=dialect)
    text, same = compare(first, str(tmp_path / name))
    assert same
    lines = text.splitlines()
    assert lines[0].endswith("a.pt: torch_pt (canonical), r2plus1d_18, 7 classes, rgb")
    assert lines[2] == "the same numbers under the same names, bit for bit"


def test_every_array_that_differs_is_measured(tmp_path, first):
    arrays = _weights().arrays
    bias, mean = "Logits.fc.conv.bias", "conv1_spatial.norm.running_mean"
    changed = {bias: arrays[bias] * np.float32(1.5), mean: arrays[mean].copy()}
    changed[mean][0] += 1
    hub.write(_weights(**changed), tmp_path / "b.pt")
    text, same = compare(first, str(tmp_path / "b.pt"))
    assert not same
    lines = text.splitlines()
    assert lines[2] == "2 of 188 arrays that both have differ:"
    rows = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in lines[4:]}
    largest = np.abs(arrays[bias]).max()
    assert rows[bias] == pytest.approx([largest / 2, 0.5], rel=1e-2)
    assert rows[mean] == pytest.approx([1, 1 / np.abs(arrays[mean]).max()], rel=1e-2)
    # The larger of the two comes first.
    assert list(rows) == [mean, bias]


def test_other_networks_and_classes(tmp_path, first):
    net = arch.make("r2plus1d_18", 9)
    hub.write(hub.Weights(net, randomise.arrays(net)), tmp_path / "b.pt")
    text, same = compare(first, str(tmp_path / "b.pt"))
    assert not same
    assert "Logits.fc.conv.bias: [7] in A, [9] in B" in text
    hub.write(_weights("inception_i3d"), tmp_path / "c.pt")
    text, same = compare(first, str(tmp_path / "c.pt"))
    assert not same and "only in A: " in text and "only in B: " in text


def test_files_that_fit_several_networks_need_no_flag(tmp_path):
    weights = _weights("i3d_resnet50_8x8")
    native = dict(to_native(DIALECTS["nonlocal_net"], weights.net, weights.arrays))
    del native["architecture"]
    formats.FORMATS["caffe2_pkl"].write(tmp_path / "a.pkl", native)
    hub.write(weights, tmp_path / "b.pt")
    text, same = compare(str(tmp_path / "a.pkl"), str(tmp_path / "b.pt"))
    assert same
    assert text.splitlines()[-1] == "the same numbers under the same names, bit for bit"
    assert "i3d_resnet50_8x8 or i3d_resnet50_32x2 or i3d_resnet50_8x8_padded, 7" in text


def test_the_same_numbers_of_two_networks_are_pointed_out(tmp_path):
    weights = _weights("i3d_resnet50_8x8")
    hub.write(weights, tmp_path / "a.pt")
    other = hub.Weights(arch.make("i3d_resnet50_32x2", 7), weights.arrays)
    hub.write(other, tmp_path / "b.pkl")
    text, same = compare(str(tmp_path / "a.pt"), str(tmp_path / "b.pkl"))
    assert same and text.splitlines()[-1].startswith("but of two networks, whose strides")


def test_what_is_passed_over_or_rounded_in_a_conversion_is_compared(tmp_path, first):
    native = formats.FORMATS["torch_pt"].read(first)
    counters = {"state_dict/" + name: array for name, array in native.items()}
    for name, step in (("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.pt"
        formats.FORMATS["torch_pt"].write(path, {**counters, "step": np.array(step)})
    text, same = compare(str(tmp_path / "b.pt"), str(tmp_path / "c.pt"))
    assert not same and "step" in text.splitlines()[-1]
    # Around the same names, a level of a dictionary makes no difference.
    assert compare(first, str(tmp_path / "b.pt"))[1]


def test_files_of_no_known_network_are_compared_by_their_names(tmp_path, first):
    write = formats.FORMATS["safetensors"].write
    write(tmp_path / "b.safetensors", {"x": np.ones(3, np.float32)})
    write(tmp_path / "c.safetensors", {"x": np.full(3, 2, np.float32)})
    text, same = compare(str(tmp_path / "b.safetensors"), str(tmp_path / "c.safetensors"))
    assert not same and "1 of 1 arrays" in text
    assert compare(*[str(tmp_path / "b.safetensors")] * 2)[1]
    assert "only in B: x" in compare(first, str(tmp_path / "b.safetensors"))[0]
