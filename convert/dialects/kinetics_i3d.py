"""The variables of DeepMind's release, google-deepmind/kinetics-i3d, in its two forms.

Both read statistics of shape [C] (the Kinetics-400 files) and [1, 1, 1, 1, C] (the Kinetics-600
file and the graph itself) and pass over the slots of the momentum optimiser.
"""

from dataclasses import replace

from convert.dialects.dialect import Dialect

_BOTH = ("C", "1111C")

KINETICS_I3D = Dialect(
    name="kinetics_i3d",
    about="DeepMind's Kinetics-400 checkpoints (Sonnet 1), with their RGB/ and Flow/ scopes",
    unit=lambda net, path: "/".join(path),
    fields={
        "conv.weight": "{unit}/conv_3d/w",
        "conv.bias": "{unit}/conv_3d/b",
        "norm.bias": "{unit}/batch_norm/beta",
        "norm.running_mean": "{unit}/batch_norm/moving_mean",
        "norm.running_var": "{unit}/batch_norm/moving_variance",
    },
    kernel="THWIO",
    vectors={"norm.bias": _BOTH, "norm.running_mean": _BOTH, "norm.running_var": _BOTH},
    # A slip of the original, repeated by everything that reads its files.
    exceptions={"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"},
    scopes={3: "RGB/inception_i3d/", 2: "Flow/inception_i3d/", None: "inception_i3d/"},
    ignored=("*/Momentum", "global_step"),
)

_BOTH_OF_600 = ("1111C", "C")

KINETICS_I3D_600 = replace(
    KINETICS_I3D,
    name="kinetics_i3d_600",
    about="DeepMind's Kinetics-600 checkpoint: no scope, statistics [1, 1, 1, 1, C]",
    vectors=dict.fromkeys(KINETICS_I3D.vectors, _BOTH_OF_600),
    scopes={None: ""},
)
