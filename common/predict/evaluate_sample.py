"""Classifies one sample or video: everything of `evaluate_sample` but the framework.

The flags, the choice of checkpoints and the text on stdout are those of DeepMind's release; two
streams are fused by adding their logits.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch, flow, hardware, models
from common.annotations import label_maps
from common.io import AssetError, check_target, to_json, write_text
from common.model_settings import CheckpointSettings
from common.models import MakePredictor, Model
from common.settings import UsageError, setting
from common.video import preview, video_clips

Floats = NDArray[np.float32]

Load = Callable[..., Model]
"""Like `models.load`."""

Score = Callable[[Model, Floats], Floats]
"""A model and a clip [1, T, H, W, C] in its value range to logits [num_classes], float32."""

EVAL_TYPES = ("rgb", "rgb600", "flow", "joint")

_TOP = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckpointSettings):
    r"""Classifies a sample or a video; prints what DeepMind's release prints.

        python -m i3d_torch.evaluate_sample
        python -m i3d_torch.evaluate_sample --eval_type=rgb600
        python -m i3d_torch.evaluate_sample --eval_type=rgb --imagenet_pretrained=false \
            --video=my.mp4

    A model that was trained with this project brings its class names, crop and frame rate along,
    in the card beside its weights.
    """

    eval_type: str = setting(
        "The RGB stream, the same for Kinetics-600, the flow stream, or RGB and flow added.",
        "joint",
        choices=EVAL_TYPES,
    )
    imagenet_pretrained: bool = setting(
        "Use the checkpoints that were pretrained on ImageNet (rgb600 has none such).", True
    )
    sample: str | None = setting(
        "The sample to classify; cricket if neither it nor --video is given.",
        None,
        choices=tuple(models.samples.SAMPLES),
    )
    video: str | None = setting(
        "A video file to classify in place of a sample; or NAME_rgb.npy, an array that `to_numpy`"
        " wrote, whose flow is in NAME_flow.npy.",
        None,
    )
    max_frames: int = setting(
        "Use at most this many frames from the beginning of the clip.",
        video_clips.MAX_FRAMES,
        minimum=video_clips.MIN_FRAMES,
    )
    label_map: str | None = setting(
        "Class names for weights that bring none: a text file with one name a line.", None
    )
    flow_engine: str = setting(
        "What computes TV-L1 flow; auto is torch where there is a CUDA device, else numba.",
        "auto",
        choices=("auto", *flow.ENGINES),
    )
    output: str | None = setting(
        "Write the result as JSON, with the weights, clip and versions it was made with.", None
    )
    gif: str | None = setting(
        "Write what the network sees as a GIF; for joint, NAME_rgb.gif and NAME_flow.gif.", None
    )
    overwrite: bool = setting("Replace existing files.", False)

    def __post_init__(self) -> None:
        if self.video is not None and self.sample is not None:
            raise UsageError("--video and --sample exclude each other")
        if self.video is not None and "://" in self.video:
            raise UsageError(f"--video={self.video}: a URL is not read; download the video first")
        if self.gif is not None and Path(self.gif).suffix.lower() != ".gif":
            raise UsageError(f"--gif={self.gif}: expected a name that ends with .gif")


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores of one clip.

    Attributes:
        logits: [num_classes] float32; for two streams their sum.
        classes: Class names in the order of the logits.
        provenance: The weights, clips, contracts and versions the scores were made with.
    """

    logits: Floats
    classes: tuple[str, ...]
    provenance: dict[str, object]

    @property
    def norm(self) -> np.floating:
        return np.linalg.norm(self.logits)

    def top(self, count: int = _TOP) -> list[tuple[int, np.float32, np.float32, str]]:
        """Index, probability, logit and name of the classes with the highest logits."""
        probabilities = softmax(self.logits)
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [(int(i), probabilities[i], self.logits[i], self.classes[i]) for i in order]

    def text(self) -> str:
        """The release's text, to the letter."""
        lines = [f"Norm of logits: {self.norm:f}", "", "Top classes and probabilities"]
        # str(), not format(): it gives the shortest digits of a float32, as the release prints.
        lines += [f"{p!s} {logit!s} {name}" for _, p, logit, name in self.top()]
        return "\n".join(lines) + "\n"

    def record(self) -> dict[str, object]:
        """The result and its provenance as JSON."""
        top = [
            {"index": i, "class": name, "probability": float(p), "logit": float(logit)}
            for i, p, logit, name in self.top()
        ]
        return {**self.provenance, "norm": float(self.norm), "top": top}


