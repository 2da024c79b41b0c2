import numpy as np

from common import arch

NET = arch.inception_i3d(10)


def test_kernels_are_truncated_normal_of_the_fan_in():
    arrays = arch.initial_arrays(NET)
    kernel = arrays["Conv3d_2c_3x3.conv.weight"]
    std = 1 / np.sqrt(64 * 27)
    assert (kernel.shape, kernel.dtype) == ((192, 64, 3, 3, 3), np.float32)
    assert np.abs(kernel).max() <= 2 * std
    # The deviation of a normal that is cut at two of its own is 0.8796 of it.
    np.testing.assert_allclose(kernel.std(), 0.8796 * std, rtol=0.01)
    np.testing.assert_allclose(kernel.mean(), 0, atol=0.01 * std)


def test_all_arrays_are_the_networks():
    net = arch.narrow(arch.make("i3d_resnet50_nl_32x2"), 8)
    arrays = arch.initial_arrays(net)
    arch.check_arrays(net, arrays)
    # The scale of a residual branch's last norm starts at 0, the others at 1.
    assert arrays["res2_0.branch2c.norm.weight"].max() == 0
    assert arrays["res2_0.branch2a.norm.weight"].min() == 1
    assert arrays["res2_0.branch2a.norm.running_var"].min() == 1
    assert arrays["res2_0.branch2a.norm.running_mean"].max() == 0


def test_the_seed_decides():
    one, same, other = (arch.initial_arrays(arch.narrow(NET, 8), seed) for seed in (1, 1, 2))
    name = "Logits.Conv3d_0c_1x1.conv.weight"
    np.testing.assert_array_equal(one[name], same[name])
    assert np.abs(one[name] - other[name]).max() > 0.01
