"""ONNX Runtime and OpenVINO compute what the torch backend does, through the same calls."""

import importlib
import json

import numpy as np
import pytest

from common import arch, engines
from common.engines import extractor, scorer
from common.features import feature_task, items
from common.features.extraction import Extraction
from common.jobs import runs
from common.predict import evaluate_sample
from common.predict.evaluate_sample import Options
from common.preprocessing import contracts
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT
from common.testing.films import Film
from convert import hub
from convert.exports import onnx
from parity_tests import randomise
from parity_tests.compare import assert_close, relative_error

# Of the largest value, at any endpoint; measured: 1.4e-2. The head is in bfloat16, too.
BFLOAT16 = 3e-2

# Odd sizes, which "same" pads unevenly, and the smallest head; several ways to group time steps.
NETS = {
    "inception_i3d_symmetric": (2, 9, 33, 47),
    "r2plus1d_18": (2, 9, 33, 47),
}
SLOW_NETS = {
    "r2plus1d_50_vmz": (1, 5, 33, 40),
    "i3d_resnet50_8x8_padded": (2, 9, 33, 47),
    "inception_i3d": (2, 10, 200, 195),
    "i3d_resnet50_nl_8x8_affine": (1, 8, 33, 47),
    "i3d_resnet50_nl_32x2_affine": (1, 32, 48, 48),
}
GLOBAL = "inception_i3d_global"


@pytest.fixture(params=list(engines.PRECISIONS))
def engine(request, judge, monkeypatch):
    """Each engine that is installed; with one thread, as torch's wait beside them."""
    judge(request.param)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return request.param


@pytest.fixture
def openvino(judge, monkeypatch):
    """Where OpenVINO is and the processor has bfloat16."""
    able = judge("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able:
        pytest.skip("this processor has no bfloat16")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "openvino"


def torch_package(name):
    pytest.importorskip("torch")
    return importlib.import_module(f"i3d_torch.{name}")


def thin_net(name, channels=3):
    net = arch.narrow(arch.make(name, 5, channels), 16)
    return net, randomise.arrays(net)


@pytest.mark.parametrize(
    "name", [*NETS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETS)]
)
def test_every_endpoint(engine, on_torch, name):
    net, arrays = thin_net(name)
    clips = randomise.clips((*{**NETS, **SLOW_NETS}[name], 3))
    _, expected = on_torch.inference(net, arrays, clips)
    assert [*expected] == [*net.endpoints]
    for endpoint, value in expected.items():
        found = engines.create(engine, net, arrays, endpoint)(clips)
        assert found.dtype == np.float32
        assert_close(found, value, endpoint)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 224, 224), (23, 211, 201)])
def test_full_width(engine, on_torch, size):
    net = arch.make("inception_i3d")
    arrays, clips = randomise.arrays(net), randomise.clips((1, *size, 3))
    expected, _ = on_torch.inference(net, arrays, clips)
    assert_close(engines.create(engine, net, arrays, "Logits")(clips), expected, f"{size}")


def test_one_session_takes_clips_of_any_size(engine, on_torch):
    net, arrays = thin_net(GLOBAL)
    steps = engines.create(engine, net, arrays, onnx.TIME_STEPS)
    logits = engines.create(engine, net, arrays, "Logits")
    for shape in [(1, 9, 33, 33), (3, 16, 40, 32), (1, 9, 33, 33), (2, 25, 32, 47)]:
        clips = randomise.clips((*shape, 3))
        expected, _ = on_torch.inference(net, arrays, clips)
        assert_close(logits(clips), expected, f"{shape}")
        assert_close(steps(clips).mean(axis=1), expected, f"{shape}")


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("name", ["inception_i3d", "r2plus1d_18"])
def test_scores(engine, name, stream):
    """Of a head whose window leaves several time steps, and of one that averages them all."""
    contract = contracts.of_stream(name, stream)
    net, arrays = thin_net(name, contracts.CHANNELS[stream])
    own = scorer.create(net, arrays, contract, engine=engine)
    other = torch_package("scorer").create(net, arrays, contract)
    side = 200 if name == "inception_i3d" else 33
    clips = noise((2, 25, side, side), stream)
    for given in (clips, clips.astype(np.float32) if stream == "rgb" else stored(clips)):
        assert_close(own.scores(given), other.scores(given), "scores")
        found = own.frame_scores(given)
        assert (found.shape, found.dtype) == ((2, 25, 5), np.float32)
        assert_close(found, other.frame_scores(given), "frame scores")
    if name == "inception_i3d":  # else nothing was interpolated
        assert relative_error(found[:, 0], found[:, -1]) > 1e-4


