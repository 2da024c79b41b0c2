"""Windows of a stream against the same frames chosen from the whole of it."""

import itertools
import tracemalloc

import numpy as np
import pytest

from common import arch
from common.features import windows
from common.features.extraction import Extraction, filled, rows_endpoint
from common.preprocessing.contracts import usual

NET = arch.make("inception_i3d")


def stream(count):
    """Frames [1, 1, 1], each of which is its own number."""
    return np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)


def cut(extraction, count, net=NET):
    """The windows of so many frames, as lists of numbers; then the frames that rows are of."""
    cutter = windows.create(extraction, net, rows_endpoint(net, extraction), count)
    found = [window for frame in stream(count) for window in cutter.push(frame)]
    found += cutter.end()
    return [window.clip.ravel().astype(int).tolist() for window in found], [
        list(window.spans) for window in found
    ]


@pytest.mark.parametrize("count", [5, 6, 17, 18, 19])
@pytest.mark.parametrize(("window", "rate", "stride"), [(5, 1, 5), (5, 1, 2), (3, 2, 7), (1, 1, 1)])
def test_segments(count, window, rate, stride):
    """All whole windows in order; what is left at the end is dropped."""
    span = (window - 1) * rate + 1
    starts = range(0, count - span + 1, stride)
    clips, spans = cut(Extraction("segment", window, rate, stride), count)
    assert clips == [list(range(a, a + span, rate)) for a in starts]
    assert spans == [[(a, a + span)] for a in starts]


@pytest.mark.parametrize("count", [1, 2, 5, 11])
@pytest.mark.parametrize(("window", "rate"), [(1, 1), (4, 1), (5, 1), (3, 3)])
@pytest.mark.parametrize("frequency", [1, 3, 20])
def test_framewise(count, window, rate, frequency):
    """Around each frame; beyond the ends the outermost frames are repeated."""
    span = (window - 1) * rate + 1
    settings = Extraction("framewise", window, rate, frequency=frequency)
    clips, spans = cut(settings, count)
    centers = range(0, count, frequency)
    begins = [center - (span - 1) // 2 for center in centers]
    every = [np.clip(range(a, a + span, rate), 0, count - 1).tolist() for a in begins]
    assert clips == every
    assert spans == [[(max(a, 0), min(a + span, count))] for a in begins]


@pytest.mark.parametrize("count", [8, 9, 20])
@pytest.mark.parametrize("frequency", [1, 3])
def test_rows_are_repeated_as_elkoz_pads(count, frequency):
    """Windows of 8 that fit, and rows on both sides; the smaller half is in front."""
    fitting = [c for c in range(0, count, frequency) if c >= 3 and c + 4 < count]
    settings = Extraction("framewise", 8, 1, frequency=frequency, pad="none")
    clips, spans = cut(settings, count)
    assert clips == [list(range(c - 3, c + 5)) for c in fitting]
    _, spans = cut(Extraction("framewise", 8, 1, frequency=frequency, pad="rows"), count)
    rows = [*itertools.chain(*spans)]
    nearest = [min(max(c, fitting[0]), fitting[-1]) for c in range(0, count, frequency)]
    assert rows == [(c - 3, c + 5) for c in nearest]
    if frequency == 1:
        front = next(k for k, row in enumerate(rows) if row != rows[0]) - 1 if count > 8 else None
        assert front in (3, None)


@pytest.mark.parametrize("mode", ["segment", "framewise"])
def test_short_streams(mode):
    short = {"loop": [0, 1, 2, 0, 1], "pad": [0, 1, 2, 2, 2]}
    for policy, expected in short.items():
        settings = Extraction(mode, 5, 1, 5, pad="none", short=policy)
        assert cut(settings, 3) == ([expected], [[(0, 3)]])
    assert cut(Extraction(mode, 5, 1, 5, pad="none", short="skip"), 3) == ([], [])
    with pytest.raises(ValueError, match=r"has 3 frames, and 5 are needed\. --short=loop"):
        cut(Extraction(mode, 5, 1, 5, pad="none", short="error"), 3)
    padded = Extraction("framewise", 5, 1, pad="rows", short="pad")
    assert cut(padded, 3) == ([[0, 1, 2, 2, 2]], [[(0, 3)] * 3])


def test_dense_is_whole_or_in_parts():
    whole, spans = cut(Extraction("dense", chunk=400), 250)
    assert whole == [list(range(250))]
    assert len(spans[0]) == 31
    assert spans[0][0] == (0, 61)
    parts, parted = cut(Extraction("dense", chunk=160), 250)
    assert len(parts) > 1
    assert max(map(len, parts)) <= 160
    assert [*itertools.chain(*parted)] == spans[0]
    assert all(part == list(range(part[0], part[-1] + 1)) for part in parts)


def test_dense_of_a_short_stream():
    clips, spans = cut(Extraction("dense"), 4)
    assert clips == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]
    assert spans == [[(0, 4)]]
    assert cut(Extraction("dense", short="skip"), 4) == ([], [])


def test_a_stream_of_another_length_than_was_counted():
    cutter = windows.create(Extraction("dense"), NET, "Features", 20)
    with pytest.raises(ValueError, match="20 frames when they were counted, and 12"):
        [*(list(cutter.push(frame)) for frame in stream(12)), *cutter.end()]


@pytest.mark.parametrize("mode", ["segment", "framewise", "dense"])
def test_memory_does_not_grow(mode):
    """Of twenty thousand frames of 4 kB no more than those of a window, or of a chunk."""
    settings = Extraction(mode, 16, 1, 16, frequency=16, chunk=256)
    cutter = windows.create(settings, NET, "Features", 20_000)
    tracemalloc.start()
    for number in range(20_000):
        for window in cutter.push(np.full((64, 64, 1), number % 256, np.uint8)):
            del window
    list(cutter.end())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096 * 1000


def test_what_is_open_is_filled_from_the_weights():
    contract = usual("i3d_resnet50_32x2")
    settings = filled(Extraction(), contract, contract.frames)
    assert (settings.window, settings.rate, settings.stride) == (32, 2, 63)
    assert (settings.fps, settings.resize, settings.crop) == (30.0, 256, 224)
    kept = filled(Extraction(window=8, stride=2, fps=0, crop=112), contract, contract.frames)
    assert (kept.window, kept.stride, kept.fps, kept.crop) == (8, 2, 0, 112)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "whole"}, "mode must be one of dense, framewise, segment"),
        ({"crops": "five"}, "crops must be one of"),
        ({"window": 0}, "window must be at least 1"),
        ({"fps": float("nan")}, "fps must be at least 0"),
        ({"size": (340,)}, "size must be a width and a height"),
        ({"values": (1.0, -1.0)}, "values must be a low and a high"),
    ],
)
def test_settings_that_make_no_sense(settings, text):
    with pytest.raises(ValueError, match=text):
        Extraction(**settings)
