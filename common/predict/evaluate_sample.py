"""What `i3d_tf.evaluate_sample` and `i3d_torch.evaluate_sample` share: everything but the model.

The flags, the choice of checkpoints and the text on stdout are those of the release; two streams
are fused by adding their logits.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from numpy.typing import NDArray

from common import arch, flow, memory, provenance
from common.annotations import label_maps
from common.flags import (
    ARCHITECTURE,
    CHECKPOINT,
    FLOW_ENGINE,
    OUTPUT,
    OVERWRITE,
    THREADS,
)
from common.io import AssetError, check_target, write_text
from common.predict import samples
from common.preprocessing import contracts
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT, InputContract
from common.video import preview, video_clips
from convert import checkpoints
from convert.checkpoints import Checkpoint

Floats = NDArray[np.float32]

Predict = Callable[[str, Floats, str | None], Floats]
"""A checkpoint (name or path), a clip [1, T, H, W, C] and the architecture, where the checkpoint
does not say it, to logits [num_classes], float32."""

EVAL_TYPES = ("rgb", "rgb600", "flow", "joint")

EVAL_TYPE = flags.DEFINE_enum(
    "eval_type",
    "joint",
    EVAL_TYPES,
    "The RGB stream, the same for Kinetics-600, the flow stream, or RGB and flow added.",
)
IMAGENET_PRETRAINED = flags.DEFINE_bool(
    "imagenet_pretrained",
    True,
    "Take the checkpoints that were trained on ImageNet first (rgb600 has none such).",
)
SAMPLE = flags.DEFINE_enum("sample", "cricket", list(samples.SAMPLES), "Which sample to classify.")
VIDEO = flags.DEFINE_string(
    "video",
    None,
    "A video file to classify in place of a sample; or NAME_rgb.npy, an array that `to_numpy` made,"
    " whose flow is in NAME_flow.npy.",
)
MAX_FRAMES = flags.DEFINE_integer(
    "max_frames",
    video_clips.MAX_FRAMES,
    "Use so many frames from the beginning at most; 25 are a second.",
    lower_bound=video_clips.MIN_FRAMES,
)
GIF = flags.DEFINE_string(
    "gif", None, "Write what the network sees as a GIF; for joint, NAME_rgb.gif and NAME_flow.gif."
)
for _flag in (CHECKPOINT, ARCHITECTURE, OUTPUT, OVERWRITE, FLOW_ENGINE, THREADS):
    flags.declare_key_flag(_flag.name)

_TOP = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """The command's flags."""

    eval_type: str = "joint"
    imagenet_pretrained: bool = True
    sample: str = "cricket"
    video: str | None = None
    max_frames: int = video_clips.MAX_FRAMES
    checkpoint: str | None = None
    architecture: str | None = None
    output: str | None = None
    gif: str | None = None
    overwrite: bool = False
    flow_engine: str = "auto"


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        logits: [num_classes] float32; of two streams the sum.
        classes: Names, in the order of the logits.
        provenance: Which weights, clips, contracts and versions it was made with.
    """

    logits: Floats
    classes: tuple[str, ...]
    provenance: dict[str, object]

    @property
    def norm(self) -> np.floating:
        return np.linalg.norm(self.logits)

    def top(self, count: int = _TOP) -> list[tuple[np.float32, np.float32, str]]:
        """Probability, logit and class of the highest logits."""
        probabilities = softmax(self.logits)
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [(probabilities[i], self.logits[i], self.classes[i]) for i in order]

    def text(self) -> str:
        """The release's text, to the letter."""
        lines = [f"Norm of logits: {self.norm:f}", "", "Top classes and probabilities"]
        # str(), not format(): it gives the shortest digits of a float32, as the release prints.
        lines += [f"{probability!s} {logit!s} {name}" for probability, logit, name in self.top()]
        return "\n".join(lines) + "\n"

    def record(self) -> dict[str, object]:
        """The result and its provenance as JSON has it."""
        top = [
            {"probability": float(probability), "logit": float(logit), "class": name}
            for probability, logit, name in self.top()
        ]
        return {**self.provenance, "norm": float(self.norm), "top": top}


