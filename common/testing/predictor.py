"""The tests that predictors of both frameworks pass: their scores against those of the model."""

import dataclasses
from pathlib import Path
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


def make_model(
    net: arch.Network = NET, arrays: arch.Arrays = ARRAYS, contract: InputContract = USUAL
) -> Model:
    """A model that is in no file."""
    return Model(net, arrays, contract, Path("weights"), None, None)


def make_clips(frames: int = 4) -> NDArray[np.uint8]:
    """Two clips [2, frames, 6, 6, 3] of noise."""
    rng = np.random.default_rng(frames)
    return rng.integers(0, 256, (2, frames, 6, 6, 3), dtype=np.uint8)


class PredictorTests:
    """Tests of a predictor; each framework inherits them.

    Attributes:
        module: The framework's module `predictor`.
        run: Runs a model on clips [B, T, H, W, C] in its own values: logits, and endpoints with
            channels last.
    """

    module: Any
    run: Any

    def _make(self, contract: InputContract = USUAL, precision: str = "float32") -> Any:
        return self.module.make_predictor(make_model(contract=contract), precision=precision)

    def _model(self, own: Any, clips: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Logits of the model itself, [B, K], and of its time steps, [B, T', K]."""
        logits, endpoints = self.run(own.model, clips / np.float32(127.5) - 1)
        kernel, bias = (ARRAYS[f"Logits.fc.conv.{name}"] for name in ("weight", "bias"))
        return logits, endpoints["Features"].mean(axis=(2, 3)) @ kernel.reshape(3, 6).T + bias

    @pytest.mark.parametrize("contract", [USUAL, STANDARDISED])
    def test_uint8_and_float_clips_become_what_the_contract_says(
        self, contract: InputContract
    ) -> None:
        own, clips = self._make(contract), make_clips()
        mean, std = contract.mean or (127.5,) * 3, contract.std or (127.5,) * 3
        values = (clips - np.array(mean, np.float32)) / np.array(std, np.float32)
        expected, _ = self.run(own.model, values)
        for given in (clips, clips.astype(np.float32)):
            actual = own.scores(given)
            assert (actual.shape, actual.dtype) == ((2, 3), np.float32)
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
        assert np.abs(expected[0] - expected[1]).max() > 1e-3

    def test_flow_is_taken_as_it_is(self) -> None:
        """Stored as pictures it is what a decoder makes of them."""
        flow = randomise.clips((2, 4, 6, 6, 2))
        own = self.module.make_predictor(make_model(FLOW_NET, FLOW_ARRAYS, FLOW_CONTRACT))
        images = np.rint((flow + 1) * 127.5).astype(np.uint8)
        decoded = encoding.to_unit(encoding.to_pixels(images))
        for given, values in ((flow, flow), (images, decoded)):
            expected, _ = self.run(own.model, values)
            np.testing.assert_allclose(own.scores(given), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("frames", [2, 3, 12])
    def test_clips_of_several_lengths(self, frames: int) -> None:
        own, clips = self._make(), make_clips(frames)
        expected, steps = self._model(own, clips)
        assert steps.shape == (2, -(-frames // 2), 3)
        np.testing.assert_allclose(own.scores(clips), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(own.scores(clips), steps.mean(axis=1), rtol=1e-4, atol=1e-6)
        assert own.frame_scores(clips).shape == (2, frames, 3)

    def test_frames_have_the_logits_between_time_steps(self) -> None:
        own, clips = self._make(), make_clips(4)
        _, steps = self._model(own, clips)
        first, second = steps[:, 0], steps[:, 1]
        expected = [first, 0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second, second]
        actual = own.frame_scores(clips)
        assert (actual.shape, actual.dtype) == ((2, 4, 3), np.float32)
        np.testing.assert_allclose(actual, np.stack(expected, axis=1), rtol=1e-4, atol=1e-6)
        assert np.abs(first - second).max() > 1e-3

    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_half_precision_is_near_and_gives_float32(self, precision: str) -> None:
        clips = make_clips()
        actual = self._make(precision=precision).scores(clips)
        expected = self._make().scores(clips)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=0.03)
        assert np.abs(actual - expected).max() > 1e-6  # else it was not half

    @pytest.mark.parametrize("endpoint", ["res2_0", "Logits", "Features"])
    def test_features_are_an_endpoint_averaged_over_the_area(self, endpoint: str) -> None:
        own = self.module.make_predictor(make_model(), endpoints=[endpoint], device="cpu")
        clips = make_clips(4)
        _, endpoints = self.run(own.model, clips / np.float32(127.5) - 1)
        expected = endpoints[endpoint]
        expected = expected[:, None] if expected.ndim == 2 else expected.mean(axis=(2, 3))
        actual = own.features(clips, endpoint)
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)

    def test_what_it_cannot_take_is_refused(self) -> None:
        make = self.module.make_predictor
        with pytest.raises(CheckpointError, match=r"conv1\.conv\.weight"):
            make(make_model(arrays=FLOW_ARRAYS))
        with pytest.raises(ValueError, match=r"no such endpoint.*Received: 'Mixed_3b'"):
            make(make_model(), endpoints=["Mixed_3b"])
        own, clips = self._make(), make_clips()
        with pytest.raises(ValueError, match=r"no features of 'res2_0'\. Expected one of Feature"):
            own.features(clips, "res2_0")
        broken = np.full(clips.shape, np.nan, np.float32)
        for ask in (own.scores, own.frame_scores, lambda clips: own.features(clips, "Features")):
            with pytest.raises(ValueError, match=r"wrong type\. Expected uint8 RGB.*: float64\."):
                ask(clips.astype(np.float64))
            with pytest.raises(ValueError, match="expected clips of finite numbers"):
                ask(broken)
