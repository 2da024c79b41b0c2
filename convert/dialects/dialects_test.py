"""Names and layouts of each dialect against what the files of their owners hold."""

import hashlib

import numpy as np
import pytest

from common import arch
from convert.dialects import DIALECTS, to_native

NET = arch.inception_i3d()

# For each dialect an architecture, how many arrays a file of it has, the digest of the names and
# shapes of all its architectures, and odd ones among them, from the owners' own files and code.
EXAMPLES = {
    "canonical": ("inception_i3d", 230, "826faf956302109f", {
        "Mixed_5b.Branch_2.Conv3d_0b_3x3.norm.running_var": (128,),
        "Logits.Conv3d_0c_1x1.conv.bias": (400,),
    }),
    "sonnet": ("inception_i3d", 230, "61b9b4a68a50e0c9", {
        "layers/Mixed_5b/parts/Branch_2/Conv3d_0b_3x3/norm/running_var": (128,),
        "layers/Logits/parts/Conv3d_0c_1x1/conv/b": (400,),
    }),
    "linen": ("i3d_resnet50_nl_8x8", 327, "5c222f3c596881fd", {
        "batch_stats:res5_2:branch2c:norm:var": (2048,),
        "params:Logits:pred:conv:kernel": (1, 1, 1, 2048, 400),
    }),
    "caffe2": ("inception_i3d", 230, "f5865a3b099727d7", {
        "Logits_Conv3d_0c_1x1_w": (400, 1024),
        "Logits_Conv3d_0c_1x1_b": (400,),
    }),
    "kinetics_i3d": ("inception_i3d", 230, "98afc505f708986b", {
        "RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_variance": (128,),
        "RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b": (400,),
    }),
    "kinetics_i3d_600": ("inception_i3d", 230, "b53261a85240debe", {
        "Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_variance": (1, 1, 1, 1, 128),
        "Logits/Conv3d_0c_1x1/conv_3d/b": (400,),
    }),
    "piergiaj": ("inception_i3d", 287, "1907d5048b1ed88b", {
        "Mixed_5b.b2b.bn.running_var": (128,),
        "logits.conv3d.bias": (400,),
    }),
    "hassony2": ("inception_i3d", 287, "b0f56865b0028ce0", {
        "mixed_5b.branch_2.1.batch3d.running_var": (128,),
        "conv3d_0c_1x1.conv3d.bias": (400,),
    }),
    "flax": ("inception_i3d", 230, "b5fd9ce7da7d79d8", {
        "batch_stats:Mixed_5b:Branch_2/Conv3d_0b_3x3:BatchNorm_0:var": (1, 1, 1, 1, 128),
        "params:Logits/Conv3d_0c_1x1:Conv_0:bias": (400,),
    }),
    "mindspore": ("inception_i3d", 287, "749e8b1780e1ec07", {
        "Mixed_3b_b1a.conv3d.weight": (96, 192, 1, 1, 1),
        "logits_conv3d.weight": (400, 1024, 1, 1, 1),
    }),
    "mindspore_finetuned": ("inception_i3d", 287, "b64ba387e4f81398", {
        "Mixed_3b_b1a.bn.bn2d.moving_mean": (96,),
        "logits.logits_conv3d.bias": (400,),
    }),
    "nonlocal_net": ("i3d_resnet50_nl_8x8", 327, "6d81131c10e65f15", {
        "res3_0_branch2a_w": (128, 256, 3, 1, 1),
        "res4_5_branch2b_w": (256, 256, 1, 3, 3),
        "nonlocal_conv4_5_bn_rm": (1024,),
    }),
    "pyslowfast_caffe2": ("i3d_resnet50_nl_8x8_padded", 327, "1b95459a6ddb8f9b", {
        "nonlocal_conv4_5_out_w": (1024, 512, 1, 1, 1),
        "pred_b": (400,),
    }),
    "resnet3d": ("i3d_resnet50_nl_32x2", 327, "e3982d580dbbc7d2", {
        "layer1.0.downsample.1.weight": (256,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1, 1),
        "layer3.5.nl.bn.running_mean": (1024,),
    }),
    "caoliangjie_i3d": ("i3d_resnet50_8x8_padded", 267, "a7061ffdc4736bfa", {
        "layer2.0.bn_sc.running_var": (512,),
        "fc.bias": (400,),
    }),
    "pyslowfast": ("i3d_resnet50_nl_8x8_padded", 327, "6dce157d76a056a4", {
        "s2.pathway0_res0.branch1.weight": (256, 64, 1, 1, 1),
        "s2.pathway0_res0.branch1_bn.weight": (256,),
        "s4.pathway0_nonlocal5.bn.running_var": (1024,),
    }),
    "pytorchvideo": ("i3d_resnet50_8x8_padded", 267, "773d35da72e69e59", {
        "blocks.1.res_blocks.0.branch1_conv.weight": (256, 64, 1, 1, 1),
        "blocks.3.res_blocks.0.branch1_norm.bias": (512,),
        "blocks.4.res_blocks.5.branch2.norm_b.running_var": (256,),
    }),
    "mmaction2": ("i3d_resnet50_nl_32x2_padded", 322, "9855fb86be4cb186", {
        "backbone.layer4.2.conv3.bn.running_var": (2048,),
        "backbone.layer2.1.non_local_block.theta.conv.bias": (256,),
        "backbone.layer3.5.non_local_block.conv_out.bn.weight": (1024,),
    }),
    "vmz": ("r2plus1d_34_vmz", 347, "ab63f34cdef34d48", {
        "comp_3_conv_1_middle_w": (230, 64, 1, 3, 3),
        "comp_3_conv_2_middle_w": (288, 128, 1, 3, 3),
        "shortcut_projection_13_spatbn_b": (512,),
    }),
    "torchvision": ("r2plus1d_18", 187, "0d079395ad188cab", {
        "layer2.0.conv2.0.0.weight": (230, 128, 1, 3, 3),
        "layer2.0.conv2.0.3.weight": (128, 230, 3, 1, 1),
        "layer4.0.downsample.1.running_mean": (512,),
    }),
    "caoliangjie_r2plus1d": ("r2plus1d_34_vmz", 347, "cbdcca354f87bacd", {
        "layer2.0.block.conv2_middle.weight": (288, 128, 1, 3, 3),
        "layer2.0.block.bn2_middle.bias": (288,),
        "layer4.0.block.shortcut_bn.running_mean": (512,),
    }),
    "gluoncv_inception": ("inception_i3d_symmetric", 287, "7f985f6336cebb65", {
        "features.14.2.1.1.running_var": (128,),
        "output.weight": (400, 1024),
    }),
    "gluoncv_resnet": ("i3d_resnet50_nl_32x2_padded", 327, "ca2fab9f605b2cdd", {
        "res_layers.0.0.downsample.0.weight": (256, 64, 1, 1, 1),
        "res_layers.3.2.bn3.running_mean": (2048,),
        "res_layers.2.5.nonlocal_block.bn.beta": (1024,),
    }),
    "slim_inception_v1": ("inception_i3d", 228, "ebb02ade7d097436", {
        "InceptionV1/Mixed_3b/Branch_1/Conv2d_0b_3x3/BatchNorm/beta": (128,),
        "InceptionV1/Mixed_5b/Branch_2/Conv2d_0a_3x3/weights": (3, 3, 32, 128),
    }),
    "googlenet": ("inception_i3d", 285, "00a715b4010aebbd", {
        "inception4e.branch3.1.conv.weight": (128, 32, 3, 3),
        "inception5b.branch4.1.bn.running_var": (128,),
    }),
    "resnet_2d": ("i3d_resnet50_8x8", 265, "dbaad6d11aaac728", {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    }),
}  # fmt: skip
ALIASES = {
    "gluoncv_inception": {"output.weight": ("head.1.weight",)},
    "gluoncv_resnet": {
        "res_layers.1.0.conv2.weight": ("res_layers.1.0.bottleneck.3.weight",),
        "res_layers.1.0.bn2.gamma": ("res_layers.1.0.bottleneck.4.gamma",),
    },
}


