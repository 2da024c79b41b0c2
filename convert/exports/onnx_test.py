"""ONNX models are checked by `onnx`, run by onnxruntime on clips of many sizes, and read back."""

import importlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from parity_tests import randomise
from parity_tests.compare import assert_close

official = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
onnx = importlib.import_module("convert.exports.onnx")


def network(name="inception_i3d", num_classes=11):
    return arch.narrow(arch.ARCHITECTURES[name](num_classes), 8)


def shapes(net):
    """[B, T, H, W] of three batches of clips, the first as small as can be."""
    _, height, width = arch.smallest_size(net)
    lengths = itertools.islice(filter(lambda t: fits(net, t), itertools.count(1)), 3)
    sizes = [(2, height, width), (1, height + 13, width + 8), (3, height + 4, width + 1)]
    return [(b, t, h, w) for t, (b, h, w) in zip(lengths, sizes, strict=True)]


def fits(net, length):
    try:
        return bool(arch.endpoint_shapes(net, (length, *arch.smallest_size(net)[1:])))
    except ValueError:
        return False


@pytest.fixture
def session():
    """A function from a file or its bytes to an onnxruntime session."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    runtime.set_default_logger_severity(4)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads would keep torch's waiting
    return lambda model: runtime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def on_torch():
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    return importlib.import_module("parity_tests.on_torch")


@pytest.fixture
def assert_same_as_torch(session, on_torch):
    def check(path, net, arrays, batches):
        model = session(path)
        assert [value.name for value in model.get_inputs()] == ["clips"]
        assert [value.name for value in model.get_outputs()] == ["logits", "features"]
        for shape in batches:
            clips = randomise.clips((*shape, net.in_channels))
            logits, endpoints = on_torch.inference(net, arrays, clips)
            got_logits, got_features = model.run(None, {"clips": channels_first(clips)})
            assert_close(got_logits, logits, f"{shape} logits")
            assert_close(got_features, channels_first(endpoints["Features"]), f"{shape} features")

    return check


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_onnxruntime_gets_the_same_results(tmp_path, name, assert_same_as_torch):
    net = network(name)
    arrays, path = randomise.arrays(net), tmp_path / "m.onnx"
    onnx.write(path, net, arrays)
    official.checker.check_model(path, full_check=True)
    assert_same_as_torch(path, net, arrays, shapes(net))


@pytest.mark.parametrize("scale", [False, True])
def test_other_channels_and_scales(tmp_path, scale, assert_same_as_torch):
    net = arch.narrow(arch.inception_i3d(3, in_channels=2, scale=scale), 16)
    arrays, path = randomise.arrays(net), tmp_path / "m.onnx"
    onnx.write(path, net, arrays)
    assert_same_as_torch(path, net, arrays, [(1, 11, 200, 193)])


def test_the_onnx_package_finds_names_and_sizes(tmp_path):
    net = network()
    arrays = randomise.arrays(net)
    onnx.write(tmp_path / "m.onnx", net, arrays)
    model = official.load(tmp_path / "m.onnx")
    stored = {
        tensor.name: official.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    assert [name for name in stored if name.startswith("constant/")] == list(stored)[len(arrays) :]
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name], array, err_msg=name, strict=True)
    sizes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sizes == {
        "clips": ["batch", 3, "time", "height", "width"],
        "logits": ["batch", 11],
        "features": ["batch", 128, "features_time", "features_height", "features_width"],
    }
    assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (7, 13, "i3d")
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "architecture": "inception_i3d",
        "num_classes": "11",
        "smallest_clip": "9x193x193",
    }
    assert {(*node.output,) for node in model.graph.node} == {
        (node.name,) for node in model.graph.node
    }


@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_nl_8x8_affine"])
def test_values_that_are_called_like_endpoints_are_these(tmp_path, name, session, on_torch):
    net = network(name)
    arrays, (shape, *_) = randomise.arrays(net), shapes(net)
    onnx.write(tmp_path / "m.onnx", net, arrays)
    model = official.load(tmp_path / "m.onnx")
    names = [node.name for node in net.nodes[:-1]]
    model.graph.output.extend(official.ValueInfoProto(name=name) for name in names)
    clips = randomise.clips((*shape, 3))
    got = session(model.SerializeToString()).run(names, {"clips": channels_first(clips)})
    _, endpoints = on_torch.inference(net, arrays, clips)
    for name, value in zip(names, got, strict=True):
        assert_close(value, channels_first(endpoints[name]), name)


@pytest.mark.parametrize(
    ("name", "size"),
    [("inception_i3d", (9, 192, 193)), ("i3d_resnet50_nl_8x8_affine", (12, 33, 33))],
)
def test_clips_that_do_not_fit_are_errors(tmp_path, name, size, session):
    """Too small for the head, and 6 time steps in groups of 4."""
    net = network(name)
    onnx.write(tmp_path / "m.onnx", net, randomise.arrays(net))
    with pytest.raises(Exception, match=r"Logits/Conv3d_0c_1x1|nonlocal_conv3_1/grouped/split"):
        session(tmp_path / "m.onnx").run(None, {"clips": np.ones((1, 3, *size), np.float32)})


@pytest.mark.parametrize("name", ["inception_i3d", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18"])
def test_reads_back_strided_arrays_and_writes_the_same_bytes(tmp_path, name):
    net = network(name)
    arrays = randomise.arrays(net)
    strided = {}
    for key, array in arrays.items():  # every second number of an array in the other order
        strided[key] = np.repeat(np.asfortranarray(array), 2, axis=0)[::2]
        strided[key].flags.writeable = False
    onnx.write(tmp_path / "a.onnx", net, arrays)
    onnx.write(tmp_path / "b.onnx", net, dict(reversed(strided.items())))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    got = onnx.read_back(tmp_path / "b.onnx", net)
    assert list(got) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(got[key], array, err_msg=key, strict=True)


def test_a_damaged_file_is_one_error(tmp_path):
    net = arch.narrow(arch.inception_i3d(2), 64)
    path = tmp_path / "m.onnx"
    onnx.write(path, net, randomise.arrays(net))
    data = path.read_bytes()
    for end in [0, 1, 40, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=r"m\.onnx: "):
            onnx.read_back(path, net)


def test_above_two_gibibytes_is_refused_before_it_is_written(tmp_path):
    net = arch.inception_i3d(2**20)
    one = np.zeros((), np.float32)  # takes no memory
    arrays = {p.name: np.broadcast_to(one, p.shape) for p in arch.parameters(net)}
    with pytest.raises(
        CheckpointError, match=r"would need 43\d{8} bytes\. An ONNX file has 2147483647"
    ):
        onnx.write(tmp_path / "m.onnx", net, arrays)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused(tmp_path):
    net = network()
    arrays = randomise.arrays(net)
    wide = {**arrays, "Conv3d_1a_7x7.norm.bias": arrays["Conv3d_1a_7x7.norm.bias"].astype("f8")}
    with pytest.raises(CheckpointError, match=r"Conv3d_1a_7x7\.norm\.bias"):
        onnx.write(tmp_path / "m.onnx", net, wide)
    with pytest.raises(CheckpointError, match="the arrays do not fit"):
        onnx.write(tmp_path / "m.onnx", network(num_classes=12), arrays)
    pool = replace(net.nodes[1], kernel=(1, 1, 1))
    skipping = replace(net, nodes=(net.nodes[0], pool, *net.nodes[2:]))
    with pytest.raises(CheckpointError, match=r"MaxPool3d_2a_3x3: .* stride \(1, 2, 2\), kernel"):
        onnx.write(tmp_path / "m.onnx", skipping, arrays)
    assert not list(tmp_path.iterdir())
