"""What is refused before an engine is loaded, and what clips go through on the way to one."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from common import arch, engines
from common.engines import Session, extractor, scorer
from common.io import CheckpointError
from common.predict import evaluate_sample
from common.preprocessing import frames
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT, usual
from parity_tests import randomise

NET = arch.narrow(arch.make("r2plus1d_18", 3), 32)


@pytest.fixture
def session():
    """A session whose engine notes the clips and returns them."""
    seen = []

    def infer(clips):
        seen.append(clips)
        return clips

    return Session(NET, infer), seen


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (("tensorrt",), r"no such engine\. Expected onnxruntime, openvino\. Received: 'tensorrt'"),
        (("native",), r"Received: 'native'"),
        (("onnxruntime", "bfloat16"), r"onnxruntime computes in float32\. Received: bfloat16"),
        (("openvino", "float16"), r"openvino computes in float32 or bfloat16\. Received: float16"),
        (("openvino", "float32", "gpu"), r"openvino computes on CPUs here\. Leave out --device"),
    ],
)
def test_what_no_engine_does_is_refused(wanted, text):
    with pytest.raises(ValueError, match=text):
        engines.check(*wanted)


@pytest.mark.parametrize("engine", engines.PRECISIONS)
def test_one_that_is_not_installed_is_named_with_the_extra(monkeypatch, engine):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text = rf"--engine={engine} needs {engine}\. Install it: pip install 'i3d\[{engine}\]'"
    arrays = randomise.arrays(NET)
    for make in (
        lambda: engines.check(engine),
        lambda: scorer.create(NET, arrays, RGB_CONTRACT, engine=engine),
        lambda: extractor.create(NET, arrays, RGB_CONTRACT, "Features", engine=engine),
        lambda: evaluate_sample.predictor(engine, None),
    ):
        with pytest.raises(ImportError, match=text):
            make()


def test_native_is_the_framework():
    def predict(checkpoint, clip, architecture):
        raise AssertionError

    assert evaluate_sample.predictor("native", predict) is predict


@pytest.mark.parametrize("engine", engines.PRECISIONS)
def test_what_the_network_has_not_is_refused(monkeypatch, engine):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    arrays = randomise.arrays(NET)
    with pytest.raises(ValueError, match=r"no such endpoint\. Expected one of conv1"):
        engines.create(engine, NET, arrays, "Mixed_3b")
    with pytest.raises(ValueError, match=r"no such endpoint\. .* Received: 'time_steps'"):
        extractor.create(NET, arrays, RGB_CONTRACT, "time_steps", engine=engine)
    del arrays["Logits.fc.conv.bias"]
    with pytest.raises(CheckpointError, match=r"missing: Logits\.fc\.conv\.bias"):
        engines.create(engine, NET, arrays, "Features")


def test_a_session_gets_clips_channels_first(session):
    run, seen = session
    clips = randomise.clips((2, 4, 20, 24, 3))
    np.testing.assert_array_equal(run(clips), clips)
    (given,) = seen
    assert (given.shape, given.dtype) == ((2, 3, 4, 20, 24), np.float32)
    assert given.flags.c_contiguous
    np.testing.assert_array_equal(given, np.moveaxis(clips, -1, 1))


@pytest.mark.parametrize(
    ("shape", "text"), [((1, 4, 20, 20), "wrong rank"), ((1, 4, 20, 20, 2), "number of channels")]
)
def test_clips_that_do_not_fit_are_refused(session, shape, text):
    run, seen = session
    with pytest.raises(ValueError, match=text):
        run(np.zeros(shape, np.float32))
    assert not seen


@pytest.mark.parametrize(
    ("contract", "kind"),
    [
        (RGB_CONTRACT, np.uint8),
        (RGB_CONTRACT, np.float32),
        (usual("r2plus1d_18"), np.uint8),
        (FLOW_CONTRACT, np.uint8),
    ],
)
def test_values_are_those_of_the_reference(session, contract, kind):
    run, seen = session
    channels = 3 if contract.channels == "rgb" else 2
    run = dataclasses.replace(run, net=dataclasses.replace(NET, in_channels=channels))
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 20, 24, channels)).astype(kind)
    found = scorer.values(clips, contract)
    np.testing.assert_array_equal(found, frames.to_contract(clips, contract))
    assert found.dtype == np.float32
    run(found)
    assert np.shares_memory(seen[0], found)  # it is in the order of the engine already


def test_flow_is_fed_as_it_is(session):
    clips = randomise.clips((1, 4, 20, 24, 2))
    np.testing.assert_array_equal(scorer.values(clips, FLOW_CONTRACT), clips)


def test_rows_are_averaged_over_the_area(session):
    run, _ = session
    clips = randomise.clips((2, 4, 20, 24, 3)) * np.float32(100)
    contract = dataclasses.replace(RGB_CONTRACT, value_range=(0.0, 255.0))
    rows = extractor.Extractor(run, contract).rows(clips)
    np.testing.assert_allclose(rows, clips.mean(axis=(2, 3)), rtol=1e-4, atol=1e-4)
    flat = dataclasses.replace(run, infer=lambda given: given[:, :, 0, 0, 0])
    rows = extractor.Extractor(flat, contract).rows(clips)
    np.testing.assert_allclose(rows, clips[:, :1, 0, 0], rtol=1e-5)