@pytest.mark.parametrize("name", DIALECTS)
def test_names_and_shapes(name):
    architecture, count, digest, examples = EXAMPLES[name]
    dialect = DIALECTS[name]
    natives = [n for n in dialect.natives(arch.make(architecture)) if n.name]
    written = {native.name: next(iter(native.shapes.values())) for native in natives}
    assert len(written) == len(natives) == count
    assert {name: written.get(name) for name in examples} == examples
    again = {native.name: native.aliases for native in natives}
    expected = ALIASES.get(name, {})
    assert {name: again[name] for name in expected} == expected
    lines = []
    for each in dialect.architectures:
        natives = dialect.natives(arch.make(each, 7))
        assert len({n.name for n in natives if n.name}) == len([n for n in natives if n.name])
        lines += [
            f"{each} {n.name} {list(next(iter(n.shapes.values())))} {n.canonical} {n.aliases}"
            for n in natives
        ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


def test_kernels_are_transposed_and_nothing_else():
    kernel = np.arange(64 * 3 * 7**3, dtype=np.float32).reshape(64, 3, 7, 7, 7)
    arrays = {p.name: np.zeros(p.shape, np.float32) for p in arch.parameters(NET)}
    arrays["Conv3d_1a_7x7.conv.weight"] = kernel
    native = to_native(DIALECTS["kinetics_i3d"], NET, arrays)
    w = native["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]
    assert w[1, 2, 3, 0, 5] == kernel[5, 0, 1, 2, 3]
    np.testing.assert_array_equal(w.transpose(4, 3, 0, 1, 2), kernel)


@pytest.mark.parametrize(
    ("name", "classes", "channels", "digest"),
    [
        ("kinetics_i3d", 400, 3, "f84debc40d9af1db8c40eb7da641b78d"),
        ("kinetics_i3d", 400, 2, "9036f72e279e0fb85edb96103bb2865e"),
        ("kinetics_i3d_600", 600, 3, "41a00db685639e158aeec0f26414b06a"),
    ],
)
def test_generated_names_are_the_published_ones(name, classes, channels, digest):
    """Digests of all names and shapes in the published index files, slots included."""
    natives = DIALECTS[name].natives(arch.inception_i3d(classes, channels))
    shapes = {n.name: next(iter(n.shapes.values())) for n in natives}
    if name == "kinetics_i3d_600":
        trained = [each for each in shapes if not each.rsplit("/", 1)[1].startswith("moving_")]
        shapes |= {f"{each}/Momentum": shapes[each] for each in trained}
    lines = [f"{each} {list(shape)}" for each, shape in sorted(shapes.items())]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32] == digest
