"""Recipes: every number of a training run, as a frozen value.

    recipe = changed(RECIPES["finetune"], ["steps=2000", "num_classes=101"])

Each recipe names the sources of its numbers; numbers without a source are marked as ours. Fields
that a recipe does not mention have the default of `Recipe`. Steps are updates of the weights.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from common import arch, settings
from common.annotations import TASKS
from common.models import PRECISIONS
from common.settings import need

STREAMS = ("rgb", "flow")
SCHEDULES = ("constant", "multi_step", "cosine", "plateau")
BATCH_NORMS = ("train", "freeze", "sync")

_CHOICES = {
    "stream": STREAMS,
    "task": TASKS,
    "schedule": SCHEDULES,
    "batch_norm": BATCH_NORMS,
    "precision": PRECISIONS,
}

_Limit = tuple[str, Callable[[Any], bool]]
_FROM_1: _Limit = ("at least 1", lambda value: value >= 1)
_FROM_0: _Limit = ("at least 0", lambda value: value >= 0)
_ABOVE_0: _Limit = ("above 0", lambda value: value > 0)
_BELOW_1: _Limit = ("from 0 to below 1", lambda value: 0 <= value < 1)
_SHARE: _Limit = ("above 0, at most 1", lambda value: 0 < value <= 1)

_LIMITS: dict[str, _Limit] = {
    **dict.fromkeys(("steps", "batch", "accumulate", "num_classes", "crop", "keep"), _FROM_1),
    **dict.fromkeys(("sample_duration", "sample_rate"), _FROM_1),
    **dict.fromkeys(("evaluate_every", "snapshot_every", "log_every"), _FROM_1),
    **dict.fromkeys(("warmup_steps", "patience", "weight_decay", "seed"), _FROM_0),
    **dict.fromkeys(("learning_rate", "clip_norm"), _ABOVE_0),
    **dict.fromkeys(("momentum", "average_decay", "label_smoothing", "dropout"), _BELOW_1),
    **dict.fromkeys(("factor", "batch_norm_momentum"), _SHARE),
    "warmup_start": ("from 0 to 1", lambda value: 0 <= value <= 1),
    "milestones": ("ascending, from 1", lambda steps: all(map(int.__lt__, (0, *steps), steps))),
    "rates": ("all above 0", lambda value: all(rate > 0 for rate in value)),
    "short_side": ("low,high with 1 <= low <= high", lambda value: 1 <= value[0] <= value[1]),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training run, apart from its data and first weights.

    `common.training.optim` has the update rule, `common.training.schedules` the learning rates.

    Attributes:
        architecture: A name in `common.arch`.
        stream: "rgb" or "flow".
        task: "classes": one label per clip, softmax and cross entropy. "frames": any number of
            labels per frame, sigmoid; half localisation loss (every frame), half classification
            loss (the maximum over time).
        num_classes: Classes of the head; None for those of the annotations.
        steps: Updates of the weights.
        batch: Clips per update, over all replicas and micro-batches.
        accumulate: Micro-batches per batch, computed one after the other.
        schedule: Learning-rate schedule.
        learning_rate: Rate of the first steps, or of those after a warm-up.
        milestones: multi_step: steps at which the rate changes, ascending.
        factor: multi_step, plateau: factor of the rate at each change.
        rates: multi_step: the rate from each milestone on as a share of `learning_rate`, where
            `factor` does not give it; else empty.
        warmup_steps: Steps in which the rate rises linearly; 0 for none.
        warmup_start: Rate of step 0 of a warm-up, as a share of `learning_rate`.
        patience: plateau: evaluations without improvement before the rate is reduced.
        momentum: Momentum; 0 for none.
        nesterov: Uses Nesterov momentum.
        weight_decay: Weight decay of kernels.
        decay_norms: Also decays scale and offset of norms.
        decay_biases: Also decays the biases of convolutions.
        clip_norm: Largest norm of the gradient over all parameters; None for no clipping.
        batch_norm: "train": the statistics of a replica's micro-batch; "sync": of all replicas
            together; "freeze": the running statistics, which do not change.
        batch_norm_momentum: Share of the batch in the running statistics; None for the
            architecture's.
        precision: Precision of activations and gradients; weights are float32.
        recompute: Activation checkpointing: keeps only the outputs of endpoints for the backward
            pass and recomputes the others: less memory, more time.
        average_decay: Decay of the moving average of the weights, which is evaluated and written
            instead of the last weights; 0 for no average.
        label_smoothing: Share of a target that is spread over all classes.
        dropout: Share of the features that is dropped; None for the architecture's.
        train_from: First endpoint that is trained; everything before it is frozen. None for all.
        global_pool: Pools over the whole picture in the head, for crops that its own window does
            not fit.
        sample_duration: Frames of a clip.
        sample_rate: Stride between frames.
        short_side: Range of the random shorter side, low and high, pixels.
        crop: Side of the random square crop, pixels.
        flip: Mirrors half of the clips.
        seed: Seed of everything random.
        evaluate_every: Steps between evaluations.
        snapshot_every: Steps between snapshots.
        keep: Snapshots to keep, beside the best.
        log_every: Steps between lines of the log.
    """

    architecture: str
    stream: str = "rgb"
    task: str = "classes"
    num_classes: int | None = None
    steps: int
    batch: int
    accumulate: int = 1
    schedule: str
    learning_rate: float
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    rates: tuple[float, ...] = ()
    warmup_steps: int = 0
    warmup_start: float = 0.1
    patience: int = 10
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float
    decay_norms: bool
    decay_biases: bool
    clip_norm: float | None = None
    batch_norm: str = "train"
    batch_norm_momentum: float | None = None
    precision: str = "float32"
    recompute: bool = False
    average_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float | None = None
    train_from: str | None = None
    global_pool: bool = False
    sample_duration: int
    sample_rate: int = 1
    short_side: tuple[int, int]
    crop: int
    flip: bool = True
    seed: int = 0
    evaluate_every: int = 1000
    snapshot_every: int = 1000
    keep: int = 3
    log_every: int = 10

    def __post_init__(self) -> None:
        settings.check_types(self)
        for name, (expected, right) in _LIMITS.items():
            value = getattr(self, name)
            need(value is None or right(value), name, expected, value)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            need(value in choices, name, f"one of {', '.join(choices)}", value)
        endpoints = arch.make(self.architecture).endpoints
        first, low = self.train_from, self.short_side[0]
        fits = first is None or first in endpoints
        need(fits, "train_from", f"none, or one of {', '.join(endpoints)}", first)
        whole = self.batch % self.accumulate == 0
        need(whole, "accumulate", f"a divisor of batch, {self.batch}", self.accumulate)
        needed = len(self.milestones) if self.rates else 0
        need(len(self.rates) == needed, "rates", f"{needed} rates, or none", self.rates)
        staged = self.schedule == "multi_step" or not self.milestones
        need(staged, "milestones", "empty unless schedule is multi_step", self.milestones)
        need(self.crop <= low, "crop", f"at most the short side, {low}", self.crop)
        smooth = self.task == "classes" or self.label_smoothing == 0
        need(smooth, "label_smoothing", "0 where task is frames", self.label_smoothing)
        looks = self.momentum > 0 or not self.nesterov
        need(looks, "nesterov", "false where momentum is 0", self.nesterov)


# Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, and the training section of
# README.md in google-deepmind/kinetics-i3d.
_QUO_VADIS = Recipe(
    architecture="inception_i3d",
    num_classes=400,
    steps=115_000,  # README
    batch=64 * 6,  # README: 64 replicas, minibatch 6
    schedule="multi_step",
    learning_rate=0.1,  # README
    milestones=(97_000, 108_000),  # README
    momentum=0.9,  # README
    weight_decay=1e-7,  # README, which does not say of what: kernels alone is ours
    decay_norms=False,
    decay_biases=False,
    dropout=0.5,  # README
    sample_duration=64,  # paper, section 2.5
    sample_rate=1,  # paper: 25 frames a second, all of them
    short_side=(256, 256),  # paper, section 2.5
    crop=224,  # paper, section 2.5
    flip=True,  # paper, section 2.5: left and right, the same in a whole clip
)

# facebookresearch/video-nonlocal-net: configs/DBG_kinetics_resnet_8gpu_c2d_nonlocal_400k.yaml with
# scripts/run_i3d_nlnet_400k_32f.sh, which ends at 74.9 top-1. It starts from ImageNet, inflated.
# It takes its running statistics anew from 200 batches ("precise") before it evaluates; we do not.
# Its SCALE_MOMENTUM is what the update above does anyway: Caffe2's v has the rate in it.
_NONLOCAL = Recipe(
    architecture="i3d_resnet50_nl_32x2",
    num_classes=400,
    steps=400_000,
    batch=64,  # on 8 GPUs
    schedule="multi_step",
    learning_rate=0.01,
    milestones=(150_000, 300_000),  # STEP_SIZES are lengths
    momentum=0.9,
    nesterov=True,
    weight_decay=1e-4,
    decay_norms=False,  # WEIGHT_DECAY_BN
    decay_biases=True,  # model_builder_video.py: all but what has "_bn" in its name
    dropout=0.5,  # the script
    sample_duration=32,  # the script
    sample_rate=2,  # the script
    short_side=(256, 320),  # JITTER_SCALES
    crop=224,
    flip=True,  # model_builder_video.py
    evaluate_every=20_000,
    snapshot_every=10_000,
    log_every=10,
)

