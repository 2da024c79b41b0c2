"""The description against the published numbers: counts, shapes, names, minimum size."""

import pytest

from common.arch import (
    Branches,
    Conv,
    count,
    endpoint_shapes,
    inception_i3d,
    multiply_adds,
    narrow,
    pads,
    parameters,
    smallest_size,
)


def test_counts_are_the_published_ones():
    assert count(inception_i3d(400, 3)) == 12_689_984
    assert count(inception_i3d(400, 3), trainable_only=False) == 12_704_544
    assert count(inception_i3d(400, 2), trainable_only=False) == 12_682_592
    assert count(inception_i3d(600, 3), trainable_only=False) == 12_909_544
    assert len(parameters(inception_i3d())) == 230


def test_scale_adds_one_vector_for_each_norm():
    plain, scaled = parameters(inception_i3d()), parameters(inception_i3d(scale=True))
    extra = {p.name for p in scaled} - {p.name for p in plain}
    assert len(extra) == 57
    assert all(name.endswith(".norm.weight") for name in extra)


def test_names_are_unique_and_regular():
    names = [p.name for p in parameters(inception_i3d())]
    assert len(set(names)) == len(names)
    assert names[0] == "Conv3d_1a_7x7.conv.weight"
    assert "Mixed_5b.Branch_2.Conv3d_0b_3x3.conv.weight" in names
    assert names[-1] == "Logits.Conv3d_0c_1x1.conv.bias"


# Table 1 of the release's layer list for 64 x 224 x 224 frames.
PUBLISHED_SHAPES = {
    "Conv3d_1a_7x7": (32, 112, 112, 64),
    "MaxPool3d_2a_3x3": (32, 56, 56, 64),
    "Conv3d_2c_3x3": (32, 56, 56, 192),
    "MaxPool3d_3a_3x3": (32, 28, 28, 192),
    "Mixed_3b": (32, 28, 28, 256),
    "Mixed_3c": (32, 28, 28, 480),
    "MaxPool3d_4a_3x3": (16, 14, 14, 480),
    "Mixed_4e": (16, 14, 14, 528),
    "Mixed_4f": (16, 14, 14, 832),
    "MaxPool3d_5a_2x2": (8, 7, 7, 832),
    "Mixed_5c": (8, 7, 7, 1024),
    "Features": (7, 1, 1, 1024),
    "Logits": (400,),
    "Predictions": (400,),
}


def test_endpoint_shapes_are_the_published_ones():
    shapes = endpoint_shapes(inception_i3d(), (64, 224, 224))
    assert list(shapes) == list(inception_i3d().endpoints)
    assert {name: shapes[name] for name in PUBLISHED_SHAPES} == PUBLISHED_SHAPES


@pytest.mark.parametrize("frames", [9, 16, 17, 64, 79, 250])
def test_steps_in_time_follow_the_paper(frames):
    shapes = endpoint_shapes(inception_i3d(), (frames, 224, 224))
    assert shapes["Features"][0] == -(-frames // 8) - 1


@pytest.mark.parametrize("size", [(8, 224, 224), (64, 192, 224), (64, 224, 192)])
def test_a_clip_below_the_smallest_size_is_refused(size):
    net = inception_i3d()
    assert smallest_size(net) == (9, 193, 193)
    endpoint_shapes(net, (9, 193, 193))
    with pytest.raises(
        ValueError, match="at least 9x193x193.*Received: " + "x".join(map(str, size))
    ):
        endpoint_shapes(net, size)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(224, 7, 2, (2, 3)), (225, 7, 2, (3, 3)), (112, 3, 2, (0, 1)), (113, 3, 2, (1, 1)),
     (7, 2, 2, (0, 1)), (8, 2, 2, (0, 0)), (5, 1, 2, (0, 0)), (1, 3, 1, (1, 1))],
)  # fmt: skip
def test_same_padding_is_tensorflows(size, kernel, stride, expected):
    assert pads((size,) * 3, (kernel,) * 3, (stride,) * 3, "same") == [expected] * 3
    assert pads((size,) * 3, (kernel,) * 3, (stride,) * 3, (1, 0, 2)) == [(1, 1), (0, 0), (2, 2)]


def test_multiply_adds_of_the_stem_are_the_product_of_its_sizes():
    net = inception_i3d()
    stem = 32 * 112 * 112 * 64 * 7 * 7 * 7 * 3
    thin = multiply_adds(narrow(net, 8), (64, 224, 224))
    assert multiply_adds(net, (64, 224, 224)) == 111_153_143_808
    assert stem // 8 < thin < multiply_adds(net, (64, 224, 224)) // 8


def test_narrow_keeps_names_and_classes():
    net, thin = inception_i3d(51), narrow(inception_i3d(51), 8)
    assert [p.name for p in parameters(thin)] == [p.name for p in parameters(net)]
    assert thin.num_classes == 51
    stem, mixed = thin.nodes[0], thin.nodes[5]
    assert isinstance(stem, Conv)
    assert stem.out_channels == 8
    assert isinstance(mixed, Branches)
    assert mixed.branches[2][1][0].out_channels == 2
