"""The rows of samples, and which file a stream is read from."""

import pytest

from convert import samples


def test_the_rows():
    assert sorted(samples.SAMPLES) == ["backflip", "cricket"]
    cricket = samples.get("cricket")
    assert sorted(cricket.files) == ["flow", "rgb"]
    assert cricket.files["flow"].relative_path == "samples/v_CricketShot_g04_c01_flow.npy"
    with pytest.raises(ValueError, match="backflip, cricket"):
        samples.get("croquet")


def test_flow_is_computed_from_a_sample_that_is_a_video():
    assert samples.asset("backflip", "flow") == samples.asset("backflip", "rgb")
    assert samples.asset("cricket", "flow") != samples.asset("cricket", "rgb")


def test_a_stream_the_sample_does_not_have(monkeypatch):
    files = {"rgb": samples.asset("cricket", "rgb")}
    monkeypatch.setitem(samples.SAMPLES, "own", samples.Sample("own", files, ""))
    with pytest.raises(ValueError, match=r"own has no flow, only rgb\. Use --eval_type=rgb"):
        samples.asset("own", "flow")
