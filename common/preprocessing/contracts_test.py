"""What each architecture's weights expect, against the numbers of their owners."""

import pytest

from common import arch
from common.preprocessing import contracts

# Per channel, of pixels in 0 to 1: PySlowFast and PyTorchVideo, torchvision, VMZ.
UNIT = {
    "i3d_resnet50_8x8": ([0.45] * 3, [0.225] * 3),
    "i3d_resnet50_8x8_padded": ([0.45] * 3, [0.225] * 3),
    "r2plus1d_18": ([0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]),
    "r2plus1d_34_vmz": ([0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]),
    "i3d_resnet50_32x2_padded": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


@pytest.mark.parametrize("name", UNIT)
def test_mean_and_deviation(name):
    contract = contracts.usual(name)
    assert [m / 255 for m in contract.mean] == pytest.approx(UNIT[name][0], abs=1e-5)
    assert [s / 255 for s in contract.std] == pytest.approx(UNIT[name][1], abs=1e-4)


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_every_architecture_takes_its_usual_clip(name):
    contract, net = contracts.usual(name), arch.make(name)
    shapes = arch.endpoint_shapes(net, (contract.frames, contract.crop, contract.crop))
    assert shapes["Logits"] == (400,)
    assert contract.crop < contract.short_side
    if "resnet" in name:
        published = {"8x8": [(8, 8), (32, 4)], "32x2": [(32, 2), (128, 1)]}
        timing = next(timing for timing in published if timing in name)
        expected = published[timing][name.endswith("_affine")]
        assert (contract.frames, contract.stride) == expected


def test_values_for_people():
    assert contracts.usual("inception_i3d").values == "[-1, 1]"
    assert contracts.usual("i3d_resnet50_8x8").values == "(x - 114.75) / 57.375"
    assert contracts.usual("i3d_resnet50_32x2_padded").values.startswith("(x - [123.7, 116.3,")


def test_flow_is_not_standardised():
    flow = contracts.of_stream("i3d_resnet50_8x8", "flow")
    assert (flow.channels, flow.values, flow.frames, flow.crop) == ("flow", "[-1, 1]", 8, 224)
    assert contracts.of_stream("i3d_resnet50_8x8", "rgb") == contracts.usual("i3d_resnet50_8x8")
    assert contracts.of_stream("inception_i3d_global", "flow").frames == 64


@pytest.mark.parametrize(
    "wrong",
    [{"crop": "x"}, {"crop": 0}, {"fps": {}}, {"fps": float("inf")}, {"frames": 2.5},
     {"channels": []}, {"channel_order": "x"}, {"value_range": (-1e308, 1e308)},
     {"value_range": (1,)}, {"mean": (1.0, 2.0, 3.0)}, {"mean": (1, 2), "std": (1, 2)},
     {"mean": (0.0,) * 3, "std": (0.0,) * 3}, {"stride": True}],
)  # fmt: skip
def test_what_no_network_can_be_fed(wrong):
    name = "std" if len(wrong.get("mean", ())) == 3 else next(iter(wrong))
    with pytest.raises(ValueError, match=f"input contract cannot have the {name} "):
        contracts.InputContract(**wrong)
