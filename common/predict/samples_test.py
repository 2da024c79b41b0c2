import dataclasses

import numpy as np
import pytest

from common import download
from common.io import Digest
from common.predict import samples


@pytest.fixture
def own_sample(tmp_path, monkeypatch):
    """Makes a sample of arrays of our own in a folder of I3D_DATA."""
    monkeypatch.setenv("I3D_DATA", str(tmp_path))
    monkeypatch.setattr(download, "_PACKAGE", tmp_path / "nowhere")

    def make(name, **arrays):
        files = {}
        for stream, array in arrays.items():
            path = tmp_path / "samples" / f"{stream}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, array)
            digest = Digest("sha256", Digest("sha256", "").of(path))
            files[stream] = download.Asset(stream, f"samples/{stream}.npy", digest, ())
        monkeypatch.setitem(samples.SAMPLES, name, samples.Sample(name, files, ""))

    return make


def test_the_rows():
    assert sorted(samples.SAMPLES) == ["backflip", "cricket"]
    cricket = samples.get("cricket")
    assert sorted(cricket.files) == ["flow", "rgb"]
    assert cricket.files["flow"].relative_path == "samples/v_CricketShot_g04_c01_flow.npy"
    with pytest.raises(ValueError, match="backflip, cricket"):
        samples.get("croquet")


def test_arrays_are_taken_as_they_are(own_sample):
    flow = np.linspace(-1, 1, 1 * 12 * 4 * 4 * 2, dtype=np.float32).reshape(1, 12, 4, 4, 2)
    own_sample("own", flow=flow)
    np.testing.assert_array_equal(samples.clip("own", "flow"), flow)
    np.testing.assert_array_equal(samples.clip("own", "flow", max_frames=9), flow[:, :9])
    with pytest.raises(ValueError, match=r"at least 9 frames, got 5 and --max_frames=5"):
        samples.clip("own", "flow", max_frames=5)


def test_flow_is_computed_from_a_sample_that_is_a_video():
    assert samples.asset("backflip", "flow") == samples.asset("backflip", "rgb")
    assert samples.asset("cricket", "flow") != samples.asset("cricket", "rgb")


def test_a_stream_the_sample_does_not_have(own_sample):
    own_sample("own", rgb=np.zeros((1, 9, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match=r"own has no flow, only rgb\. Use --eval_type=rgb"):
        samples.clip("own", "flow")


def test_a_video_becomes_a_clip(real_data, monkeypatch):
    """The way of the backflip, with a video that is at hand."""
    path = real_data("samples/arm_wrestling.mp4")
    row = samples.SAMPLES["backflip"].files["rgb"]
    same = dataclasses.replace(
        row, relative_path="samples/arm_wrestling.mp4", digest=Digest("sha256", "")
    )
    same = dataclasses.replace(same, digest=Digest("sha256", same.digest.of(path)))
    monkeypatch.setitem(samples.SAMPLES, "own", samples.Sample("own", {"rgb": same}, ""))
    clip = samples.clip("own", "rgb", max_frames=20)
    assert clip.shape == (1, 20, 224, 224, 3)
    assert clip.dtype == np.float32
    assert -1 <= clip.min() < -0.5 < 0.5 < clip.max() <= 1
