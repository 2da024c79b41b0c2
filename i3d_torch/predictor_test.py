"""A network in inference against the model itself; the twin of `i3d_tf/predictor_test.py`."""

import numpy as np
import torch

from common.testing import predictor as checks
from i3d_torch import model as video_model
from i3d_torch import predictor
from i3d_torch.model import VideoModel


def _run(model, values):
    clips = torch.tensor(values, device=next(model.parameters()).device).movedim(-1, 1)
    with torch.no_grad():
        logits, endpoints = model(clips)
    return logits.cpu().numpy(), {
        name: x.movedim(1, -1).cpu().numpy() for name, x in endpoints.items()
    }


class TestPredictor(checks.PredictorTests):
    module, run = predictor, staticmethod(_run)


def test_a_model_in_training_is_not_changed():
    model = VideoModel(checks.NET)
    video_model.assign(model, checks.ARRAYS)
    own = predictor.Predictor(model.eval(), checks.USUAL)
    expected = own.scores(checks.make_clips())
    own.model.train()
    np.testing.assert_array_equal(own.scores(checks.make_clips()), expected)
    assert own.model.training
    for name, array in video_model.arrays(own.model).items():
        np.testing.assert_array_equal(array, checks.ARRAYS[name], err_msg=name)
