import numpy as np
import pytest

pytest.importorskip("sonnet", reason="needs the extra 'tf'")
tf = pytest.importorskip("tensorflow")

from absl import flags  # noqa: E402

import i3d_tf  # noqa: E402
from i3d_tf import evaluate_sample, multi_evaluate  # noqa: E402


def test_predict_feeds_the_clip_in_the_order_of_the_backend(monkeypatch):
    clip = np.arange(9 * 8 * 6 * 3, dtype=np.float32).reshape(1, 9, 8, 6, 3)
    seen = []

    def load(checkpoint, architecture):
        def model(clips):
            seen.append((checkpoint, architecture, list(clips.shape), float(clips[0, 2, 3, 4, 1])))
            return tf.zeros([1, 7]), {}

        return model

    monkeypatch.setattr(i3d_tf, "load", load)
    monkeypatch.setattr(i3d_tf, "optimize", lambda model, endpoints: model)
    logits = evaluate_sample.predict("name", clip, "r2plus1d_18")
    assert isinstance(logits, np.ndarray)
    assert (logits.shape, logits.dtype) == ((7,), np.float32)
    assert seen == [("name", "r2plus1d_18", [1, 9, 8, 6, 3], clip[0, 2, 3, 4, 1])]


def test_the_commands_show_their_flags():
    def names(module):
        return {flag.name for flag in flags.FLAGS.get_key_flags_for_module(module.__name__)}

    assert names(evaluate_sample) == {
        *(
            "architecture",
            "checkpoint",
            "eval_type",
            "flow_engine",
            "gif",
            "imagenet_pretrained",
            "max_frames",
            "output",
        ),
        *("overwrite", "sample", "threads", "video"),
    }
    assert names(multi_evaluate) == {"output_dir", "sample", "threads"}
