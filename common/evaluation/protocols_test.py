"""What the protocols mean in frames and pixels, against numbers counted by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from common.evaluation import protocols
from common.evaluation.protocols import PROTOCOLS, Protocol
from common.preprocessing.contracts import RGB_CONTRACT, usual


def _filled(name, **changes):
    contract = dataclasses.replace(RGB_CONTRACT, **{"frames": 64, **changes})
    return PROTOCOLS[name].filled(contract, least=9)


def views(protocol, total, height, width):
    places = protocols.corners(protocol, height, width)
    return [(window, place) for window in protocols.windows(protocol, total) for place in places]


def test_the_original_takes_up_to_250_frames_and_the_centre_of_224():
    protocol = _filled("quo_vadis")
    assert protocol.average == "logits"
    ((frames, corner),) = views(protocol, 300, 256, 340)
    assert (frames, corner) == (list(range(250)), (16, 58))
    assert [len(window) for window in protocols.windows(protocol, 79)] == [79]
    assert protocols.windows(protocol, 4) == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]  # 9 at least


def test_a_whole_clip_with_a_rate_is_as_long_as_asked():
    protocol = PROTOCOLS["quo_vadis"].filled(dataclasses.replace(RGB_CONTRACT, stride=2), least=3)
    assert protocols.windows(protocol, 1000) == [list(range(0, 500, 2))]
    assert protocols.windows(protocol, 7) == [[0, 2, 4, 6]]
    assert protocols.windows(protocol, 2) == [[0, 0, 0]]  # looped: 0 1 0 1 0, every 2nd


def test_thirty_views_are_ten_times_three():
    protocol = PROTOCOLS["thirty_view"].filled(usual("i3d_resnet50_32x2"))
    assert (protocol.frames, protocol.rate, protocol.average) == (32, 2, "softmax")
    found = views(protocol, 300, 256, 340)
    assert len(found) == 30
    assert [frames[0] for frames, _ in found[::3]] == [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]
    assert [corner for _, corner in found[:3]] == [(0, 0), (0, 42), (0, 84)]
    assert found[29][0] == [(270 + 2 * k) % 300 for k in range(32)]
    assert views(protocol, 300, 340, 256)[2][1] == (84, 0)


def test_clip_is_one_in_the_middle():
    ((frames, corner),) = views(_filled("clip"), 100, 256, 256)
    assert (frames, corner) == (list(range(18, 82)), (16, 16))


def test_sliding_windows_follow_each_other_in_pictures_as_small_as_the_crop():
    protocol = PROTOCOLS["sliding"].filled(usual("r2plus1d_18"))
    assert (protocol.frames, protocol.short_side, protocol.crop) == (16, 112, 112)
    windows = protocols.windows(protocol, 40)
    assert [window[0] for window in windows] == [0, 16, 32]
    assert windows[2] == [*range(32, 40), *range(32, 40)]
    closer = dataclasses.replace(protocol, stride=8)
    assert [window[0] for window in protocols.windows(closer, 40)] == [0, 8, 16, 24, 32]


@pytest.mark.parametrize("total", [1, 63, 64, 65, 96, 97, 500])
@pytest.mark.parametrize("rate", [1, 2])
def test_every_frame_is_in_a_window_that_does_not_loop(total, rate):
    windows = protocols.windows(_filled("every_frame", stride=rate), total)
    assert all(len(window) == 64 for window in windows)
    span = 63 * rate + 1
    assert {index // rate for window in windows for index in window} >= {
        index // rate for index in range(total - rate + 1)
    }
    if total > span:
        assert windows[0][0] == 0
        assert windows[-1][-1] == total - 1
        starts = [window[0] for window in windows]
        steps = [b - a for a, b in itertools.pairwise(starts)]
        assert min(steps) > 0
        assert max(steps) <= span // 2
    else:
        assert len(windows) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_text_says_it_all(name):
    protocol = _filled(name)
    record = protocol.record()
    assert record["text"] == protocol.text
    for part in (name, str(protocol.crop), f"short side {protocol.short_side}", protocol.source):
        assert part in protocol.text
    assert Protocol(**{k: v for k, v in record.items() if k != "text"}) == protocol


def test_texts():
    assert _filled("quo_vadis").text == (
        "quo_vadis: the whole clip, up to 250 frames, every frame; the centre crop of 224x224, "
        "short side 256; mean of the logits (Carreira and Zisserman, CVPR 2017)"
    )
    assert PROTOCOLS["thirty_view"].filled(usual("i3d_resnet50_32x2")).text == (
        "thirty_view: 10 windows of 32 frames, evenly spread, every 2nd frame; 3 crops along the "
        "longer side of 256x256, short side 256; mean of the probabilities (Wang et al., CVPR 2018)"
    )
    assert "the network's size, short side the network's" in PROTOCOLS["clip"].text


def test_an_unknown_protocol_and_a_video_without_frames_are_refused():
    with pytest.raises(ValueError, match=r"no such protocol\. Expected one of clip, every_frame"):
        protocols.get("ten_crop")
    for name in PROTOCOLS:
        with pytest.raises(ValueError, match="total must be at least 1"):
            protocols.windows(_filled(name), 0)


def _clips(how, *logits):
    return protocols.mean_of_views([np.array(row, np.float32) for row in logits], how)


def test_logits_are_averaged():
    np.testing.assert_array_equal(_clips("logits", [1, 2, 3], [3, 0, 0]), [2, 1, 1.5])


def test_probabilities_are_averaged():
    logits = _clips("softmax", np.log([0.5, 0.25, 0.25]) + 7, np.log([0.1, 0.8, 0.1]) - 3)
    np.testing.assert_allclose(np.exp(logits), [0.3, 0.525, 0.175], rtol=1e-6)
    assert logits.dtype == np.float32


def test_a_probability_that_vanishes_stays_finite():
    logits = _clips("softmax", [0, 1000, -1000], [0, 900, -900])
    np.testing.assert_allclose(logits, [-900 - np.log(2), 0, -1800 - np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("how", ["logits", "softmax"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(how, bad):
    with (
        pytest.raises(ValueError, match="its logits are not finite"),
        np.errstate(invalid="ignore"),
    ):
        _clips(how, [0, bad])


def _frames(rate, moments, *views):
    scored = [(indices, np.array(logits, np.float32)[:, None]) for indices, logits in views]
    return protocols.mean_of_frames(scored, moments, rate)


def test_a_frame_has_the_mean_of_the_views_that_show_it():
    video, moments = _frames(1, [0, 1, 3, 3], ([0, 1, 2], [1, 2, 3]), ([1, 2, 3], [4, 5, 6]))
    np.testing.assert_array_equal(moments[:, 0], [1, 3, 6, 6])
    np.testing.assert_array_equal(video, [6])


def test_a_frame_that_a_loop_shows_again_counts_once():
    video, moments = _frames(1, [0, 1], ([0, 1, 0, 1], [1, 2, 30, 40]))
    np.testing.assert_array_equal(moments[:, 0], [1, 2])
    np.testing.assert_array_equal(video, [2])


def test_frames_between_take_the_nearest():
    _, moments = _frames(3, range(8), ([0, 3, 6], [1, 2, 3]))
    np.testing.assert_array_equal(moments[:, 0], [1, 1, 2, 2, 2, 3, 3, 3])


def test_a_frame_that_no_view_shows_is_refused():
    with pytest.raises(ValueError, match="frame 3 is in no view of it"):
        _frames(1, range(8), ([0, 1, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="not finite"):
        _frames(1, [0], ([0], [np.nan]))
