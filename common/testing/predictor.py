"""What a predictor of either framework must do: its scores against those of the model itself."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common import arch
from common.flow import encoding
from common.io import CheckpointError
from common.models import Model
from common.preprocessing.contracts import FLOW_CONTRACT, InputContract
from common.testing.train_step import NET as TRAINED
from common.testing.train_step import randomise

NET = arch.with_dropout(TRAINED, 0.5)
FLOW_NET = dataclasses.replace(NET, in_channels=2)
ARRAYS, FLOW_ARRAYS = randomise.arrays(NET), randomise.arrays(FLOW_NET)
USUAL = InputContract()
STANDARDISED = InputContract(mean=(110.0, 100.0, 90.0), std=(58.0, 57.0, 56.0))

Floats = NDArray[np.floating]

Run = Callable[[Any, Floats], tuple[Floats, dict[str, Floats]]]
"""Runs a model on clips [B, T, H, W, C] in its own values: logits, and endpoints with channels
last."""


def make_model(
    net: arch.Network = NET, arrays: arch.Arrays = ARRAYS, contract: InputContract = USUAL
) -> Model:
    """A model that is in no file."""
    return Model(net, arrays, contract, Path("weights"), None, None)


def make_predictor(
    module: ModuleType, contract: InputContract = USUAL, precision: str = "float32"
) -> Any:
    """A predictor of `NET` from `ARRAYS`, of a framework's module `predictor`."""
    return module.make_predictor(make_model(contract=contract), precision=precision)


def make_clips(frames: int = 4) -> NDArray[np.uint8]:
    """Two clips [2, frames, 6, 6, 3] of noise."""
    rng = np.random.default_rng(frames)
    return rng.integers(0, 256, (2, frames, 6, 6, 3), dtype=np.uint8)


def check_values(module: ModuleType, run: Run, contract: InputContract) -> None:
    """uint8 and float clips become what the contract says."""
    own, clips = make_predictor(module, contract), make_clips()
    if contract.mean and contract.std:
        mean, std = (np.array(each, np.float32) for each in (contract.mean, contract.std))
        values = (clips - mean) / std
    else:
        values = clips / np.float32(127.5) - 1
    expected, _ = run(own.model, values)
    for given in (clips, clips.astype(np.float32)):
        actual = own.scores(given)
        assert (actual.shape, actual.dtype) == ((2, 3), np.float32)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def check_flow(module: ModuleType, run: Run) -> None:
    """Flow is taken as it is; stored as pictures it is what a decoder makes of them."""
    flow = randomise.clips((2, 4, 6, 6, 2))
    own = module.make_predictor(make_model(FLOW_NET, FLOW_ARRAYS, FLOW_CONTRACT))
    expected, _ = run(own.model, flow)
    np.testing.assert_allclose(own.scores(flow), expected, rtol=1e-5, atol=1e-6)
    images = np.rint((flow + 1) * 127.5).astype(np.uint8)
    expected, _ = run(own.model, encoding.to_unit(encoding.to_pixels(images)))
    np.testing.assert_allclose(own.scores(images), expected, rtol=1e-5, atol=1e-6)


def check_lengths(module: ModuleType, run: Run, frames: int) -> None:
    """Clips may have any number of frames."""
    own, clips = make_predictor(module), make_clips(frames)
    expected, steps = _model(run, own, clips)
    assert steps.shape == (2, -(-frames // 2), 3)
    np.testing.assert_allclose(own.scores(clips), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own.scores(clips), steps.mean(axis=1), rtol=1e-4, atol=1e-6)
    assert own.frame_scores(clips).shape == (2, frames, 3)


def check_frames(module: ModuleType, run: Run) -> None:
    """Frames have the logits between those of time steps."""
    own, clips = make_predictor(module), make_clips(4)
    _, steps = _model(run, own, clips)
    first, second = steps[:, 0], steps[:, 1]
    expected = [first, 0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second, second]
    actual = own.frame_scores(clips)
    assert (actual.shape, actual.dtype) == ((2, 4, 3), np.float32)
    np.testing.assert_allclose(actual, np.stack(expected, axis=1), rtol=1e-4, atol=1e-6)
    assert np.abs(first - second).max() > 1e-3


def check_precision(module: ModuleType, precision: str) -> None:
    """Half precision is near, and gives float32."""
    clips = make_clips()
    actual = make_predictor(module, precision=precision).scores(clips)
    expected = make_predictor(module).scores(clips)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=0.03)
    assert np.abs(actual - expected).max() > 1e-6  # else it was not half


def check_features(module: ModuleType, run: Run, endpoint: str) -> None:
    """Features are an endpoint averaged over height and width, a row a time step."""
    own = module.make_predictor(make_model(), endpoints=[endpoint], device="cpu")
    clips = make_clips(4)
    _, endpoints = run(own.model, clips / np.float32(127.5) - 1)
    expected = endpoints[endpoint]
    expected = expected[:, None] if expected.ndim == 2 else expected.mean(axis=(2, 3))
    actual = own.features(clips, endpoint)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def check_refusals(module: ModuleType) -> None:
    """Unknown endpoints, other types and clips that are not finite are refused."""
    with pytest.raises(ValueError, match=r"no such endpoint.*Received: 'Mixed_3b'"):
        module.make_predictor(make_model(), endpoints=["Mixed_3b"])
    own, clips = make_predictor(module), make_clips()
    with pytest.raises(ValueError, match=r"no features of 'res2_0'\. Expected one of Features\."):
        own.features(clips, "res2_0")
    broken = np.full(clips.shape, np.nan, np.float32)
    for ask in (own.scores, own.frame_scores, lambda clips: own.features(clips, "Features")):
        with pytest.raises(ValueError, match=r"wrong type\. Expected uint8 RGB.*: float64\."):
            ask(clips.astype(np.float64))
        with pytest.raises(ValueError, match="expected clips of finite numbers"):
            ask(broken)


def check_other_weights(module: ModuleType) -> None:
    """Weights of another network are refused."""
    with pytest.raises(CheckpointError, match=r"conv1\.conv\.weight"):
        module.make_predictor(make_model(arrays=FLOW_ARRAYS))


def _model(run: Run, own: Any, clips: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Logits of the model itself, [B, K], and of its time steps, [B, T', K]."""
    logits, endpoints = run(own.model, clips / np.float32(127.5) - 1)
    features = endpoints["Features"]
    kernel, bias = (ARRAYS[f"Logits.fc.conv.{name}"] for name in ("weight", "bias"))
    return logits, features.mean(axis=(2, 3)) @ kernel.reshape(3, 6).T + bias