# USTC-Video-Understanding/I3D_Finetune: finetune.py, for one GPU of 11 GB. Its results on split 1
# of UCF101: RGB 94.7, flow 96.3, both 97.6. There the 400 classes stay, and a layer follows them.
_FINETUNE = Recipe(
    architecture="inception_i3d",
    steps=63_600,  # 40 epochs of UCF101, split 1
    batch=6,
    schedule="multi_step",
    learning_rate=8e-4,
    milestones=(10_000, 20_000, 30_000, 40_000),
    rates=(0.625, 0.375, 0.125, 0.0625),  # 5e-4, 3e-4, 1e-4, 5e-5
    momentum=0.9,
    weight_decay=7e-7,
    decay_norms=False,  # kernels alone
    decay_biases=False,
    dropout=0.64,  # keeps 0.36
    sample_duration=64,
    sample_rate=1,
    short_side=(256, 256),  # its frames are stored so
    crop=224,
    flip=True,
    evaluate_every=1_590,  # each epoch
    snapshot_every=1_590,  # ours
)

# piergiaj/pytorch-i3d: train_i3d.py and charades_dataset.py.
_CHARADES = Recipe(
    architecture="inception_i3d",
    task="frames",
    num_classes=157,
    steps=2_000,  # ours: there 64,000, all but the first 1,000 of them at a rate of 0.001
    batch=4 * 40,
    accumulate=4,
    schedule="multi_step",
    learning_rate=0.1,
    milestones=(300, 1_000),
    momentum=0.9,
    weight_decay=1e-7,
    decay_norms=True,  # all parameters
    decay_biases=True,
    batch_norm_momentum=0.01,  # pytorch_i3d.py
    dropout=0.5,
    sample_duration=64,
    sample_rate=1,
    short_side=(226, 226),  # there only smaller frames are resized; Charades' are 180 to 320
    crop=224,
    flip=True,
    evaluate_every=100,  # ours: two epochs
    snapshot_every=100,  # ours; there every 10
)

# Robbie-Luo/vidor-i3d: train_i3d.py and VidorDataset.py, which follow those for Charades. There
# every other batch is lost, for gradients are cleared before they have been added up.
_VIDOR = dataclasses.replace(
    _CHARADES,
    num_classes=42,
    steps=14_000,  # 20 epochs; of the 7,000 videos is ours, there of labelled spans
    batch=2 * 5,
    accumulate=2,
    learning_rate=1e-3,
    sample_duration=60,
    evaluate_every=700,  # ours: each epoch
    snapshot_every=700,  # each epoch
)

# Caoliangjie/video-action-recognition-models: scripts/train_kinetics_r2plus1d.sh with the defaults
# of tools/opts.py. An epoch is 246,534 clips.
_R2PLUS1D = Recipe(
    architecture="r2plus1d_34_vmz",
    num_classes=400,
    steps=35 * 7_704,  # 35 epochs are VMZ's, train_r2plus1d_kinetics.sh; there up to 100
    batch=32,
    schedule="multi_step",
    learning_rate=1e-3,  # 0.01 with a dampening of 0.9, which is a tenth of it
    milestones=(10 * 7_704, 20 * 7_704, 30 * 7_704),
    momentum=0.9,
    weight_decay=1e-4,
    decay_norms=True,  # all parameters
    decay_biases=True,
    sample_duration=16,
    sample_rate=4,
    short_side=(128, 160),  # VMZ, train_net.py
    crop=112,
    flip=True,
    evaluate_every=7_704,  # each epoch
    snapshot_every=7_704,  # ours; there every fifth epoch
)

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
"""Every recipe by name."""


def get(name: str) -> Recipe:
    """The recipe of that name; raises `ValueError` for another."""
    if name not in RECIPES:
        raise ValueError(
            f"no such recipe. Expected one of {', '.join(RECIPES)}. Received: {name!r}."
        )
    return RECIPES[name]


def check_batch_norm(mode: str) -> None:
    """Raises `ValueError` for an unknown mode of batch norm."""
    need(mode in BATCH_NORMS, "batch_norm", f"one of {', '.join(BATCH_NORMS)}", mode)


def changed(recipe: Recipe, texts: Iterable[str]) -> Recipe:
    """The recipe with fields changed by texts of the form NAME=VALUE.

    Tuples are written "1,2", an empty one "", None "none", and booleans "true" or "false".

    Raises:
        ValueError: Another form, no such field, one that is given twice, or a value that it, or
            the recipe as a whole, cannot have.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"a field of a recipe must be NAME=VALUE. Received: {text!r}.")
        need(name not in values, name, "given once", text)
        values[name] = settings.parsed(Recipe, name, value)
    return dataclasses.replace(recipe, **values)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The fields as JSON; tuples become lists."""
    fields = dataclasses.asdict(recipe)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
