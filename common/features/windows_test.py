"""Windows of a stream, and chunks of a long one, against the same frames of the whole."""

import contextlib
import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import arch
from common.arch.spans_test import local_endpoints
from common.features.network import find_endpoint
from common.features.settings import Extraction
from common.features.windows import Window, Windows, chunks

NET = arch.make("inception_i3d")
PRIME = 8191


def stream(count):
    """Frames [1, 1, 1], each of which is its own number."""
    return np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)


def cut(extraction, count, net=NET):
    """The windows of so many frames, as lists of numbers; then the spans of the rows."""
    cutter = Windows(extraction, net, find_endpoint(net, extraction), count)
    found = [each for frame in stream(count) for each in cutter.push(frame)]
    found += cutter.end()
    spans = [span for window, _ in found for span in window.spans]
    given = [spans[k] for k in cutter.padded(len(spans))]
    return [clip.ravel().astype(int).tolist() for _, clip in found], given


@pytest.mark.parametrize("count", [5, 6, 17, 19])
@pytest.mark.parametrize(("window", "rate", "stride"), [(5, 1, 5), (5, 1, 2), (3, 2, 7), (1, 1, 1)])
def test_segments(count, window, rate, stride):
    """All whole windows in order; what is left at the end is dropped."""
    span = (window - 1) * rate + 1
    starts = range(0, count - span + 1, stride)
    clips, spans = cut(Extraction(window=window, rate=rate, stride=stride), count)
    assert clips == [list(range(a, a + span, rate)) for a in starts]
    assert spans == [(a, a + span) for a in starts]


