"""ONNX models are checked by `onnx`, run by onnxruntime on clips of many sizes, and read back."""

import importlib

import numpy as np
import pytest

from common import arch
from common.io import CheckpointError
from convert import hub
from parity_tests import randomise
from parity_tests.compare import assert_close

official = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
onnx = importlib.import_module("convert.onnx_model")

# Networks that have every kind of node between them, and two batches [B, T, H, W] for each.
CLIPS = {
    "inception_i3d": [(2, 9, 193, 193), (1, 10, 206, 201)],
    "inception_i3d_symmetric": [(2, 9, 32, 33), (1, 12, 40, 32)],
    "inception_i3d_global": [(1, 9, 33, 40)],
    "i3d_resnet50_nl_8x8_affine": [(2, 8, 33, 33), (1, 16, 46, 41)],
    "i3d_resnet50_nl_32x2_padded": [(2, 5, 33, 33), (1, 9, 46, 41)],
    "c2d_resnet50_8x8": [(1, 3, 33, 46)],
    "r2plus1d_18": [(2, 5, 32, 33), (1, 8, 40, 32)],
}


def network(name="inception_i3d", **options):
    return arch.narrow(arch.ARCHITECTURES[name](11, **options), 8)


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
def assert_same_as_torch(tmp_path, session):
    """Asserts that the outputs, and all values that are called like endpoints, are torch's."""
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    on_torch = importlib.import_module("parity_tests.on_torch")

    def check(net, batches):
        arrays, path = randomise.arrays(net), tmp_path / "m.onnx"
        onnx.write(path, net, arrays)
        official.checker.check_model(path, full_check=True)
        model = official.load(path)
        names = [node.name for node in net.nodes[:-1]]
        model.graph.output.extend(official.ValueInfoProto(name=name) for name in names)
        runtime = session(model.SerializeToString())
        for shape in batches:
            clips = randomise.clips((*shape, net.in_channels))
            logits, endpoints = on_torch.inference(net, arrays, clips)
            endpoints |= {"logits": logits, "features": endpoints["Features"]}
            asked = ["logits", "features", *names]
            got = runtime.run(asked, {"clips": np.ascontiguousarray(np.moveaxis(clips, -1, 1))})
            for name, value in zip(asked, got, strict=True):
                last = np.moveaxis(value, 1, -1) if value.ndim > 2 else value
                assert_close(last, endpoints[name], f"{shape} {name}")

    return check


@pytest.mark.parametrize("name", CLIPS)
def test_onnxruntime_gets_the_same_results(name, assert_same_as_torch):
    assert_same_as_torch(network(name), CLIPS[name])


def test_other_channels_and_scales(assert_same_as_torch):
    assert_same_as_torch(network(in_channels=2, scale=True), [(1, 11, 200, 193)])


def test_the_onnx_package_finds_names_and_sizes(tmp_path):
    net = network()
    onnx.write(tmp_path / "m.onnx", net, randomise.arrays(net))
    model = official.load(tmp_path / "m.onnx")
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


@pytest.mark.parametrize(
    ("name", "size"),
    [("inception_i3d", (9, 192, 193)), ("i3d_resnet50_nl_8x8_affine", (12, 33, 33))],
)
def test_clips_that_do_not_fit_are_errors(tmp_path, name, size, session):
    """Too small for the head, and 6 time steps in groups of 4."""
    net = network(name)
    onnx.write(tmp_path / "m.onnx", net, randomise.arrays(net))
    with pytest.raises(Exception, match=r"Logits/Conv3d_0c_1x1|nonlocal_conv3_1/phi/split"):
        session(tmp_path / "m.onnx").run(None, {"clips": np.ones((1, 3, *size), np.float32)})


def test_reads_back_strided_arrays_and_writes_the_same_bytes(tmp_path):
    net = network("i3d_resnet50_nl_8x8_affine")
    arrays = randomise.arrays(net)
    strided = {}
    for key, array in arrays.items():  # every second number of an array in the other order
        strided[key] = np.repeat(np.asfortranarray(array), 2, axis=0)[::2]
        strided[key].flags.writeable = False
    onnx.write(tmp_path / "a.onnx", net, arrays)
    onnx.write(tmp_path / "b.onnx", net, dict(reversed(strided.items())))
    data = (tmp_path / "a.onnx").read_bytes()
    assert data == (tmp_path / "b.onnx").read_bytes()
    hub.check_equal(arrays, onnx.read_back(tmp_path / "b.onnx", net), "b.onnx")
    for end in [0, 1, 40, len(data) // 2, len(data) - 1]:
        (tmp_path / "a.onnx").write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=r"a\.onnx: "):
            onnx.read_back(tmp_path / "a.onnx", net)
    with pytest.raises(CheckpointError, match="the arrays do not fit"):
        onnx.write(tmp_path / "m.onnx", network(), arrays)