def main(predict: Predict, backend: str) -> None:
    """The command of a backend (its package's name): flags to options, then `run`."""
    if VIDEO.value is not None and SAMPLE.present:
        raise app.UsageError("--video and --sample exclude each other.")
    memory.keep()
    options = Options(
        eval_type=EVAL_TYPE.value,
        imagenet_pretrained=IMAGENET_PRETRAINED.value,
        sample=SAMPLE.value,
        video=VIDEO.value,
        max_frames=MAX_FRAMES.value,
        checkpoint=CHECKPOINT.value,
        architecture=ARCHITECTURE.value,
        output=OUTPUT.value,
        gif=GIF.value,
        overwrite=OVERWRITE.value,
        flow_engine=FLOW_ENGINE.value,
    )
    run(options, predict, backend)


def run(options: Options, predict: Predict, backend: str) -> None:
    """Evaluates, prints the release's text, and writes `options.output` if asked for.

    Raises:
        ValueError: Options that do not go together, a bad video or a bad checkpoint.
        FileNotFoundError: No such video or checkpoint, or (`AssetError`) no source of a file.
    """
    result = evaluate(options, predict, backend)
    sys.stdout.write(result.text())
    sys.stdout.flush()
    if options.output:
        write_text(options.output, provenance.to_json(result.record()))
        logging.info("wrote %s", options.output)


def evaluate(options: Options, predict: Predict, backend: str) -> Result:
    """Everything of `run` but the text and the JSON file; raises the same."""
    _check_source(options)
    for target in _targets(options):
        if target in [Path(path) for path in (options.video, options.checkpoint) if path]:
            raise ValueError(f"{target} is what is read: write to another file.")
        check_target(target, options.overwrite)
    try:
        chosen = {stream: checkpoints.resolve(name) for stream, name in names(options).items()}
        # What is wrong with the weights shows at once, not after a long video.
        nets = {
            stream: _network(stream, path, options.architecture)
            for stream, (path, _) in chosen.items()
        }
        expected = {
            stream: _contract(stream, row, nets[stream]) for stream, (_, row) in chosen.items()
        }
        clips = {
            stream: _clip(options, stream, expected[stream], nets[stream]) for stream in chosen
        }
    except AssetError as error:
        raise AssetError(f"{error}{_way_out(options, backend)}") from error
    for stream, target in _gifs(options).items():
        preview.write_gif(target, clips[stream][0])
        logging.info("wrote %s", target)
    logits: dict[str, Floats] = {}
    for stream, (path, _) in chosen.items():
        logging.info("%s: weights %s, clip %s", stream, path, list(clips[stream].shape))
        logits[stream] = np.asarray(
            predict(str(path), clips[stream], options.architecture), np.float32
        )
        if not np.isfinite(logits[stream]).all():
            raise ValueError(f"{path}: the {stream} logits are not finite. Check the weights.")
    total: Floats = np.stack(list(logits.values())).sum(axis=0)
    return Result(
        total,
        _classes([row for _, row in chosen.values()], total.size),
        provenance.describe(
            backend=backend,
            settings={
                "eval_type": options.eval_type,
                "sample": None if options.video else options.sample,
                "video": options.video,
                "max_frames": options.max_frames,
                **_flow_provenance(options),
            },
            streams=chosen,
            contracts=expected,
            clips=clips,
        ),
    )


def names(options: Options) -> dict[str, str]:
    """The checkpoint (name or path) of each stream that the options ask for."""
    if options.eval_type not in EVAL_TYPES:
        raise ValueError(
            f"--eval_type must be one of {', '.join(EVAL_TYPES)}. Received: {options.eval_type!r}."
        )
    streams = {"joint": ("rgb", "flow"), "rgb600": ("rgb",)}.get(
        options.eval_type, (options.eval_type,)
    )
    if options.checkpoint is not None:
        if len(streams) > 1:
            raise ValueError(
                "--checkpoint is for one stream: add --eval_type=rgb or --eval_type=flow."
            )
        row = checkpoints.CHECKPOINTS.get(options.checkpoint)
        if row and row.stream != streams[0]:
            raise ValueError(
                f"--checkpoint={row.name} is a {row.stream} stream, and --eval_type="
                f"{options.eval_type} feeds {streams[0]}. Use --eval_type={row.stream}."
            )
        return {streams[0]: options.checkpoint}
    if options.eval_type == "rgb600":
        return {"rgb": "rgb_scratch_kin600"}
    trained = "imagenet" if options.imagenet_pretrained else "scratch"
    return {stream: f"{stream}_{trained}" for stream in streams}


