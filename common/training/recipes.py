"""Recipes: every number of a training run, with its source, as a frozen value.

Numbers without a source are marked as ours. Steps are updates of the weights.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from common import arch, settings
from common.annotations import TASKS
from common.preprocessing.contracts import CHANNELS
from common.settings import need

_CHOICES = {
    "stream": tuple(CHANNELS),
    "task": TASKS,
    "schedule": ("constant", "multi_step", "cosine"),
    "batch_norm": ("train", "freeze", "sync"),
    "precision": ("float32", "bfloat16"),
}

# What the values of fields must be: a text, the test of it, and the fields.
_LIMITS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("at least 1", lambda x: x >= 1, "steps batch accumulate num_classes crop keep log_every"),
    ("at least 1", lambda x: x >= 1, "sample_duration sample_rate evaluate_every snapshot_every"),
    ("at least 0", lambda x: x >= 0, "warmup_steps weight_decay seed"),
    ("above 0", lambda x: x > 0, "learning_rate clip_norm"),
    ("from 0 to below 1", lambda x: 0 <= x < 1, "momentum average_decay label_smoothing dropout"),
    ("above 0, at most 1", lambda x: 0 < x <= 1, "batch_norm_momentum"),
    ("ascending, from 1", lambda steps: all(map(int.__lt__, (0, *steps), steps)), "milestones"),
    ("all above 0", lambda rates: all(rate > 0 for rate in rates), "rates"),
    ("low,high with 1 <= low <= high", lambda side: 1 <= side[0] <= side[1], "short_side"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run, apart from its data; `optim` has the update rule."""

    architecture: str  # a name in `common.arch`
    stream: str = "rgb"  # or "flow"
    # "classes": one label per clip, softmax and cross entropy. "frames": any number of labels per
    # frame, sigmoid; half localisation loss (every frame), half classification loss (the maximum
    # over time).
    task: str = "classes"
    num_classes: int | None = None  # classes of the head; None for those of the annotations
    steps: int
    batch: int  # clips per update, over all replicas and micro-batches
    accumulate: int = 1  # micro-batches per batch, computed one after the other
    schedule: str  # of the learning rate
    learning_rate: float  # of the first steps, or of those after a warm-up
    milestones: tuple[int, ...] = ()  # multi_step: the first steps with another rate
    rates: tuple[float, ...] = ()  # multi_step: shares of `learning_rate`; else a tenth each time
    warmup_steps: int = 0  # in which the rate rises linearly from a tenth
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float  # of kernels
    decay_norms: bool = False  # decays scale and offset of norms, too
    decay_biases: bool = False  # decays the biases of convolutions, too
    clip_norm: float | None = None  # largest norm of the gradient over all parameters
    # "train": the statistics of a replica's micro-batch; "sync": of all replicas together;
    # "freeze": the running statistics, which do not change.
    batch_norm: str = "train"
    batch_norm_momentum: float | None = None  # share of the batch; None for the architecture's
    precision: str = "float32"  # of activations and gradients; weights are float32
    recompute: bool = False  # keeps endpoints for the backward pass, and computes the rest again
    # Of the moving average of the weights, which is evaluated and written in their place; 0: none.
    average_decay: float = 0.0
    label_smoothing: float = 0.0  # share of a target that is spread over all classes
    dropout: float | None = None  # share of the features; None for the architecture's
    train_from: str | None = None  # first endpoint that is trained, all before it frozen
    global_pool: bool = False  # pools in the head whatever the size of the crop
    sample_duration: int  # frames of a clip
    sample_rate: int = 1  # stride between frames
    short_side: tuple[int, int]  # range of the random shorter side, low and high, pixels
    crop: int  # side of the random square crop, pixels
    flip: bool = True  # mirrors half of the clips
    seed: int = 0  # of everything random
    evaluate_every: int = 1000  # steps between evaluations
    snapshot_every: int = 1000  # steps between snapshots
    keep: int = 3  # last snapshots to keep
    log_every: int = 10  # steps between lines of the log

    def __post_init__(self) -> None:
        def check(name: str, right: bool, expected: str) -> None:
            need(right, name, expected, getattr(self, name))

        settings.check_types(self)
        for expected, right, names in _LIMITS:
            for name in names.split():
                value = getattr(self, name)
                check(name, value is None or right(value), expected)
        for name, choices in _CHOICES.items():
            check(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        ends, low = arch.make(self.architecture).endpoints[:-1], self.short_side[0]
        check("train_from", self.train_from in (None, *ends), f"none, or one of {', '.join(ends)}")
        check("accumulate", self.batch % self.accumulate == 0, f"a divisor of batch, {self.batch}")
        count = len(self.milestones) if self.rates else 0
        check("rates", len(self.rates) == count, f"{count} rates, or none")
        staged = self.schedule == "multi_step" or not self.milestones
        check("milestones", staged, "empty unless schedule is multi_step")
        check("crop", self.crop <= low, f"at most the short side, {low}")
        smooth = self.task == "classes" or not self.label_smoothing
        check("label_smoothing", smooth, "0 where task is frames")
        check("nesterov", self.momentum > 0 or not self.nesterov, "false where momentum is 0")


# Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, and the training section of
# README.md in google-deepmind/kinetics-i3d.
_QUO_VADIS = Recipe(
    architecture="inception_i3d", num_classes=400,
    steps=115_000, batch=64 * 6,  # README: 64 replicas, minibatch 6
    schedule="multi_step", learning_rate=0.1, milestones=(97_000, 108_000),  # README
    momentum=0.9, dropout=0.5,  # README
    weight_decay=1e-7,  # README, which does not say of what: kernels alone is ours
    sample_duration=64, sample_rate=1,  # paper, section 2.5: 25 frames a second, all of them
    short_side=(256, 256), crop=224,  # paper, section 2.5
    flip=True,  # paper, section 2.5: left and right, the same in a whole clip
)  # fmt: skip

# facebookresearch/video-nonlocal-net: configs/DBG_kinetics_resnet_8gpu_c2d_nonlocal_400k.yaml with
# scripts/run_i3d_nlnet_400k_32f.sh, which ends at 74.9 top-1. It starts from ImageNet, inflated.
# It takes its running statistics anew from 200 batches ("precise") before it evaluates; we do not.
# Its SCALE_MOMENTUM is what the update above does anyway: Caffe2's v has the rate in it.
_NONLOCAL = Recipe(
    architecture="i3d_resnet50_nl_32x2", num_classes=400,
    steps=400_000, batch=64,  # on 8 GPUs
    schedule="multi_step", learning_rate=0.01,
    milestones=(150_000, 300_000),  # STEP_SIZES are lengths
    momentum=0.9, nesterov=True, weight_decay=1e-4,
    decay_norms=False,  # WEIGHT_DECAY_BN
    decay_biases=True,  # model_builder_video.py: all but what has "_bn" in its name
    dropout=0.5, sample_duration=32, sample_rate=2,  # the script
    short_side=(256, 320), crop=224,  # JITTER_SCALES
    flip=True,  # model_builder_video.py
    evaluate_every=20_000, snapshot_every=10_000,
)  # fmt: skip

# USTC-Video-Understanding/I3D_Finetune: finetune.py, for one GPU of 11 GB. Its results on split 1
# of UCF101: RGB 94.7, flow 96.3, both 97.6. There the 400 classes stay, and a layer follows them.
_FINETUNE = Recipe(
    architecture="inception_i3d",
    steps=63_600, batch=6,  # 40 epochs of UCF101, split 1
    schedule="multi_step", learning_rate=8e-4, milestones=(10_000, 20_000, 30_000, 40_000),
    rates=(0.625, 0.375, 0.125, 0.0625),  # 5e-4, 3e-4, 1e-4, 5e-5
    momentum=0.9, weight_decay=7e-7, decay_norms=False,  # kernels alone
    dropout=0.64,  # keeps 0.36
    sample_duration=64, sample_rate=1, flip=True,
    short_side=(256, 256), crop=224,  # its frames are stored so
    evaluate_every=1_590,  # each epoch
    snapshot_every=1_590,  # ours
)  # fmt: skip

# piergiaj/pytorch-i3d: train_i3d.py and charades_dataset.py.
_CHARADES = Recipe(
    architecture="inception_i3d", task="frames", num_classes=157,
    steps=2_000,  # ours: there 64,000, all but the first 1,000 of them at a rate of 0.001
    batch=4 * 40, accumulate=4,
    schedule="multi_step", learning_rate=0.1, milestones=(300, 1_000),
    momentum=0.9, weight_decay=1e-7, decay_norms=True, decay_biases=True,  # all parameters
    batch_norm_momentum=0.01, dropout=0.5,  # pytorch_i3d.py
    sample_duration=64, sample_rate=1, flip=True,
    short_side=(226, 226), crop=224,  # there only smaller frames are resized, Charades' 180 to 320
    evaluate_every=100,  # ours: two epochs
    snapshot_every=100,  # ours; there every 10
)  # fmt: skip

# Robbie-Luo/vidor-i3d: train_i3d.py and VidorDataset.py, which follow those for Charades. There
# every other batch is lost, for gradients are cleared before they have been added up.
_VIDOR = dataclasses.replace(
    _CHARADES, num_classes=42,
    steps=14_000,  # 20 epochs; of the 7,000 videos is ours, there of labelled spans
    batch=2 * 5, accumulate=2, learning_rate=1e-3, sample_duration=60,
    evaluate_every=700,  # ours: each epoch
    snapshot_every=700,  # each epoch
)  # fmt: skip

# Caoliangjie/video-action-recognition-models: scripts/train_kinetics_r2plus1d.sh with the defaults
# of tools/opts.py. An epoch is 246,534 clips.
_R2PLUS1D = Recipe(
    architecture="r2plus1d_34_vmz", num_classes=400,
    steps=35 * 7_704,  # 35 epochs are VMZ's, train_r2plus1d_kinetics.sh; there up to 100
    batch=32, schedule="multi_step",
    learning_rate=1e-3,  # 0.01 with a dampening of 0.9, which is a tenth of it
    milestones=(10 * 7_704, 20 * 7_704, 30 * 7_704),
    momentum=0.9, weight_decay=1e-4, decay_norms=True, decay_biases=True,  # all parameters
    sample_duration=16, sample_rate=4, flip=True,
    short_side=(128, 160), crop=112,  # VMZ, train_net.py
    evaluate_every=7_704,  # each epoch
    snapshot_every=7_704,  # ours; there every fifth epoch
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "quo_vadis_rgb": _QUO_VADIS,
    "quo_vadis_flow": dataclasses.replace(
        _QUO_VADIS,
        stream="flow",
        steps=155_000,  # README: after 115,000 more training was needed, and began anew
        milestones=(97_000, 104_500, 115_000, 140_000, 150_000),
        rates=(0.1, 0.01, 1.0, 0.1, 0.01),
    ),
    "finetune": _FINETUNE,
    "charades": _CHARADES,
    "vidor": _VIDOR,
    "nonlocal_400k": _NONLOCAL,
    "r2plus1d_kinetics": _R2PLUS1D,
}


def changed(recipe: Recipe, texts: Iterable[str]) -> Recipe:
    """The recipe with fields changed by texts of the form NAME=VALUE.

    Tuples are written "1,2", an empty one "", None "none", and booleans "true" or "false". Raises
    `ValueError` for no such field, one that is given twice, or a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        need(bool(equals), "a field of a recipe", "NAME=VALUE", text)
        need(name not in values, name, "given once", text)
        values[name] = settings.parsed(Recipe, name, value)
    return dataclasses.replace(recipe, **values)
