"""A network in inference against the model itself; the twin of `i3d_tf/scorer_test.py`."""

import dataclasses

import numpy as np
import pytest
import torch

from common import arch
from common.contracts import FLOW_CONTRACT, InputContract
from common.errors import CheckpointError
from i3d_torch import preprocessing, scorer, weights
from parity_tests import randomise

NET = arch.Network(
    "i3d_resnet50_8x8",
    3,
    (
        arch.Conv("conv1", 4, (1, 3, 3), norm=arch.Norm(1e-3, 0.1, scale=True)),
        arch.Conv("res2_0", 6, (3, 1, 1), (2, 1, 1), norm=arch.Norm(1e-3, 0.1, scale=False)),
        arch.Head(
            "Logits",
            "Features",
            pool=arch.Pool("pool", "average", (1, 4, 4), (1, 1, 1), (0, 0, 0)),
            dropout=0.5,
            conv=arch.Conv("fc", 3, (1, 1, 1), bias=True, relu=False),
            predictions="Predictions",
        ),
    ),
)
FLOW_NET = dataclasses.replace(NET, in_channels=2)
ARRAYS, FLOW_ARRAYS = randomise.arrays(NET), randomise.arrays(FLOW_NET)
USUAL = InputContract()
STANDARDISED = InputContract(mean=(110.0, 100.0, 90.0), std=(58.0, 57.0, 56.0))


def _scorer(contract=USUAL, precision="float32"):
    own = scorer.create(NET, ARRAYS, contract)
    return scorer.Scorer(own.model, contract, precision)


def _clips(frames=4, count=2):
    rng = np.random.default_rng(frames)
    return rng.integers(0, 256, (count, frames, 6, 6, 3), dtype=np.uint8)


def _model(own, values):
    """Logits of the model itself, [B, K], and of its time steps, [B, T', K], in NumPy."""
    with torch.no_grad():
        logits, endpoints = own.model(torch.tensor(values).movedim(-1, 1))
    features = endpoints["Features"].movedim(1, -1).numpy().mean(axis=(2, 3))
    arrays = weights.arrays(own.model)
    kernel, bias = (arrays[f"Logits.fc.conv.{name}"] for name in ("weight", "bias"))
    return logits.numpy(), features @ kernel.reshape(3, 6).T + bias


@pytest.mark.parametrize("contract", [USUAL, STANDARDISED])
def test_uint8_and_float_clips_become_what_the_contract_says(contract):
    own, clips = _scorer(contract), _clips()
    if contract.mean:
        values = (clips - np.float32(contract.mean)) / np.float32(contract.std)
    else:
        values = clips / np.float32(127.5) - 1
    expected, _ = _model(own, values)
    for given in (clips, clips.astype(np.float32)):
        actual = own.scores(given)
        assert (actual.shape, actual.dtype) == ((2, 3), np.float32)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_flow_is_taken_as_it_is():
    flow = randomise.clips((2, 4, 6, 6, 2))
    own = scorer.create(FLOW_NET, FLOW_ARRAYS, FLOW_CONTRACT)
    expected, _ = _model(own, flow)
    np.testing.assert_allclose(own.scores(flow), expected, rtol=1e-5, atol=1e-6)
    # Stored as pictures it would be what a decoder makes of them.
    images = np.rint((flow + 1) * 127.5).astype(np.uint8)
    unit = preprocessing.to_contract(torch.tensor(images).movedim(-1, 1), FLOW_CONTRACT)
    expected, _ = _model(own, unit.movedim(1, -1).numpy())
    np.testing.assert_allclose(own.scores(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frames", [2, 3, 4, 7, 12])
def test_clips_of_several_lengths(frames):
    own, clips = _scorer(), _clips(frames)
    expected, steps = _model(own, clips / np.float32(127.5) - 1)
    assert steps.shape == (2, -(-frames // 2), 3)
    np.testing.assert_allclose(own.scores(clips), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own.scores(clips), steps.mean(axis=1), rtol=1e-4, atol=1e-6)
    assert own.frame_scores(clips).shape == (2, frames, 3)


def test_frames_have_the_logits_between_time_steps():
    own, clips = _scorer(), _clips(4)
    _, steps = _model(own, clips / np.float32(127.5) - 1)
    first, second = steps[:, 0], steps[:, 1]
    expected = [first, 0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second, second]
    actual = own.frame_scores(clips)
    assert (actual.shape, actual.dtype) == ((2, 4, 3), np.float32)
    np.testing.assert_allclose(actual, np.stack(expected, axis=1), rtol=1e-4, atol=1e-6)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_and_gives_float32(precision):
    actual, expected = _scorer(precision=precision).scores(_clips()), _scorer().scores(_clips())
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=0.03)
    assert np.abs(actual - expected).max() > 1e-6  # else it was not half


def test_a_model_in_training_is_not_changed():
    own = _scorer()
    expected = own.scores(_clips())
    own.model.train()
    np.testing.assert_array_equal(own.scores(_clips()), expected)
    assert own.model.training
    for name, array in weights.arrays(own.model).items():
        np.testing.assert_array_equal(array, ARRAYS[name], err_msg=name)


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match=r"conv1\.conv\.weight"):
        scorer.create(NET, FLOW_ARRAYS, USUAL)