def run(settings: Settings, make: MakePredictor, backend: str) -> None:
    """Evaluates, prints the release's text, and writes `settings.output` if given.

    Raises:
        UsageError: Settings that contradict each other.
        ValueError: A bad video or checkpoint.
        FileNotFoundError: No such video or checkpoint, or (`AssetError`) no source of a file.
    """
    hardware.keep_freed_memory()
    result = evaluate(settings, scores_by(settings, make), backend)
    sys.stdout.write(result.text())
    sys.stdout.flush()
    if settings.output:
        write_text(settings.output, to_json(result.record()))
        logging.info("wrote %s", settings.output)


def scores_by(settings: Settings, make: MakePredictor) -> Score:
    """Scores by a framework's predictor, on the device and in the precision of the settings."""

    def score(model: Model, clip: Floats) -> Floats:
        predictor = make(model, device=settings.device, precision=settings.precision)
        logits: Floats = predictor.scores(clip, prepared=True)[0]
        return logits

    return score


def evaluate(settings: Settings, score: Score, backend: str, load: Load = models.load) -> Result:
    """Everything of `run` but the text and the JSON file; raises the same."""
    chosen = streams(settings)
    _check_source(settings, chosen)
    for target in _targets(settings, chosen):
        if target in [Path(path) for path in (settings.video, *chosen.values()) if path]:
            raise ValueError(f"{target} is what is read: write to another file.")
        check_target(target, settings.overwrite)
    try:
        # Wrong weights are reported at once, not after a long video was decoded.
        loaded = {
            stream: load(name, stream, settings.architecture) for stream, name in chosen.items()
        }
        classes = _classes(settings, loaded)
        clips = {stream: _clip(settings, stream, model) for stream, model in loaded.items()}
    except AssetError as error:
        raise AssetError(f"{error}{_way_out(settings, backend)}") from error
    for stream, target in _gifs(settings, chosen).items():
        preview.write_gif(target, clips[stream][0])
        logging.info("wrote %s", target)
    total: Floats = np.zeros(len(classes), np.float32)
    for stream, model in loaded.items():
        logging.info("%s: weights %s, clip %s", stream, model.path, list(clips[stream].shape))
        logits = score(model, clips[stream])
        if not np.isfinite(logits).all():
            raise ValueError(
                f"{model.path}: the {stream} logits are not finite. Check the weights."
            )
        total = total + logits
    origins = {
        stream: {**model.origin(), "clip": list(clips[stream].shape)}
        for stream, model in loaded.items()
    }
    record: dict[str, object] = {
        "eval_type": settings.eval_type,
        "sample": None if settings.video else _sample(settings),
        "video": settings.video,
        "max_frames": settings.max_frames,
        **_flow_provenance(settings, chosen),
        "streams": origins,
        "backend": backend,
        "versions": models.versions(backend),
    }
    return Result(total, classes, record)


def streams(settings: Settings) -> dict[str, str]:
    """The checkpoint (name or path) of each stream that is asked for.

    Raises:
        UsageError: Checkpoints that do not fit --eval_type.
    """
    wanted = {"joint": ("rgb", "flow"), "rgb600": ("rgb",)}.get(
        settings.eval_type, (settings.eval_type,)
    )
    trained = "imagenet" if settings.imagenet_pretrained else "scratch"
    usual = {stream: f"{stream}_{trained}" for stream in wanted}
    if settings.eval_type == "rgb600":
        usual["rgb"] = "rgb_scratch_kin600"
    found = settings.choose(wanted, f"--eval_type={settings.eval_type}", usual)
    for stream, name in found.items():
        row = models.published.CHECKPOINTS.get(name)
        if row and row.stream != stream:
            raise UsageError(
                f"{row.name} is a {row.stream} stream, and --eval_type={settings.eval_type} feeds"
                f" it {stream}. Use --eval_type={row.stream}"
            )
    return found


