"""Spans against what the inputs reach: each frame is followed forward through the time axis."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common import arch

ONE = (1, 1, 1)


@st.composite
def ops(draw, name, stride=None, pools=True):
    """A convolution or pool along time; where a stride is given, n become ceil(n / stride)."""
    kernel = draw(st.integers(1, 5))
    paddings = [(kernel // 2, 0, 0)] * (kernel % 2)
    if stride is None:
        stride = draw(st.integers(1, 3))
        paddings = [(cells, 0, 0) for cells in range(kernel)]
    shared = {
        "kernel": (kernel, 1, 1),
        "stride": (stride, 1, 1),
        "padding": draw(st.sampled_from(["same", *paddings])),
    }
    if pools and draw(st.booleans()):
        return arch.Pool(name, draw(st.sampled_from(["max", "average"])), **shared)
    return arch.Conv(name, 1, **shared)


@st.composite
def chains(draw, stride, pools=True):
    """Ops in a row, with 1, 2 or 4 as their stride; 4 is two halvings."""
    strides = [2, 2] if stride == 4 else draw(st.permutations([stride, 1]) | st.just([stride]))
    return tuple(draw(ops(f"part{i}", stride, pools)) for i, stride in enumerate(strides))


@st.composite
def nodes(draw, name):
    """A node, with what makes one channel of its own."""
    stride, one = draw(st.sampled_from([1, 2, 4])), arch.Conv(f"{name}_one", 1, ONE)
    kind = draw(st.sampled_from([arch.Conv, arch.Branches, arch.Residual, arch.NonLocal]))
    if kind is arch.Branches:
        branches = draw(st.lists(chains(stride), min_size=1, max_size=3))
        named = tuple((f"b{i}", chain) for i, chain in enumerate(branches))
        return arch.Branches(name, named), one
    if kind is arch.Residual:
        shortcut = ops("shortcut", stride, pools=False)
        shortcut = draw(st.none() | shortcut if stride == 1 else shortcut)
        return (arch.Residual(name, draw(chains(stride, pools=False)), shortcut),)
    if kind is arch.NonLocal:
        pool = arch.Pool("pool", "max", ONE, ONE)
        group = draw(st.integers(1, 3))
        return (arch.NonLocal(name, one, pool, one, one, one, group=group),)
    return (draw(ops(name)),)


@st.composite
def networks(draw):
    """Small networks whose windows lie along time, in which a row sees a part of a clip."""
    inner = [draw(nodes(f"node{i}")) for i in range(draw(st.integers(1, 4)))]
    length = draw(st.none() | st.integers(1, 4))
    pool = arch.Pool("pool", "average", (length, 1, 1), ONE, (0, 0, 0)) if length else None
    head = arch.Head("Logits", "Features", pool, 0.0, arch.Conv("fc", 2, ONE), "Predictions")
    return arch.Network("made_up", 1, (*itertools.chain(*inner), head))


def lengths(net, start):
    """Lengths of clips that the network takes, of 30 from `start`."""
    least = arch.smallest_size(net)
    for frames in range(max(start, least[0]), max(start, least[0]) + 30):
        try:
            shapes = arch.endpoint_shapes(net, (frames, *least[1:]))
        except ValueError as error:
            assert "groups of" in str(error)
        else:
            if min(map(min, shapes.values())) > 0:
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
        if part.padding == "same":
            rows = -(-n // s)
            before = max((rows - 1) * s + k - n, 0) // 2
        else:
            before = part.padding[0]
            rows = (n + 2 * before - k) // s + 1
        at = np.arange(n) - (np.arange(rows)[:, None] * s - before)
        return ((at >= 0) & (at < k)).astype(np.float32) @ x > 0

    def chained(x, chain):
        for part in chain:
            x = through(x, part)
        return x

    x, found = np.eye(frames, dtype=bool), {}
    for node in net.nodes[:-1]:
        match node:
            case arch.Branches():
                x = np.logical_or.reduce([chained(x, chain) for _, chain in node.branches])
            case arch.Residual():
                shortcut = [node.shortcut] if node.shortcut else []
                x = chained(x, node.body) | chained(x, shortcut)
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


@settings(max_examples=200, deadline=None)
@given(networks(), st.integers(1, 40))
def test_of_made_up_networks(net, start):
    frames = next(lengths(net, start), None)
    assume(frames is not None)
    check(net, frames, local_endpoints(net))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * ("101" in name or "152" in name))
        for name in arch.ARCHITECTURES
    ],
)
def test_of_the_architectures(name):
    net = arch.make(name)
    found = list(itertools.islice(lengths(net, 1), 9))
    for frames in {found[0], found[1], found[-1]}:
        check(net, frames, local_endpoints(net))


@pytest.mark.parametrize("frames", [9, 10, 16, 33, 64, 65, 79, 250])
def test_of_inception(frames):
    check(arch.inception_i3d(), frames, local_endpoints(arch.inception_i3d()))


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


def test_a_period_suits_the_groups_that_come_later():
    """The network refuses a clip that they do not divide, whatever is asked of it."""
    spans = arch.time_spans(arch.make("i3d_resnet50_nl_8x8_affine"), "conv1", 16)
    assert (spans.step, spans.period) == (1, 8)


@pytest.mark.parametrize(
    ("name", "endpoint", "last"),
    [
        ("inception_i3d", "Logits", "Features"),
        ("inception_i3d", "Predictions", "Features"),
        ("inception_i3d_global", "Features", "Mixed_5c"),
        ("i3d_resnet50_8x8", "Features", "res5_2"),
        ("i3d_resnet50_nl_8x8", "nonlocal_conv3_1", "res3_1"),
        ("i3d_resnet50_nl_8x8", "res5_2", "res3_1"),
        ("i3d_resnet50_nl_8x8_affine", "res4_2", "res4_1"),
    ],
)
def test_an_endpoint_that_sees_all_is_refused(name, endpoint, last):
    net = arch.make(name)
    with pytest.raises(ValueError, match=f"{endpoint} sees all of a clip.*{last}.*'{endpoint}'"):
        arch.time_spans(net, endpoint, 64)
    assert len(arch.time_spans(net, last, 64).first)


def test_what_the_network_refuses_is_refused():
    net = arch.inception_i3d()
    with pytest.raises(ValueError, match=r"no such endpoint.*Received: 'Mixed_6a'"):
        arch.time_spans(net, "Mixed_6a", 64)
    with pytest.raises(ValueError, match=r"at least 9x.*Received: 8x"):
        arch.time_spans(net, "Features", 8)
    with pytest.raises(ValueError, match=r"groups of 4.*Received: 6, from a clip of 12 frames"):
        arch.time_spans(arch.make("i3d_resnet50_nl_8x8_affine"), "conv1", 12)


def test_branches_of_several_strides_are_refused():
    """Their rows would stand at several places in time; one frame gives one row of each."""
    branches = [(f"b{stride}", (arch.Conv("unit", 1, ONE, (stride, 1, 1)),)) for stride in (1, 2)]
    head = arch.make("r2plus1d_18").head
    net = arch.Network("made_up", 1, (arch.Branches("block", tuple(branches)), head))
    with pytest.raises(ValueError, match="block: its branches must agree in their stride"):
        arch.time_spans(net, "block", 1)
