"""The description against the published numbers: counts, shapes, names, minimum size."""

import numpy as np
import pytest

from common.arch import (
    check_arrays,
    count,
    endpoint_shapes,
    inception_i3d,
    initial_arrays,
    make,
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


def test_names_are_regular():
    names = [p.name for p in parameters(inception_i3d())]
    assert names[0] == "Conv3d_1a_7x7.conv.weight"
    assert "Mixed_5b.Branch_2.Conv3d_0b_3x3.conv.weight" in names
    assert names[-1] == "Logits.Conv3d_0c_1x1.conv.bias"
    extra = {p.name for p in parameters(inception_i3d(scale=True))} - {*names}
    assert len(extra) == 57
    assert all(name.endswith(".norm.weight") for name in extra)


# Table 1 of the release's layer list for 64 x 224 x 224 frames.
PUBLISHED_SHAPES = {
    "Conv3d_1a_7x7": (32, 112, 112, 64),
    "MaxPool3d_2a_3x3": (32, 56, 56, 64),
    "MaxPool3d_3a_3x3": (32, 28, 28, 192),
    "Mixed_3b": (32, 28, 28, 256),
    "MaxPool3d_4a_3x3": (16, 14, 14, 480),
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
    for frames in (9, 16, 17, 79, 250):
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


def test_narrow_keeps_names_and_classes():
    net, thin = inception_i3d(51), narrow(inception_i3d(51), 8)
    assert [p.name for p in parameters(thin)] == [p.name for p in parameters(net)]
    shapes = endpoint_shapes(thin, (64, 224, 224))
    assert (shapes["Conv3d_1a_7x7"][-1], shapes["Mixed_3b"][-1], shapes["Logits"]) == (8, 32, (51,))
    size = (64, 224, 224)
    assert multiply_adds(inception_i3d(), size) == 111_153_143_808
    assert multiply_adds(thin, size) < multiply_adds(net, size) // 8


def test_initial_kernels_are_truncated_normal_of_the_fan_in():
    arrays = initial_arrays(inception_i3d(10))
    kernel = arrays["Conv3d_2c_3x3.conv.weight"]
    std = 1 / np.sqrt(64 * 27)
    assert (kernel.shape, kernel.dtype) == ((192, 64, 3, 3, 3), np.float32)
    assert np.abs(kernel).max() <= 2 * std
    # The deviation of a normal that is cut at two of its own is 0.8796 of it.
    np.testing.assert_allclose(kernel.std(), 0.8796 * std, rtol=0.01)
    np.testing.assert_allclose(kernel.mean(), 0, atol=0.01 * std)


def test_initial_arrays_are_the_networks_and_of_the_seed():
    net = narrow(make("i3d_resnet50_nl_32x2"), 8)
    arrays, same, other = (initial_arrays(net, seed) for seed in (1, 1, 2))
    check_arrays(net, arrays)
    # The scale of a residual branch's last norm starts at 0, the others at 1.
    firsts = {"branch2c.norm.weight": 0, "branch2a.norm.weight": 1, "branch2a.norm.running_var": 1,
              "branch2a.norm.running_mean": 0}  # fmt: skip
    for name, value in firsts.items():
        assert (arrays[f"res2_0.{name}"] == value).all()
    name = "Logits.pred.conv.weight"
    np.testing.assert_array_equal(arrays[name], same[name])
    assert np.abs(arrays[name] - other[name]).max() > 0.01
