"""Windows of a stream, and chunks of a long one, against the same frames of the whole."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common import arch
from common.arch.spans_test import lengths, local_endpoints, networks
from common.features.settings import Extraction, find_endpoint
from common.features.windows import Chunk, Windows, chunks

NET = arch.make("inception_i3d")
PRIME = 8191


def stream(count):
    """Frames [1, 1, 1], each of which is its own number."""
    return np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)


def cut(extraction, count, net=NET):
    """The windows of so many frames, as lists of numbers; then the frames that rows are of."""
    cutter = Windows(extraction, net, find_endpoint(net, extraction), count)
    found = [window for frame in stream(count) for window in cutter.push(frame)]
    found += cutter.end()
    clips = [window.clip for window in found if window.clip is not None]
    return [clip.ravel().astype(int).tolist() for clip in clips], [
        list(window.spans) for window in found
    ]


@pytest.mark.parametrize("count", [5, 6, 17, 18, 19])
@pytest.mark.parametrize(("window", "rate", "stride"), [(5, 1, 5), (5, 1, 2), (3, 2, 7), (1, 1, 1)])
def test_segments(count, window, rate, stride):
    """All whole windows in order; what is left at the end is dropped."""
    span = (window - 1) * rate + 1
    starts = range(0, count - span + 1, stride)
    clips, spans = cut(Extraction(window=window, rate=rate, stride=stride), count)
    assert clips == [list(range(a, a + span, rate)) for a in starts]
    assert spans == [[(a, a + span)] for a in starts]


@pytest.mark.parametrize("count", [1, 2, 5, 11])
@pytest.mark.parametrize(("window", "rate"), [(1, 1), (4, 1), (5, 1), (3, 3)])
@pytest.mark.parametrize("frequency", [1, 3, 20])
def test_framewise(count, window, rate, frequency):
    """Around each frame; beyond the ends the outermost frames are repeated."""
    span = (window - 1) * rate + 1
    extraction = Extraction(mode="framewise", window=window, rate=rate, frequency=frequency)
    clips, spans = cut(extraction, count)
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
    extraction = Extraction(mode="framewise", window=8, frequency=frequency, pad="none")
    clips, spans = cut(extraction, count)
    assert clips == [list(range(c - 3, c + 5)) for c in fitting]
    _, spans = cut(Extraction(mode="framewise", window=8, frequency=frequency, pad="rows"), count)
    rows = [*itertools.chain(*spans)]
    nearest = [min(max(c, fitting[0]), fitting[-1]) for c in range(0, count, frequency)]
    assert rows == [(c - 3, c + 5) for c in nearest]
    if frequency == 1:
        front = next(k for k, row in enumerate(rows) if row != rows[0]) - 1 if count > 8 else None
        assert front in (3, None)


@pytest.mark.parametrize("mode", ["segment", "framewise"])
def test_short_streams(mode):
    extraction = Extraction(mode=mode, window=5, pad="none" if mode == "framewise" else "frames")
    short = {"loop": [0, 1, 2, 0, 1], "pad": [0, 1, 2, 2, 2]}
    for policy, expected in short.items():
        assert cut(replace(extraction, short=policy), 3) == ([expected], [[(0, 3)]])
    assert cut(replace(extraction, short="skip"), 3) == ([], [])
    with pytest.raises(ValueError, match=r"has 3 frames, and 5 are needed\. --short=loop"):
        cut(replace(extraction, short="error"), 3)
    padded = Extraction(mode="framewise", window=5, pad="rows", short="pad")
    assert cut(padded, 3) == ([[0, 1, 2, 2, 2]], [[(0, 3)] * 3])


def test_dense_is_whole_or_in_parts():
    whole, spans = cut(Extraction(mode="dense", chunk=400), 250)
    assert whole == [list(range(250))]
    assert len(spans[0]) == 31
    assert spans[0][0] == (0, 61)
    parts, parted = cut(Extraction(mode="dense", chunk=160), 250)
    assert len(parts) > 1
    assert max(map(len, parts)) <= 160
    assert [*itertools.chain(*parted)] == spans[0]
    assert all(part == list(range(part[0], part[-1] + 1)) for part in parts)


def test_dense_of_a_short_stream():
    clips, spans = cut(Extraction(mode="dense"), 4)
    assert clips == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]
    assert spans == [[(0, 4)]]
    assert cut(Extraction(mode="dense", short="skip"), 4) == ([], [])


def test_a_stream_of_another_length_than_was_counted():
    cutter = Windows(Extraction(mode="dense"), NET, "Features", 20)
    with pytest.raises(ValueError, match="20 frames when they were counted, and 12"):
        [*(list(cutter.push(frame)) for frame in stream(12)), *cutter.end()]


@pytest.mark.parametrize("mode", ["segment", "framewise", "dense"])
def test_memory_does_not_grow(mode):
    """Of twenty thousand frames of 4 kB no more than those of a window, or of a chunk."""
    own = {"segment": {}, "framewise": {"frequency": 16}, "dense": {"chunk": 256}}[mode]
    extraction = Extraction(mode=mode, window=16, **own)
    cutter = Windows(extraction, NET, "Features", 20_000)
    tracemalloc.start()
    for number in range(20_000):
        for window in cutter.push(np.full((64, 64, 1), number % 256, np.uint8)):
            del window
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


def kept(chunk):
    """The rows of a chunk that are rows of the whole."""
    return slice(chunk.skip, chunk.skip + chunk.rows.stop - chunk.rows.start)


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
        for chunk in planned:
            assert 0 <= chunk.start < chunk.stop <= min(frames, chunk.start + longest)
            assert chunk.rows.start == sum(map(len, rows))
            found = run(net, clip[chunk.start : chunk.stop], endpoint)[endpoint]
            rows.append(found[kept(chunk)])
            assert 0 < len(rows[-1]) == chunk.rows.stop - chunk.rows.start
        np.testing.assert_array_equal(np.concatenate(rows), whole[endpoint])


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(1, 150), st.integers(1, 80))
def test_of_made_up_networks(net, start, most):
    frames = next(lengths(net, start), None)
    assume(frames is not None)
    check(net, local_endpoints(net), frames, most)


@pytest.mark.parametrize(
    "name", ["inception_i3d", "i3d_resnet50_32x2", "i3d_resnet50_nl_8x8_affine", "r2plus1d_18"]
)
@settings(max_examples=3, deadline=None)
@given(st.integers(1, 500), st.integers(20, 400))
def test_of_the_architectures(name, start, most):
    net = arch.make(name)
    check(net, local_endpoints(net), next(lengths(net, start)), most)


def test_a_plan_by_hand():
    """Row r of 400 frames sees the frames from 8 r - 44 to 8 r + 62."""
    found = chunks(arch.inception_i3d(), "Features", 400, 207)
    # 200 frames hold rows that see up to 199: the first 18. Row 18 sees from 100, row 30 from 196,
    # row 42 from 292; chunks start at the multiple of 8 before, where rows see from 44 earlier on.
    assert found == [
        Chunk(0, 200, slice(0, 18), 0),
        Chunk(96, 296, slice(18, 30), 18 - 12),
        Chunk(192, 392, slice(30, 42), 30 - 24),
        Chunk(288, 400, slice(42, 49), 42 - 36),
    ]


@pytest.mark.parametrize(("frames", "least"), [(999, 111), (1000, 112), (1004, 116)])
def test_the_least_is_named(frames, least):
    """107 frames, 3 or 4 more from the multiple of 8 before, and what leaves the remainder."""
    net = arch.inception_i3d()
    found = chunks(net, "Features", frames, least)
    assert {chunk.stop - chunk.start for chunk in found[:-1]} == {least}
    assert {(chunk.stop - chunk.start) % 8 for chunk in found} == {frames % 8}
    with pytest.raises(ValueError, match=f"Expected at least {least} frames") as caught:
        chunks(net, "Features", frames, least - 1)
    assert str(caught.value).endswith(f"Received: {least - 1}.")


def test_a_network_runs_every_chunk():
    """The rows of the stem see 7 frames, but clips below 9 are refused."""
    for frames in range(20, 60):
        for chunk in chunks(arch.inception_i3d(), "Conv3d_1a_7x7", frames, 16):
            assert 9 <= chunk.stop - chunk.start <= 16


def test_what_fits_is_one_chunk_and_what_sees_all_is_refused():
    net = arch.inception_i3d()
    for most in (64, 10**6):
        assert chunks(net, "Features", 64, most) == [Chunk(0, 64, slice(0, 7), 0)]
    with pytest.raises(ValueError, match="Logits sees all of a clip"):
        chunks(net, "Logits", 64, 64)