def softmax(logits: Floats) -> Floats:
    """Probabilities of [num_classes] logits in float32, whose digits are those of the release.

    `fusion.softmax` is the same in float64.
    """
    powers: Floats = np.exp(logits - logits.max())
    probabilities: Floats = powers / powers.sum()
    return probabilities


def _sample(settings: Settings) -> str:
    return settings.sample or "cricket"


def _check_source(settings: Settings, chosen: dict[str, str]) -> None:
    """Rejects a source that lacks a stream, before anything is fetched."""
    for stream in chosen:
        if settings.video is None:
            models.samples.asset(_sample(settings), stream)
        elif not (path := video_clips.source(settings.video, stream)).exists():
            raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
        elif path.is_dir():
            raise IsADirectoryError(
                f"{path} is a folder, and --video takes one video file. `i3d evaluate` scores many."
            )


def _clip(settings: Settings, stream: str, model: Model) -> Floats:
    """The clip [1, T, H, W, C] of a stream in the model's value range."""
    if settings.video is None:
        path, least = models.fetch_sample(_sample(settings), stream), video_clips.MIN_FRAMES
    else:
        path = video_clips.source(settings.video, stream)
        least, _, _ = arch.smallest_size(model.net)
    return video_clips.clip_from_video(
        path, model.contract, settings.max_frames, least, settings.flow_engine
    )


def _flow_provenance(settings: Settings, chosen: dict[str, str]) -> dict[str, object]:
    """How flow was computed, if it was."""
    if "flow" not in chosen:
        return {}
    path = settings.video or models.samples.asset(_sample(settings), "flow").relative_path
    return {} if path.endswith(".npy") else {"flow": flow.describe(settings.flow_engine)}


def _gifs(settings: Settings, chosen: dict[str, str]) -> dict[str, Path]:
    """The GIF of each stream, if asked for."""
    if not settings.gif:
        return {}
    path = Path(settings.gif)
    if len(chosen) == 1:
        return dict.fromkeys(chosen, path)
    return {stream: path.with_name(f"{path.stem}_{stream}{path.suffix}") for stream in chosen}


def _targets(settings: Settings, chosen: dict[str, str]) -> list[Path]:
    """All files that will be written."""
    outputs = [Path(settings.output)] if settings.output else []
    return [*_gifs(settings, chosen).values(), *outputs]


def _classes(settings: Settings, loaded: dict[str, Model]) -> tuple[str, ...]:
    """The class names, which all streams must share.

    Raises:
        ValueError: The streams differ, or the label map has another number of names.
    """
    first, *others = loaded.values()
    for other in others:
        if other.class_names != first.class_names:
            raise ValueError(
                f"{first.path} and {other.path} have different classes ({len(first.class_names)} "
                f"and {len(other.class_names)}): their logits cannot be added."
            )
    if settings.label_map is None:
        return first.class_names
    names = label_maps.load(settings.label_map)
    if len(names) != first.net.num_classes:
        raise ValueError(
            f"{settings.label_map}: expected {first.net.num_classes} names, one a logit of "
            f"{first.path}. Received: {len(names)}."
        )
    return names


def _way_out(settings: Settings, backend: str) -> str:
    """The command whose files come from the package index, unless it is this one."""
    works = Settings(eval_type="rgb", imagenet_pretrained=False, sample="backflip")
    if streams(settings) == streams(works) and (settings.video or settings.sample == works.sample):
        return ""
    video = settings.video
    return (
        f" Without these files, this works: python -m {backend}.evaluate_sample --eval_type=rgb"
        f" --imagenet_pretrained=false {f'--video={video}' if video else '--sample=backflip'}"
    )
