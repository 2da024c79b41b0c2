"""Chunks against the whole: networks along time that compute with integers, where all is exact."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common import arch
from common.arch.spans_test import lengths, local_endpoints, networks
from common.features import chunks

PRIME = 8191


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
            planned = chunks.plan(net, endpoint, frames, most)
        except ValueError as error:
            least = int(str(error).split("at least ")[1].split()[0])
            assert most < least <= frames
            planned = chunks.plan(net, endpoint, frames, least)
        longest = max(least, most)
        rows = []
        for chunk in planned:
            assert 0 <= chunk.start < chunk.stop <= min(frames, chunk.start + longest)
            assert chunk.rows.start == sum(map(len, rows))
            found = run(net, clip[chunk.start : chunk.stop], endpoint)[endpoint]
            rows.append(found[chunk.kept])
            assert 0 < len(rows[-1]) == chunk.rows.stop - chunk.rows.start
        np.testing.assert_array_equal(np.concatenate(rows), whole[endpoint])


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(1, 150), st.integers(1, 80))
def test_of_made_up_networks(net, start, most):
    frames = next(lengths(net, start), None)
    assume(frames is not None)
    check(net, local_endpoints(net), frames, most)


@pytest.mark.parametrize(
    "name",
    [
        "inception_i3d",
        "inception_i3d_symmetric",
        "i3d_resnet50_8x8",
        "i3d_resnet50_32x2",
        "i3d_resnet50_nl_8x8_affine",
        "i3d_resnet50_nl_32x2_affine",
        "r2plus1d_18",
        "r2plus1d_50_vmz",
    ],
)
@settings(max_examples=3, deadline=None)
@given(st.integers(1, 500), st.integers(20, 400))
def test_of_the_architectures(name, start, most):
    net = arch.make(name)
    check(net, local_endpoints(net), next(lengths(net, start)), most)


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 2000), st.integers(112, 600))
def test_features_of_inception(frames, most):
    check(arch.inception_i3d(), ["Features"], frames, most)


def test_of_a_network_in_torch():
    """In float64, and with an odd number of frames; the head's window is one pixel wide."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    from i3d_torch.model import VideoModel

    net = arch.narrow(arch.inception_i3d(5), 16)
    head = replace(net.head, pool=replace(net.head.pool, kernel=(2, 1, 1)))
    net = replace(net, nodes=(*net.nodes[:-1], head))
    torch.manual_seed(0)
    model = VideoModel(net).double().eval()
    with torch.inference_mode():
        for norm in (value for name, value in model.state_dict().items() if "norm." in name):
            norm.uniform_(0.5, 1)
        clip = torch.rand(1, 3, 203, 9, 9, dtype=torch.float64) * 2 - 1
        whole = model(clip, "Features")[0]
        planned = chunks.plan(net, "Features", 203, 140)
        parts = [model(clip[:, :, c.start : c.stop], "Features")[0][:, :, c.kept] for c in planned]
    assert len(parts) == 3
    assert torch.cat(parts, dim=2).shape == whole.shape == (1, 64, 25, 1, 1)
    assert (torch.cat(parts, dim=2) - whole).abs().max() < 1e-13 * whole.abs().max()
    # A row in the place of its neighbour would be seen.
    assert whole.diff(dim=2).abs().amax(dim=(0, 1, 3, 4)).min() > 1e-8 * whole.abs().max()


def test_a_plan_by_hand():
    """Row r of 400 frames sees the frames from 8 r - 44 to 8 r + 62."""
    found = chunks.plan(arch.inception_i3d(), "Features", 400, 207)
    # 200 frames hold rows that see up to 199: the first 18. Row 18 sees from 100, row 30 from 196,
    # row 42 from 292; chunks start at the multiple of 8 before, where rows see from 44 earlier on.
    assert found == [
        chunks.Chunk(0, 200, slice(0, 18), 0),
        chunks.Chunk(96, 296, slice(18, 30), 18 - 12),
        chunks.Chunk(192, 392, slice(30, 42), 30 - 24),
        chunks.Chunk(288, 400, slice(42, 49), 42 - 36),
    ]
    assert found[-1].kept == slice(6, 13)


@pytest.mark.parametrize("most", [64, 65, 10**6])
def test_what_fits_is_one_chunk(most):
    found = chunks.plan(arch.inception_i3d(), "Features", 64, most)
    assert found == [chunks.Chunk(0, 64, slice(0, 7), 0)]
    assert found[0].kept == slice(0, 7)


@pytest.mark.parametrize(("frames", "least"), [(999, 111), (1000, 112), (1004, 116)])
def test_the_least_is_named(frames, least):
    """107 frames, 3 or 4 more from the multiple of 8 before, and what leaves the remainder."""
    net = arch.inception_i3d()
    found = chunks.plan(net, "Features", frames, least)
    assert {chunk.stop - chunk.start for chunk in found[:-1]} == {least}
    assert {(chunk.stop - chunk.start) % 8 for chunk in found} == {frames % 8}
    with pytest.raises(ValueError, match=f"Expected at least {least} frames") as caught:
        chunks.plan(net, "Features", frames, least - 1)
    assert str(caught.value).endswith(f"Received: {least - 1}.")


def test_a_network_runs_every_chunk():
    """The rows of the stem see 7 frames, but clips below 9 are refused."""
    for frames in range(20, 60):
        for chunk in chunks.plan(arch.inception_i3d(), "Conv3d_1a_7x7", frames, 16):
            assert 9 <= chunk.stop - chunk.start <= 16


def test_an_endpoint_that_sees_all_is_refused():
    with pytest.raises(ValueError, match="Logits sees all of a clip"):
        chunks.plan(arch.inception_i3d(), "Logits", 64, 64)
