"""A network in inference against the model itself; the twin of `i3d_torch/predictor_test.py`."""

import pytest
import tensorflow as tf

from common.testing import predictor as checks
from i3d_tf import predictor


def _run(model, values):
    logits, endpoints = model(tf.constant(values), False)
    return logits.numpy(), {name: x.numpy() for name, x in endpoints.items()}


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


def test_lengths_share_a_graph():
    own = checks.make_predictor(predictor)
    for frames in (4, 6, 5, 9, 12, 4):
        own.scores(checks.make_clips(frames))
        own.frame_scores(checks.make_clips(frames))
    assert own._infer.experimental_get_tracing_count() == 2  # of the first, and of any length


def test_weights_of_another_network_are_refused():
    checks.check_other_weights(predictor)


@pytest.mark.parametrize("endpoint", ["res2_0", "Logits", "Features"])
def test_features_are_an_endpoint_averaged_over_the_area(endpoint):
    checks.check_features(predictor, _run, endpoint)


def test_what_it_cannot_take_is_refused():
    checks.check_refusals(predictor)