@pytest.mark.parametrize("count", [1, 2, 5, 11])
@pytest.mark.parametrize(("window", "rate"), [(1, 1), (4, 1), (3, 3)])
@pytest.mark.parametrize("frequency", [1, 3, 20])
def test_framewise(count, window, rate, frequency):
    """Around each frame; beyond the ends the outermost frames are repeated."""
    span = (window - 1) * rate + 1
    extraction = Extraction(mode="framewise", window=window, rate=rate, frequency=frequency)
    clips, spans = cut(extraction, count)
    begins = [center - (span - 1) // 2 for center in range(0, count, frequency)]
    every = [np.clip(range(a, a + span, rate), 0, count - 1).tolist() for a in begins]
    assert clips == every
    assert spans == [(max(a, 0), min(a + span, count)) for a in begins]


@pytest.mark.parametrize("count", [8, 9, 20])
@pytest.mark.parametrize("frequency", [1, 3])
def test_rows_are_repeated_as_elkoz_pads(count, frequency):
    """Windows of 8 that fit, and rows on both sides; the smaller half is in front."""
    fitting = [c for c in range(0, count, frequency) if c >= 3 and c + 4 < count]
    extraction = Extraction(mode="framewise", window=8, frequency=frequency, pad="none")
    inside = [list(range(c - 3, c + 5)) for c in fitting]
    assert cut(extraction, count)[0] == inside
    clips, spans = cut(replace(extraction, pad="rows"), count)
    nearest = [min(max(c, fitting[0]), fitting[-1]) for c in range(0, count, frequency)]
    assert (clips, spans) == (inside, [(c - 3, c + 5) for c in nearest])


@pytest.mark.parametrize("mode", ["segment", "framewise"])
def test_short_streams(mode):
    extraction = Extraction(mode=mode, window=5, pad="none" if mode == "framewise" else "frames")
    short = {"loop": [0, 1, 2, 0, 1], "pad": [0, 1, 2, 2, 2]}
    for policy, expected in short.items():
        assert cut(replace(extraction, short=policy), 3) == ([expected], [(0, 3)])
    assert cut(replace(extraction, short="skip"), 3) == ([], [])
    with pytest.raises(ValueError, match=r"has 3 frames, and 5 are needed\. --short=loop"):
        cut(replace(extraction, short="error"), 3)
    padded = Extraction(mode="framewise", window=5, pad="rows", short="pad")
    assert cut(padded, 3) == ([[0, 1, 2, 2, 2]], [(0, 3)] * 3)
    # The first window that would fit begins after the first frame: around frame 3.
    padded = Extraction(mode="framewise", window=5, pad="rows", frequency=3)
    assert cut(padded, 4) == ([[0, 1, 2, 3, 0]], [(0, 4)] * 2)
    assert cut(padded, 5) == ([[0, 1, 2, 3, 4]], [(0, 5)] * 2)
    with pytest.raises(ValueError, match="has 5 frames, and 6 are needed"):
        cut(replace(padded, short="error"), 5)


def test_dense_is_whole_or_in_parts():
    whole, spans = cut(Extraction(mode="dense", chunk=400), 250)
    assert whole == [list(range(250))]
    assert (len(spans), spans[0]) == (31, (0, 61))
    parts, parted = cut(Extraction(mode="dense", chunk=160), 250)
    assert len(parts) > 1 and max(map(len, parts)) <= 160
    assert parted == spans
    assert all(part == list(range(part[0], part[-1] + 1)) for part in parts)
    # A stream that is too short for the network.
    assert cut(Extraction(mode="dense"), 4) == ([[0, 1, 2, 3, 0, 1, 2, 3, 0]], [(0, 4)])
    assert cut(Extraction(mode="dense", short="skip"), 4) == ([], [])


def test_a_stream_of_another_length_than_was_counted():
    cutter = Windows(Extraction(mode="dense"), NET, "Features", 20)
    with pytest.raises(ValueError, match="20 frames when they were counted, and 12"):
        [*(list(cutter.push(frame)) for frame in stream(12)), *cutter.end()]


@pytest.mark.parametrize("mode", ["segment", "framewise", "dense"])
def test_memory_does_not_grow(mode):
    """Of eight thousand frames of 4 kB no more than those of a window, or of a chunk."""
    own = {"segment": {}, "framewise": {"frequency": 16}, "dense": {"chunk": 256}}[mode]
    cutter = Windows(Extraction(mode=mode, window=16, **own), NET, "Features", 8000)
    tracemalloc.start()
    for number in range(8000):
        for found in cutter.push(np.full((64, 64, 1), number % 256, np.uint8)):
            del found
    list(cutter.end())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096 * 1000


def run(net, clip, last):
    """Every endpoint [R] up to the last, of a clip [T] of one channel of integers below a prime.

    No weight is 0, so that a sum differs where one of its terms does; as in the layers, padding
    counts as 0 in sums and not at all in pools.
    """
    rng = np.random.default_rng(0)

    def through(x, part):
        n, k, s = len(x), part.kernel[0], part.stride[0]
        before, after = arch.pads((n,) * 3, (k,) * 3, (s,) * 3, _cube(part.padding))[0]
        largest = isinstance(part, arch.Pool) and part.kind == "max"
        padded = np.pad(x, (before, after), constant_values=-1 if largest else 0)
        windows = np.lib.stride_tricks.sliding_window_view(padded, k)[::s]
        if largest:
            return windows.max(axis=1)
        return windows @ rng.integers(1, PRIME, k) % PRIME

    def chained(x, chain):
        for part in chain:
            x = through(x, part)
        return x

    x, found = clip, {}
    for node in net.nodes[:-1]:
        match node:
            case arch.Branches():
                parts = [chained(x, chain) for _, chain in node.branches]
                x = rng.integers(1, PRIME, len(parts)) @ parts % PRIME
            case arch.Residual():
                x = chained(x, node.body) + chained(x, [node.shortcut] if node.shortcut else [])
            case arch.NonLocal():
                weights = rng.integers(1, PRIME, (node.group, node.group))
                x = (x.reshape(-1, node.group) @ weights % PRIME).reshape(-1)
            case _:
                x = through(x, node)
        found[node.name] = x
        if node.name == last:
            return found
    return found | {last: through(x, net.head.pool)}


def _cube(padding):
    return padding if padding == "same" else (padding[0],) * 3


def check(net, endpoints, frames, most):
    """The rows of all chunks, one after the other, are those of the clip."""
    clip = np.random.default_rng(frames).integers(0, PRIME, frames)
    whole = run(net, clip, endpoints[-1])
    for endpoint in endpoints:
        least = 0
        try:
            planned = chunks(net, endpoint, frames, most)
        except ValueError as error:
            least = int(str(error).split("at least ")[1].split()[0])
            assert most < least <= frames
            planned = chunks(net, endpoint, frames, least)
        longest = max(least, most)
        rows = []
        for frames_of, spans, skip in planned:
            assert 0 <= frames_of.start < frames_of.stop <= min(frames, frames_of.start + longest)
            found = run(net, clip[frames_of.start : frames_of.stop], endpoint)[endpoint]
            rows.append(found[skip : skip + len(spans)])
            assert 0 < len(rows[-1]) == len(spans)
        np.testing.assert_array_equal(np.concatenate(rows), whole[endpoint])


def taken(net, start):
    """The first length of a clip from `start` on that the network takes."""
    least = arch.smallest_size(net)
    for frames in itertools.count(max(start, least[0])):
        with contextlib.suppress(ValueError):  # the groups of a non-local block
            arch.endpoint_shapes(net, (frames, *least[1:]))
            return frames


@pytest.mark.parametrize(
    "name", ["inception_i3d", "i3d_resnet50_32x2", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18"]
)
@settings(max_examples=6, deadline=None)
@given(st.integers(1, 500), st.integers(20, 400))
def test_chunks_of_the_architectures(name, start, most):
    net = arch.make(name)
    check(net, local_endpoints(net), taken(net, start), most)


def test_a_plan_by_hand():
    """Row r of 400 frames sees the frames from 8 r - 44 to 8 r + 62."""
    spans = tuple((max(8 * r - 44, 0), min(8 * r + 63, 400)) for r in range(49))
    # 200 frames hold rows that see up to 199: the first 18. Row 18 sees from 100, row 30 from 196,
    # row 42 from 292; chunks start at the multiple of 8 before, where rows see from 44 earlier on.
    assert chunks(arch.inception_i3d(), "Features", 400, 207) == [
        Window(range(200), spans[:18], 0),
        Window(range(96, 296), spans[18:30], 18 - 12),
        Window(range(192, 392), spans[30:42], 30 - 24),
        Window(range(288, 400), spans[42:], 42 - 36),
    ]


@pytest.mark.parametrize(("frames", "least"), [(999, 111), (1004, 116)])
def test_the_least_is_named(frames, least):
    """107 frames, 3 or 4 more from the multiple of 8 before, and what leaves the remainder."""
    net = arch.make("inception_i3d")
    found = chunks(net, "Features", frames, least)
    assert {len(chunk.frames) for chunk in found[:-1]} == {least}
    assert {len(chunk.frames) % 8 for chunk in found} == {frames % 8}
    expected = rf"Expected at least {least} frames. Received: {least - 1}\.$"
    with pytest.raises(ValueError, match=expected):
        chunks(net, "Features", frames, least - 1)


def test_a_network_runs_every_chunk():
    """The rows of the stem see 7 frames, but clips below 9 are refused."""
    for frames in range(20, 60, 3):
        for chunk in chunks(arch.inception_i3d(), "Conv3d_1a_7x7", frames, 16):
            assert 9 <= len(chunk.frames) <= 16
    with pytest.raises(ValueError, match="Logits sees all of a clip"):
        chunks(arch.inception_i3d(), "Logits", 64, 64)
