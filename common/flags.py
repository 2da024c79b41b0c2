"""Flags that several commands share; a flag may be defined only once in a process."""

from absl import app, flags

from common import flow
from common.arch import ARCHITECTURES

INPUT = flags.DEFINE_string("input", None, "Name or path of what to read.")
OUTPUT = flags.DEFINE_string("output", None, "Path of what to write.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is already there.")
LIMIT = flags.DEFINE_integer("limit", None, "Take so many items and no more.", lower_bound=1)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what would be done, and do nothing.")
WORKERS = flags.DEFINE_integer(
    "workers", None, "Processes to work with; by default one a core.", lower_bound=0
)
ALLOW_FAILURES = flags.DEFINE_integer(
    "allow_failures", 0, "So many items may fail before the exit status is 1.", lower_bound=0
)
ARCHITECTURE = flags.DEFINE_enum(
    "architecture",
    None,
    list(ARCHITECTURES),
    "Which network the weights are of, where their names fit several.",
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Weights: the name of a published checkpoint, or a path in any format."
)
FLOW_ENGINE = flags.DEFINE_enum(
    "flow_engine",
    "auto",
    ["auto", *flow.ENGINES],
    "What computes TV-L1 flow; auto is torch where a CUDA device is, else numba.",
)
ANNOTATIONS = flags.DEFINE_string(
    "annotations",
    None,
    "The clips of a data set and their labels: a file that `make_annotations` wrote, or one of "
    "3D-ResNets or pytorch-i3d.",
)
RGB = flags.DEFINE_string(
    "rgb", None, "Folder of the data set's RGB: frames, videos, or arrays that `to_numpy` wrote."
)
FLOW = flags.DEFINE_string(
    "flow",
    None,
    "Folder of the data set's flow; where it holds frames or videos, flow is computed, which takes "
    "long.",
)
STREAMS = flags.DEFINE_list(
    "streams", None, "rgb, flow, or rgb,flow: two streams; by default what the recipe says, or rgb."
)
RGB_CHECKPOINT = flags.DEFINE_string(
    "rgb_checkpoint", None, "Weights of the RGB stream; --checkpoint does where it is alone."
)
FLOW_CHECKPOINT = flags.DEFINE_string(
    "flow_checkpoint", None, "Weights of the flow stream; --checkpoint does where it is alone."
)
WEIGHTS = flags.DEFINE_list(
    "weights", [], "A number for each stream, or file of scores, that is fused; by default 1 each."
)


def chosen_streams(usual: str) -> dict[str, str | None]:
    """The checkpoint of each stream that --streams names; of `usual` where it names none.

    Raises:
        UsageError: There is no such stream, or --checkpoint is given for two.
    """
    own = {"rgb": RGB_CHECKPOINT, "flow": FLOW_CHECKPOINT}
    streams = tuple(STREAMS.value or [usual])
    if len(set(streams)) != len(streams) or set(streams) - set(own):
        raise app.UsageError(f"--streams must be rgb, flow or rgb,flow, not {','.join(streams)}")
    if len(streams) == 1:
        return {streams[0]: own[streams[0]].value or CHECKPOINT.value}
    if CHECKPOINT.value:
        raise app.UsageError(
            "--checkpoint is for one stream: use --rgb_checkpoint and --flow_checkpoint"
        )
    return {stream: own[stream].value for stream in streams}
