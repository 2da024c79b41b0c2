"""What `i3d_tf.evaluate` and `i3d_torch.evaluate` share: flags, and the way to an exit status."""

from pathlib import Path

from absl import app, flags

from common import memory, processors
from common.annotations import SUBSETS
from common.evaluation import evaluating, protocols
from common.evaluation.evaluating import Options
from common.evaluation.fusion import FUSIONS
from common.flags import (
    ALLOW_FAILURES,
    ANNOTATIONS,
    ARCHITECTURE,
    CHECKPOINT,
    FLOW,
    FLOW_CHECKPOINT,
    FLOW_ENGINE,
    LIMIT,
    OUTPUT,
    OVERWRITE,
    PRECISION,
    RGB,
    RGB_CHECKPOINT,
    STREAMS,
    THREADS,
    WEIGHTS,
    WORKERS,
    chosen_streams,
    weights,
)
from common.models import MakePredictor
from common.training.recipes import TASKS
from common.video.clip_reader import Source

PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    list(protocols.PROTOCOLS),
    "Which views of a video are averaged; by default quo_vadis, for labels of frames every_frame.",
)
SUBSET = flags.DEFINE_enum("subset", "validation", list(SUBSETS), "Which records to evaluate.")
TASK = flags.DEFINE_enum(
    "task",
    None,
    list(TASKS),
    "classes: one label a video. frames: labels of every frame. By default what the weights were "
    "trained for.",
)
MOMENTS = flags.DEFINE_integer(
    "moments",
    None,
    "Task frames: judge so many moments of a video, 25 for Charades; by default every frame.",
    lower_bound=1,
)
FUSION = flags.DEFINE_enum(
    "fusion",
    "logits",
    list(FUSIONS),
    "How two streams become one: sum of logits, or mean of softmax.",
)
VIEWS = flags.DEFINE_integer(
    "views_at_a_time", 4, "The network gets so many views at once.", lower_bound=1
)
SHUFFLE = flags.DEFINE_bool(
    "shuffle_frames",
    False,
    "A control: give the frames of each view in a random order, which leaves no motion to see.",
)
ALLOW_MIXED_FLOW = flags.DEFINE_bool(
    "allow_mixed_flow",
    False,
    "Evaluate flow that was made in another way than what the weights were trained on, or in "
    "several ways.",
)
_SHARED = (
    ALLOW_FAILURES, ANNOTATIONS, ARCHITECTURE, CHECKPOINT, FLOW, FLOW_CHECKPOINT,
    FLOW_ENGINE, LIMIT, OUTPUT, OVERWRITE, PRECISION, RGB, RGB_CHECKPOINT, STREAMS, THREADS,
    WEIGHTS, WORKERS,
)  # fmt: skip
for _flag in _SHARED:
    flags.declare_key_flag(_flag.name)


def main(make: MakePredictor, backend: str) -> int:
    """The command of a backend (its package's name): flags to options, then `run`."""
    memory.keep()
    found, text = evaluating.run(_options(), make, backend)
    print(text, end="")
    return int(len(found.failures) > ALLOW_FAILURES.value)


def _options() -> Options:
    folders = {"rgb": RGB, "flow": FLOW}
    given = {}
    for stream, checkpoint in chosen_streams("rgb").items():
        if not folders[stream].value:
            raise app.UsageError(f"--{stream} is needed")
        given[stream] = str(checkpoint)
    for fused in (FUSION, WEIGHTS):
        if fused.present and len(given) == 1:
            raise app.UsageError(f"--{fused.name} is for two streams: add --streams=rgb,flow")
    for flag in (ANNOTATIONS, OUTPUT):
        if not flag.value:
            raise app.UsageError(f"--{flag.name} is needed")
    paths = {name: Path(folder.value) if folder.value else None for name, folder in folders.items()}
    # Not torch where nobody asked for it: the network has the GPU, and many threads read.
    engine = FLOW_ENGINE.value if FLOW_ENGINE.present else "numba"
    return Options(
        annotations=Path(ANNOTATIONS.value),
        output=Path(OUTPUT.value),
        source=Source(paths["rgb"], paths["flow"], engine),
        checkpoints=given,
        subset=SUBSET.value,
        protocol=PROTOCOL.value,
        task=TASK.value,
        moments=MOMENTS.value,
        fusion=FUSION.value,
        weights=weights(),
        views_at_a_time=VIEWS.value,
        workers=processors.count() if WORKERS.value is None else WORKERS.value,
        limit=LIMIT.value,
        architecture=ARCHITECTURE.value,
        shuffle_frames=SHUFFLE.value,
        allow_mixed_flow=ALLOW_MIXED_FLOW.value,
        overwrite=OVERWRITE.value,
        precision=PRECISION.value,
    )
