"""The I3D ResNets and R(2+1)D networks against published counts, sizes and tables."""

import pytest

from common import arch

# Trainable numbers with 400 classes: facebookresearch/video-nonlocal-net and VMZ, torchvision.
PUBLISHED_COUNTS = {
    "i3d_resnet50_8x8": 28_043_472,
    "i3d_resnet50_32x2": 28_043_472,
    "i3d_resnet50_nl_8x8": 35_401_936,
    "r2plus1d_18": 31_505_325,
    "r2plus1d_18_vmz": 33_370_839,
    "r2plus1d_34_vmz": 63_697_175,
    "r2plus1d_34": 61_831_661,
}


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_counts_are_the_published_ones(name):
    assert arch.count(arch.make(name)) == PUBLISHED_COUNTS[name]


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_the_registry_and_the_network_agree_on_the_name(name):
    net = arch.make(name, 5, 2)
    assert (net.name, net.num_classes, net.in_channels) == (name, 5, 2)
    for names in ([p.name for p in arch.parameters(net)], net.endpoints):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "size", "steps"),
    [
        ("i3d_resnet50_32x2", (32, 224, 224), (16, 8, 4)),
        ("i3d_resnet50_8x8", (8, 224, 224), (8, 8, 4)),
        ("i3d_resnet50_8x8", (32, 224, 224), (32, 32, 16)),
    ],
)
def test_timing_is_the_published_one(name, size, steps):
    shapes = arch.endpoint_shapes(arch.make(name), size)
    assert tuple(shapes[node][0] for node in ("conv1", "pool1", "pool2")) == steps
    assert shapes["Features"] == (1, 1, 1, 2048)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("i3d_resnet50_8x8", (112, 55, 28, 14, 7)), ("i3d_resnet50_8x8_padded", (112, 56, 28, 14, 7))],
)
def test_the_first_pool_pads_or_not(name, widths):
    shapes = arch.endpoint_shapes(arch.make(name), (8, 224, 224))
    nodes = ("conv1", "pool1", "res3_0", "res4_0", "res5_0")
    assert tuple(shapes[node][1] for node in nodes) == widths


@pytest.mark.parametrize(
    ("depth", "expected"), [(50, "111 1010 101010 010"), (101, f"111 1010 {'10' * 11}1 010")]
)
def test_where_the_temporal_kernels_are(depth, expected):
    net, found = arch.make(f"i3d_resnet{depth}_8x8"), ""
    for node in net.nodes:
        if isinstance(node, arch.Residual):
            found += " " * node.name.endswith("_0") + str(int(node.body[0].kernel == (3, 1, 1)))
    assert found.strip() == expected
    flat = arch.make(f"c2d_resnet{depth}_8x8")
    assert {conv.kernel[0] for _, conv in arch.convolutions(flat)} == {1}


@pytest.mark.parametrize(
    ("depth", "after"),
    [
        (50, ["conv3_1", "conv3_3", "conv4_1", "conv4_3", "conv4_5"]),
        (101, ["conv3_1", "conv3_3", "conv4_6", "conv4_13", "conv4_20"]),
    ],
)
def test_where_the_non_local_blocks_are(depth, after):
    nodes = arch.make(f"i3d_resnet{depth}_nl_8x8").nodes
    found = [i for i, node in enumerate(nodes) if isinstance(node, arch.NonLocal)]
    assert [nodes[i].name for i in found] == [f"nonlocal_{name}" for name in after]
    assert [nodes[i - 1].name for i in found] == [name.replace("conv", "res") for name in after]


def test_the_affine_form_has_no_statistics_and_attends_in_groups():
    net = arch.make("i3d_resnet50_nl_8x8_affine")
    fields = {parameter.field for parameter in arch.parameters(net)}
    assert fields == {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}
    groups = {node.name: node.group for node in net.nodes if isinstance(node, arch.NonLocal)}
    assert groups["nonlocal_conv3_1"] == groups["nonlocal_conv3_3"] == 4
    assert groups["nonlocal_conv4_1"] is None
    with pytest.raises(ValueError, match="at least 8x"):
        arch.endpoint_shapes(net, (7, 64, 64))


# VMZ's table: the width between the halves of the second convolution of the blocks that change
# the number of channels, where the two rules differ.
@pytest.mark.parametrize(
    ("name", "eps", "widths"),
    [
        ("r2plus1d_18", 1e-5, (230, 230, 460, 460, 921, 921)),
        ("r2plus1d_18_vmz", 1e-3, (230, 288, 460, 576, 921, 1152)),
    ],
)
def test_the_two_rules_for_the_middle_width_and_eps(name, eps, widths):
    units = dict(arch.convolutions(arch.make(name)))
    found = [
        units[f"res{stage}_0", f"conv{number}_spatial"].out_channels
        for stage in (3, 4, 5)
        for number in (1, 2)
    ]
    assert tuple(found) == widths
    assert units["res2_1", "conv2_spatial"].out_channels == 144
    assert units["conv1_spatial",].out_channels == 45
    assert {conv.norm.eps for conv in units.values() if conv.norm} == {eps}


def test_multiply_adds_of_attention_are_counted():
    plain, attending = arch.make("i3d_resnet50_8x8"), arch.make("i3d_resnet50_nl_8x8")
    size = (8, 224, 224)
    more = arch.multiply_adds(attending, size) - arch.multiply_adds(plain, size)
    expected = 0
    for blocks, channels, n in ((2, 512, 4 * 28 * 28), (3, 1024, 4 * 14 * 14)):
        inner, pooled = channels // 2, n // 4
        projections = channels * inner * (2 * n + 2 * pooled)
        expected += blocks * (projections + 2 * n * pooled * inner)
    assert more == expected


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"no such architecture.*Received: 'resnet50'"):
        arch.make("resnet50")