@pytest.mark.parametrize("endpoint", ["MaxPool3d_3a_3x3", "Mixed_4c", "Features", "Predictions"])
def test_rows(engine, endpoint):
    for stream, contract in (("rgb", RGB_CONTRACT), ("flow", FLOW_CONTRACT)):
        net, arrays = thin_net(GLOBAL, contracts.CHANNELS[stream])
        own = extractor.create(net, arrays, contract, endpoint, engine=engine)
        other = torch_package("extractor").create(net, arrays, contract, endpoint, device="cpu")
        clips = noise((2, 17, 36, 40), stream)
        assert_close(own.rows(clips), other.rows(clips), f"{stream} {endpoint}")


def test_bfloat16_is_near(openvino, on_torch):
    net, arrays = thin_net(GLOBAL)
    clips = randomise.clips((2, 16, 48, 48, 3))
    _, expected = on_torch.inference(net, arrays, clips)
    for endpoint, value in expected.items():
        found = engines.create(openvino, net, arrays, endpoint, "bfloat16")(clips)
        assert found.dtype == np.float32
        error = relative_error(found, value)
        assert error <= BFLOAT16, f"{endpoint}: {error:.2e}"
        assert error > 1e-4, f"{endpoint} is in float32"  # which test_every_endpoint sees, too


def test_bfloat16_that_the_processor_lacks_is_refused(judge, monkeypatch):
    core = judge("openvino").Core
    monkeypatch.setattr(core, "get_property", lambda *names: ["FP32", "INT8"])
    net, arrays = thin_net("r2plus1d_18")
    with pytest.raises(ValueError, match="this processor has no bfloat16"):
        engines.create("openvino", net, arrays, "Logits", "bfloat16")


@pytest.mark.usefixtures("thin")
def test_a_sample_is_classified_alike(engine, tmp_path):
    net = arch.make("inception_i3d", 400)
    path = tmp_path / "weights.safetensors"
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    Film("a.mp4", 20, (1, 0)).write(tmp_path)
    options = {
        "eval_type": "rgb", "video": str(tmp_path / "a.mp4"), "checkpoint": str(path),
        "architecture": "inception_i3d",
    }  # fmt: skip
    found, expected = (
        evaluate_sample.evaluate(
            Options(**options, engine=name), evaluate_sample.predictor(name, native), "i3d_torch"
        )
        for name, native in (
            (engine, refuse), ("native", torch_package("evaluate_sample").predict)
        )
    )  # fmt: skip
    assert_close(found.logits, expected.logits, "logits")
    assert [name for *_, name in found.top(5)] == [name for *_, name in expected.top(5)]
    assert [each.record()["backend"] for each in (found, expected)] == [engine, "i3d_torch"]
    assert found.record()["versions"][engine]
    assert engine not in expected.record()["versions"]


@pytest.mark.usefixtures("thin")
def test_features_are_alike_and_say_who_made_them(engine, tmp_path):
    net = arch.make(GLOBAL, 5)
    path = tmp_path / "weights.safetensors"
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    Film("a.mp4", 40, (1, 0)).write(tmp_path / "videos")
    rows, records = {}, {}
    for name, make in ((engine, refuse), ("native", torch_package("extractor").create)):
        options = feature_task.Options(
            checkpoints={"rgb": str(path)},
            extraction=Extraction(window=16, resize=36, crop=32, fps=0.0),
            device="cpu" if name == "native" else "auto",
            engine=name,
        )
        task = feature_task.create(options, make, "i3d_torch")
        found = items.found(tmp_path / "videos")
        report = runs.run(task, found, runs.Settings(tmp_path / name, 1, engine="threads"))
        assert report.status == 0, report.text()
        rows[name] = np.load(tmp_path / name / "a.npy")
        records[name] = json.loads((tmp_path / name / "a.json").read_text())
        assert task.parameters()["backend"] == records[name]["backend"]
    assert rows[engine].shape == (2, 64)
    assert_close(rows[engine], rows["native"], "rows")
    assert [records[name].pop("backend") for name in (engine, "native")] == [engine, "i3d_torch"]
    versions = {name: record.pop("versions") for name, record in records.items()}
    assert engine in versions[engine]
    assert engine not in versions["native"]
    assert records[engine] == records["native"]


def refuse(*arguments):
    """Stands for the framework where an engine is in its place: their digits may be the same."""
    raise AssertionError(f"the framework was asked: {arguments}")


def noise(shape, stream):
    """Clips as they are read: uint8 RGB, or float32 flow in [-1, 1]."""
    if stream == "flow":
        return randomise.clips((*shape, 2))
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def stored(flow):
    """Flow as pictures hold it."""
    return np.rint((flow + 1) * np.float32(127.5)).astype(np.uint8)