def softmax(logits: Floats) -> Floats:
    """Probabilities of [num_classes] logits in float32, whose digits are those of the release.

    `fusion.softmax` is the same in float64.
    """
    powers: Floats = np.exp(logits - logits.max())
    probabilities: Floats = powers / powers.sum()
    return probabilities


def _check_source(options: Options) -> None:
    """Refuses, before anything is fetched, what has no flow."""
    if options.video is None:
        for stream in names(options):
            samples.asset(options.sample, stream)
    else:
        for stream in names(options):
            if not (path := video_clips.source(options.video, stream)).exists():
                raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")


def _network(stream: str, path: Path, architecture: str | None) -> arch.Network:
    """The network of weights; refuses those that cannot be read or that take another stream."""
    from convert import hub  # reads any format; it finds published names through `common`

    weights = hub.read(path, hub.Terms(architecture=architecture))
    found = weights.stream
    if found != stream:
        raise ValueError(
            f"{path}: the weights are for another stream. Expected {stream}. Received: {found}."
            f"{f' Use --eval_type={found}.' if found in EVAL_TYPES else ''}"
        )
    return weights.net


def _contract(stream: str, row: Checkpoint | None, net: arch.Network) -> InputContract:
    """The row's contract; for a file of somebody's own, what its architecture usually expects."""
    if row:
        return row.contract
    if net.name in contracts.RELEASED:
        return FLOW_CONTRACT if stream == "flow" else RGB_CONTRACT
    return contracts.usual(net.name)


def _clip(options: Options, stream: str, contract: InputContract, net: arch.Network) -> Floats:
    if options.video is None:
        return samples.clip(
            options.sample, stream, contract, options.max_frames, options.flow_engine
        )
    least, _, _ = arch.smallest_size(net)
    path = video_clips.source(options.video, stream)
    return video_clips.clip_from_video(
        path, contract, options.max_frames, least, options.flow_engine
    )


def _flow_provenance(options: Options) -> dict[str, object]:
    """How flow was computed, where it was."""
    if "flow" not in names(options):
        return {}
    path = options.video or samples.asset(options.sample, "flow").relative_path
    return {} if path.endswith(".npy") else {"flow": flow.describe(options.flow_engine)}


def _gifs(options: Options) -> dict[str, Path]:
    """The GIF of each stream, if asked for."""
    if not options.gif:
        return {}
    path, streams = Path(options.gif), list(names(options))
    if len(streams) == 1:
        return {streams[0]: path}
    return {stream: path.with_name(f"{path.stem}_{stream}{path.suffix}") for stream in streams}


def _targets(options: Options) -> list[Path]:
    """All files that will be written."""
    return [*_gifs(options).values(), *([Path(options.output)] if options.output else [])]


def _classes(rows: list[Checkpoint | None], count: int) -> tuple[str, ...]:
    """The row's label map; for a file of somebody's own, what the number of classes says."""
    first = rows[0]
    found = label_maps.load(first.label_map) if first else label_maps.for_classes(count)
    if len(found) != count:
        raise ValueError(f"expected {len(found)} logits, one a class. Received: {count}.")
    return found


def _way_out(options: Options, backend: str) -> str:
    """The command whose files come from the package index, unless it is this one."""
    works = Options(eval_type="rgb", imagenet_pretrained=False, sample="backflip")
    if (
        options.checkpoint is None
        and names(options) == names(works)
        and (options.video or options.sample == works.sample)
    ):
        return ""
    video = options.video
    return (
        f" Without these files, this works: python -m {backend}.evaluate_sample --eval_type=rgb"
        f" --imagenet_pretrained=false {f'--video={video}' if video else '--sample=backflip'}"
    )
