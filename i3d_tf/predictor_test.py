"""A network in inference against the model itself; the twin of `i3d_torch/predictor_test.py`."""

import tensorflow as tf

from common.testing import predictor as checks
from i3d_tf import predictor


def _run(model, values):
    logits, endpoints = model(tf.constant(values), False)
    return logits.numpy(), {name: x.numpy() for name, x in endpoints.items()}


class TestPredictor(checks.PredictorTests):
    module, run = predictor, staticmethod(_run)


def test_lengths_share_a_graph():
    own = predictor.make_predictor(checks.make_model())
    for frames in (4, 6, 5, 9, 12, 4):
        own.scores(checks.make_clips(frames))
        own.frame_scores(checks.make_clips(frames))
    assert own._infer.experimental_get_tracing_count() == 2  # of the first, and of any length
