"""A network in inference against the model itself; the twin of `i3d_tf/predictor_test.py`."""

import contextlib

import numpy as np
import pytest
import torch

from common.testing import predictor as checks
from i3d_torch import devices, predictor, weights
from i3d_torch.model import VideoModel


def _run(model, values):
    clips = torch.tensor(values, device=next(model.parameters()).device).movedim(-1, 1)
    with torch.no_grad():
        logits, endpoints = model(clips)
    return logits.cpu().numpy(), {
        name: x.movedim(1, -1).cpu().numpy() for name, x in endpoints.items()
    }


@pytest.mark.parametrize("contract", [checks.USUAL, checks.STANDARDISED])
def test_uint8_and_float_clips_become_what_the_contract_says(contract):
    checks.check_values(predictor, _run, contract)


def test_flow_is_taken_as_it_is():
    checks.check_flow(predictor, _run)


@pytest.mark.parametrize("frames", [2, 3, 4, 7, 12])
def test_clips_of_several_lengths(frames):
    checks.check_lengths(predictor, _run, frames)


def test_frames_have_the_logits_between_time_steps():
    checks.check_frames(predictor, _run)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_and_gives_float32(precision):
    checks.check_precision(predictor, precision)


def test_a_model_in_training_is_not_changed():
    model = VideoModel(checks.NET)
    weights.assign(model, checks.ARRAYS)
    own = predictor.Predictor(model.eval(), checks.USUAL)
    expected = own.scores(checks.make_clips())
    own.model.train()
    np.testing.assert_array_equal(own.scores(checks.make_clips()), expected)
    assert own.model.training
    for name, array in weights.arrays(own.model).items():
        np.testing.assert_array_equal(array, checks.ARRAYS[name], err_msg=name)


def test_the_model_and_its_clips_are_where_the_process_has_its_gpu(monkeypatch):
    """With a device that only knows shapes in the GPU's place; it has no autocast."""
    monkeypatch.setattr(devices, "choose", lambda *_: torch.device("meta"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(predictor, "optimize", lambda model, *_: model)
    own = predictor.make_predictor(checks.make_model())
    assert {p.device for p in own.model.state_dict().values()} == {torch.device("meta")}
    assert own.time_steps(checks.make_clips()).device == torch.device("meta")


def test_weights_of_another_network_are_refused():
    checks.check_other_weights(predictor)


@pytest.mark.parametrize("endpoint", ["res2_0", "Logits", "Features"])
def test_features_are_an_endpoint_averaged_over_the_area(endpoint):
    checks.check_features(predictor, _run, endpoint)


def test_what_it_cannot_take_is_refused():
    checks.check_refusals(predictor)
