"""Spans against what the inputs reach: each frame is followed forward through the time axis."""

import contextlib
import functools
import itertools

import numpy as np
import pytest

from common import arch


def lengths(net):
    """Yields lengths of clips that the network takes, from the shortest on."""
    least = arch.smallest_size(net)
    for frames in range(least[0], least[0] + 30):
        with contextlib.suppress(ValueError):  # the groups of a non-local block
            arch.endpoint_shapes(net, (frames, *least[1:]))
            yield frames


def local_endpoints(net):
    """Those whose rows see a part of a clip."""
    whole = [i for i, n in enumerate(net.nodes) if isinstance(n, arch.NonLocal) and not n.group]
    names = [node.name for node in net.nodes[:-1]][: whole[0] if whole else None]
    return [*names, net.head.features] if net.head.pool and not whole else names


def reached(net, frames):
    """Which frames reach which rows [R, frames], of every endpoint."""

    def through(x, part):
        (n, _), k, s = x.shape, part.kernel[0], part.stride[0]
        around = part.padding
        before = max((-(-n // s) - 1) * s + k - n, 0) // 2 if around == "same" else around[0]
        rows = -(-n // s) if around == "same" else (n + 2 * before - k) // s + 1
        at = np.arange(n) - (np.arange(rows)[:, None] * s - before)
        return ((at >= 0) & (at < k)).astype(np.float32) @ x > 0

    x, found = np.eye(frames, dtype=bool), {}
    for node in net.nodes[:-1]:
        match node:
            case arch.Branches():
                paths = [chain for _, chain in node.branches]
                x = np.logical_or.reduce([functools.reduce(through, path, x) for path in paths])
            case arch.Residual():
                shortcut = [node.shortcut] if node.shortcut else []
                x = functools.reduce(through, node.body, x) | functools.reduce(through, shortcut, x)
            case arch.NonLocal():
                group = node.group or len(x)
                x = np.repeat(x.reshape(-1, group, frames).any(axis=1), group, axis=0)
            case _:
                x = through(x, node)
        found[node.name] = x
    if net.head.pool:
        found[net.head.features] = through(x, net.head.pool)
    return found


def check(net, frames, endpoints):
    """In the clip, and in one so much longer that nothing that its rows see is padding."""
    spans = {name: arch.time_spans(net, name, frames) for name in endpoints}
    beyond = max(max(-s.first.min(), s.last.max() - frames) for s in spans.values()) + 1
    period = np.lcm.reduce([s.period for s in spans.values()])
    margin = int(-(-beyond // period) * period)
    inside, longer = reached(net, frames), reached(net, frames + 2 * margin)
    for name, found in spans.items():
        rows = len(found.first)
        assert rows == len(inside[name])
        assert found.period % found.step == 0
        at = np.arange(frames)
        within = (at >= found.first[:, None]) & (at <= found.last[:, None])
        assert not (inside[name] & ~within).any()
        sees = longer[name][margin // found.step :][:rows]
        np.testing.assert_array_equal(sees.argmax(axis=1) - margin, found.first)
        np.testing.assert_array_equal(
            frames + margin - 1 - sees[:, ::-1].argmax(axis=1), found.last
        )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * ("101" in name or "152" in name))
        for name in arch.ARCHITECTURES
    ],
)
def test_of_the_architectures(name):
    net = arch.make(name)
    found = list(itertools.islice(lengths(net), 9))
    inception = (16, 33, 64, 65, 79, 250) if name == "inception_i3d" else ()
    for frames in {found[0], found[1], found[-1], *inception}:
        check(net, frames, local_endpoints(net))


def test_inception_by_hand():
    """Figure 3 of "Quo Vadis" gives 99 frames for Mixed_5c."""
    net = arch.inception_i3d()
    fields = {}
    for name in ("Conv3d_1a_7x7", "Conv3d_2c_3x3", "Mixed_5c", "Features"):
        spans = arch.time_spans(net, name, 64)
        fields[name] = (int(spans.first[0]), int(spans.last[0]), spans.step, spans.period)
        assert (np.diff(spans.first) == spans.step).all()
        assert (np.diff(spans.last) == spans.step).all()
    assert fields == {
        "Conv3d_1a_7x7": (-2, 4, 2, 2),
        "Conv3d_2c_3x3": (-4, 6, 2, 2),
        "Mixed_5c": (-44, 54, 8, 8),
        "Features": (-44, 62, 8, 8),  # two steps of Mixed_5c
    }
    assert len(arch.time_spans(net, "Features", 64).first) == 7
    # 65, 33 and 17 steps: conv 1a pads one more frame before, pool 4a one more step of two.
    assert arch.time_spans(net, "Mixed_5c", 65).first[0] == -44 - 1 - 2


def test_groups_see_what_all_of_them_see():
    net = arch.make("i3d_resnet50_nl_8x8_affine")
    before, spans = (arch.time_spans(net, n, 32) for n in ("res3_1", "nonlocal_conv3_1"))
    assert (before.step, before.period, spans.step, spans.period) == (2, 8, 2, 8)
    np.testing.assert_array_equal(spans.first, np.repeat(before.first[::4], 4))
    np.testing.assert_array_equal(spans.last, np.repeat(before.last[3::4], 4))
    # The network refuses a clip that they do not divide, whatever is asked of it.
    first = arch.time_spans(net, "conv1", 16)
    assert (first.step, first.period) == (1, 8)


@pytest.mark.parametrize(
    ("name", "endpoint", "last"),
    [
        ("inception_i3d", "Logits", "Features"),
        ("inception_i3d_global", "Features", "Mixed_5c"),
        ("i3d_resnet50_8x8", "Features", "res5_2"),
        ("i3d_resnet50_nl_8x8", "nonlocal_conv3_1", "res3_1"),
        ("i3d_resnet50_nl_8x8_affine", "res4_2", "res4_1"),
    ],
)
def test_an_endpoint_that_sees_all_is_refused(name, endpoint, last):
    net = arch.make(name)
    with pytest.raises(ValueError, match=f"{endpoint} sees all of a clip.*{last}.*'{endpoint}'"):
        arch.time_spans(net, endpoint, 64)
    assert len(arch.time_spans(net, last, 64).first)


def test_groups_that_do_not_divide_the_clip_are_refused():
    with pytest.raises(ValueError, match=r"groups of 4.*Received: 6, from a clip of 12"):
        arch.time_spans(arch.make("i3d_resnet50_nl_8x8_affine"), "conv1", 12)
