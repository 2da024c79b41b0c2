"""The published weights on real videos, in both backends, against numbers of another origin.

The expected values were computed in float64 by an independent implementation. What real data
proves here, generated data proves in `test_both_backends_are_close_to_float64`.
"""

import importlib
import json

import numpy as np
import pytest

from common import arch, video
from common.annotations import label_maps
from common.predict import evaluate_sample
from common.preprocessing.frames import to_range
from parity_tests import randomise
from parity_tests.compare import assert_close

WEIGHTS = "checkpoints/rgb_scratch/model.ckpt.index"
GIF = "samples/v_CricketShot_g04_c01_rgb.gif"


@pytest.fixture(scope="module")
def weights(real_data):
    from convert import hub

    return hub.read(real_data(WEIGHTS))


@pytest.mark.slow
def test_cricket_gif_against_float64(backend, real_data, weights):
    frames = np.stack(list(video.read_frames(real_data(GIF))))
    assert frames.shape == (79, 224, 224, 3)
    logits, endpoints = backend.inference(weights.net, weights.arrays, to_range(frames)[None])
    expected = np.load(real_data("expected/rgb_scratch_cricket_gif_logits_f64.npy"))
    features = np.load(real_data("expected/rgb_scratch_cricket_gif_features_f64.npy"))
    np.testing.assert_allclose(logits[0], expected, rtol=0, atol=5e-5)
    np.testing.assert_allclose(endpoints["Features"][0, :, 0, 0], features, rtol=0, atol=1e-5)
    assert np.linalg.norm(logits) == pytest.approx(83.24164202, rel=1e-6)
    top = np.argsort(-logits[0])[:5]
    assert [label_maps.load(label_maps.KINETICS_400)[index] for index in top] == [
        "playing cricket",
        "robot dancing",
        "pumping fist",
        "breakdancing",
        "hurling (sport)",
    ]


@pytest.mark.slow
def test_evaluate_sample_on_a_video(package, real_data, tmp_path, capsys):
    settings = evaluate_sample.Settings(
        eval_type="rgb",
        video=str(real_data("samples/arm_wrestling.mp4")),
        checkpoint=str(real_data(WEIGHTS)),
        output=tmp_path / "out.json",
    )
    importlib.import_module(f"{package.__name__}.evaluate_sample").main(settings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Norm of logits: ")
    assert lines[1:3] == ["", "Top classes and probabilities"]
    assert len(lines) == 23
    first, _, printed = lines[3].split(" ", 2)
    assert printed == "arm wrestling"
    assert float(first) == pytest.approx(1.0, abs=0.005)
    assert json.loads((tmp_path / "out.json").read_text())["top"][0]["class"] == printed


@pytest.mark.slow
def test_both_backends_are_close_to_float64(backend):
    torch = pytest.importorskip("torch", reason="the float64 truth is torch's")
    import i3d_torch

    net = arch.inception_i3d()
    arrays, clips = randomise.arrays(net), randomise.clips((1, 16, 224, 224, 3))
    model = i3d_torch.VideoModel(net).eval()
    i3d_torch.assign(model, arrays)
    with torch.inference_mode():
        _, truth = model.double()(torch.from_numpy(np.moveaxis(clips, -1, 1)).double())
    _, endpoints = backend.inference(net, arrays, clips)
    for name, expected in truth.items():
        assert_close(endpoints[name], np.moveaxis(expected.numpy(), 1, -1), name)
