"""Flags that several commands share; a flag may be defined only once in a process."""

from absl import app, flags

from common import flow
from common.arch import ARCHITECTURES
from common.training.recipes import PRECISIONS

INPUT = flags.DEFINE_string("input", None, "Name or path of what to read.")
OUTPUT = flags.DEFINE_string("output", None, "Path of what to write.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is already there.")
LIMIT = flags.DEFINE_integer("limit", None, "Take so many items and no more.", lower_bound=1)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what would be done, and do nothing.")
WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Processes to work with (of `evaluate`, threads that read); by default one a core.",
    lower_bound=0,
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
PLACES = ("local", "ray")
ENGINE = flags.DEFINE_list(
    "engine", [], "Where to work: local, in processes here (default), or ray, on a Ray cluster."
)
PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    list(PRECISIONS),
    "What a network computes in; what comes out is float32.",
)
THREADS = flags.DEFINE_integer(
    "threads",
    None,
    "Threads that a network computes with on a CPU; by default as many as OMP_NUM_THREADS says, or "
    "one a core.",
    lower_bound=1,
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
    "rgb_checkpoint",
    None,
    "Weights of the RGB stream; --checkpoint does where it is alone. Training takes none, for "
    "random ones.",
)
FLOW_CHECKPOINT = flags.DEFINE_string(
    "flow_checkpoint",
    None,
    "Weights of the flow stream; --checkpoint does where it is alone. Training takes none, for "
    "random ones.",
)
WEIGHTS = flags.DEFINE_list(
    "weights", [], "A number for each stream, or file of scores, that is fused; by default 1 each."
)


def chosen_streams(usual: str, random: bool = False) -> dict[str, str | None]:
    """The checkpoint of each stream that --streams names; of `usual` where it names none.

    Args:
        usual: rgb, flow, or rgb,flow.
        random: Whether a stream may begin with random weights, its checkpoint then being None:
            where no stream has one, or where it is said to be "none".

    Raises:
        UsageError: There is no such stream; one has no checkpoint, or two; or there is one of a
            stream that was not chosen.
    """
    own = {"rgb": RGB_CHECKPOINT, "flow": FLOW_CHECKPOINT}
    streams = tuple(STREAMS.value or usual.split(","))
    if len(set(streams)) != len(streams) or set(streams) - set(own):
        raise app.UsageError(f"--streams must be rgb, flow or rgb,flow, not {','.join(streams)}")
    for stream, flag in own.items():
        if flag.value and stream not in streams:
            raise app.UsageError(f"--{flag.name} is given, and {stream} is not among --streams")
    given = {stream: own[stream].value for stream in streams}
    if CHECKPOINT.value:
        if len(streams) > 1:
            raise app.UsageError(
                "--checkpoint is for one stream: use --rgb_checkpoint and --flow_checkpoint"
            )
        if given[streams[0]]:
            raise app.UsageError(f"--checkpoint and --{own[streams[0]].name} exclude each other")
        given = {streams[0]: CHECKPOINT.value}
    for stream, checkpoint in given.items():
        if not checkpoint and not random:
            raise app.UsageError(f"--{own[stream].name} is needed")
        if not checkpoint and any(given.values()):
            raise app.UsageError(
                f"--{own[stream].name} is needed, as the other stream has one; "
                f"--{own[stream].name}=none begins with random weights"
            )
    if random:
        return {stream: None if name == "none" else name for stream, name in given.items()}
    return given


def chosen_engines(*kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Of each kind of engine the one that --engine names; the first where it names none.

    Args:
        kinds: Those that the command has, such as `PLACES`.

    Raises:
        UsageError: There is no such engine, or two of one kind are named.
    """
    known = [name for kind in kinds for name in kind]
    for name in ENGINE.value:
        if name not in known:
            raise app.UsageError(f"--engine must be one of {', '.join(known)}, not {name}")
    named = [[name for name in ENGINE.value if name in kind] for kind in kinds]
    for names in named:
        if len(names) > 1:
            raise app.UsageError(f"--engine takes one of a kind, not {' and '.join(names)}")
    return tuple((names or kind)[0] for names, kind in zip(named, kinds, strict=True))


def weights() -> tuple[float, ...]:
    """The numbers that --weights gives; raises `UsageError` where they are none."""
    try:
        return tuple(map(float, WEIGHTS.value))
    except ValueError:
        raise app.UsageError(f"--weights must be numbers, not {','.join(WEIGHTS.value)}") from None
