"""Windows of a stream, and chunks of a long one, against the same frames of the whole."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from common import arch
from common.arch.spans_test import local_endpoints
from common.features.network import find_endpoint
from common.features.settings import Extraction
from common.features.windows import Window, chunks, plan, rows_before

NET = arch.make("inception_i3d")
PRIME = 8191


def cut(extraction, count, net=NET):
    """The windows of so many frames, as lists of numbers; then the spans of the rows."""
    found = list(plan(extraction, net, find_endpoint(net, extraction), count))
    if extraction.mode != "dense":  # a stream whose end is not known begins in the same way
        endless = plan(extraction, net, find_endpoint(net, extraction), None)
        for window in found:
            if max(coming := next(endless).frames) >= count:
                break
            assert window.frames == coming
    return [[*window.frames] for window in found], [span for w in found for span in w.spans]


@pytest.mark.parametrize("count", [5, 17])
@pytest.mark.parametrize(("window", "rate", "stride"), [(5, 1, 5), (5, 1, 2), (3, 2, 7), (1, 1, 1)])
def test_segments(count, window, rate, stride):
    """All whole windows in order; what is left at the end is dropped."""
    span = (window - 1) * rate + 1
    starts = range(0, count - span + 1, stride)
    clips, spans = cut(Extraction(window=window, rate=rate, stride=stride), count)
    assert clips == [list(range(a, a + span, rate)) for a in starts]
    assert spans == [(a, a + span) for a in starts]


@pytest.mark.parametrize("count", [1, 11])
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
    assert cut(replace(extraction, pad="rows"), count)[0] == inside
    assert rows_before(extraction) == len(range(0, 3, frequency))


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
    assert cut(padded, 3) == ([[0, 1, 2, 2, 2]], [(0, 3)])
    # The first window that would fit begins after the first frame: around frame 3.
    padded = Extraction(mode="framewise", window=5, pad="rows", frequency=3)
    assert cut(padded, 4) == ([[0, 1, 2, 3, 0]], [(0, 4)])
    assert cut(padded, 5) == ([[0, 1, 2, 3, 4]], [(0, 5)])
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


def run(net, clip, last):
    """Every endpoint [R] up to the last, of a clip [T] of one channel of integers below a prime.

    No weight is 0, so that a sum differs where one of its terms does; as in the layers, padding
    counts as 0 in sums and not at all in pools.
    """
    rng = np.random.default_rng(0)

    def through(x, part):
        n, k, s = len(x), part.kernel[0], part.stride[0]
        padding = part.padding if part.padding == "same" else (part.padding[0],) * 3
        before, after = arch.pads((n,) * 3, (k,) * 3, (s,) * 3, padding)[0]
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


@pytest.mark.parametrize(
    "name", ["inception_i3d", "i3d_resnet50_32x2", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18"]
)
@pytest.mark.parametrize(("start", "most"), [(20, 20), (250, 131)])
def test_the_rows_of_chunks_are_those_of_the_clip(name, start, most):
    net = arch.make(name)
    least, *sides = arch.smallest_size(net)
    frames = max(start, least)
    with contextlib.suppress(StopIteration):
        while True:  # until the groups of a non-local block fit
            with contextlib.suppress(ValueError):
                arch.endpoint_shapes(net, (frames, *sides))
                raise StopIteration
            frames += 1
    clip, endpoints = np.random.default_rng(0).integers(0, PRIME, frames), local_endpoints(net)
    whole = run(net, clip, endpoints[-1])
    for endpoint in endpoints:
        longest = most
        try:
            planned = chunks(net, endpoint, frames, most)
        except ValueError as error:
            longest = int(str(error).split("at least ")[1].split()[0])
            assert most < longest <= frames
            planned = chunks(net, endpoint, frames, longest)
        rows = []
        for numbers, spans, skip in planned:
            assert 0 < len(numbers) <= longest
            found = run(net, clip[numbers.start : numbers.stop], endpoint)[endpoint]
            rows.append(found[skip : skip + len(spans)])
            assert 0 < len(rows[-1]) == len(spans)
        np.testing.assert_array_equal(np.concatenate(rows), whole[endpoint])


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
    found = chunks(NET, "Features", frames, least)
    assert {len(chunk.frames) for chunk in found[:-1]} == {least}
    with pytest.raises(ValueError, match=rf"at least {least} frames. Received: {least - 1}\.$"):
        chunks(NET, "Features", frames, least - 1)
