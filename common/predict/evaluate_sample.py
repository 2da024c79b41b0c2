"""Classifies one sample or video: everything of `evaluate_sample` but the framework.

The flags, the choice of checkpoints and the text on stdout are those of DeepMind's release; two
streams are fused by adding their logits.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch, flow, models
from common.annotations import label_maps
from common.io import AssetError, check_target, to_json, write_text
from common.models import CheckpointSettings, MakePredictor, Model
from common.settings import UsageError, setting
from common.video import preview, video_clips

Floats = NDArray[np.float32]

_SAMPLE = "cricket"
_STREAMS = {"rgb": ("rgb",), "rgb600": ("rgb",), "flow": ("flow",), "joint": ("rgb", "flow")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckpointSettings):
    r"""Classifies a sample or a video; prints what DeepMind's release prints.

        python -m i3d_torch.evaluate_sample
        python -m i3d_torch.evaluate_sample --eval_type=rgb --imagenet_pretrained=false \
            --video=my.mp4

    A model that was trained with this project brings its class names, crop and frame rate along,
    in the card beside its weights.
    """

    eval_type: str = setting(
        "The RGB stream, the same for Kinetics-600, the flow stream, or RGB and flow added.",
        "joint",
        choices=tuple(_STREAMS),
    )
    imagenet_pretrained: bool = setting(
        "Use the checkpoints that were pretrained on ImageNet (rgb600 has none such).", True
    )
    sample: str | None = setting(
        "The sample to classify; cricket if neither it nor --video is given.",
        None,
        choices=tuple(models.published.SAMPLES),
    )
    video: str | None = setting(
        "A video file in place of a sample; or NAME_rgb.npy of `to_numpy`, beside NAME_flow.npy.",
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
    output: Path | None = setting(
        "Write the result as JSON, with the weights, clip and versions it was made with.", None
    )
    gif: Path | None = setting(
        "Write what the network sees as a GIF; for joint, NAME_rgb.gif and NAME_flow.gif.", None
    )
    overwrite: bool = setting("Replace existing files.", False)

    def __post_init__(self) -> None:
        if self.video is not None and self.sample is not None:
            raise UsageError("--video and --sample exclude each other")
        if self.video is not None and "://" in self.video:
            raise UsageError(f"--video={self.video}: a URL is not read; download the video first")
        if self.gif is not None and self.gif.suffix.lower() != ".gif":
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

    def top(self, count: int = 20) -> list[tuple[int, np.float32, np.float32, str]]:
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
    """Evaluates, prints the release's text, and writes `settings.output` if given."""
    models.keep_freed_memory()
    result = evaluate(settings, make, backend)
    sys.stdout.write(result.text())
    sys.stdout.flush()
    if settings.output:
        write_text(settings.output, to_json(result.record()))
        logging.info("wrote %s", settings.output)


def evaluate(settings: Settings, make: MakePredictor, backend: str) -> Result:
    """Everything of `run` but the text and the JSON file.

    Raises:
        UsageError: Settings that contradict each other.
        ValueError: A bad video or checkpoint.
        FileNotFoundError: No such video or checkpoint, or (`AssetError`) no source of a file.
    """
    chosen = streams(settings)
    computed = {stream: _is_video(settings, stream) for stream in chosen}
    gifs = dict.fromkeys(chosen, settings.gif) if settings.gif else {}
    if settings.gif and len(chosen) > 1:
        gifs = {x: settings.gif.with_name(f"{settings.gif.stem}_{x}.gif") for x in chosen}
    for target in filter(None, (*gifs.values(), settings.output)):
        if target in [Path(path) for path in (settings.video, *chosen.values()) if path]:
            raise ValueError(f"{target} is what is read: write to another file.")
        check_target(target, settings.overwrite)
    try:
        # Wrong weights are reported at once, not after a long video was decoded.
        loaded = {x: models.load(name, x, settings.architecture) for x, name in chosen.items()}
        classes = _classes(settings, loaded)
        clips = {stream: _clip(settings, stream, model) for stream, model in loaded.items()}
    except AssetError as error:
        raise AssetError(
            f"{error} The package index has all files of: python -m {backend}.evaluate_sample "
            "--eval_type=rgb --imagenet_pretrained=false --sample=backflip"
        ) from error
    for stream, target in gifs.items():
        preview.write_gif(target, clips[stream][0])
        logging.info("wrote %s", target)
    total: Floats = np.zeros(len(classes), np.float32)
    for stream, model in loaded.items():
        logging.info("%s: weights %s, clip %s", stream, model.path, list(clips[stream].shape))
        predictor = make(model, device=settings.device, precision=settings.precision)
        logits = predictor.scores(clips[stream], prepared=True)[0]
        if not np.isfinite(logits).all():
            raise ValueError(f"{model.path}: {stream} logits are not finite. Check the weights.")
        total = total + logits
    provenance: dict[str, object] = {
        "eval_type": settings.eval_type,
        "sample": None if settings.video else settings.sample or _SAMPLE,
        "video": settings.video,
        "max_frames": settings.max_frames,
        **({"flow": flow.describe(settings.flow_engine)} if computed.get("flow") else {}),
        "streams": {x: {**loaded[x].origin(), "clip": list(clips[x].shape)} for x in chosen},
        "backend": backend,
        "versions": models.versions(backend),
    }
    return Result(total, classes, provenance)


def streams(settings: Settings) -> dict[str, str]:
    """The checkpoint (name or path) of each stream; `UsageError` if one does not fit its stream."""
    trained = "imagenet" if settings.imagenet_pretrained else "scratch"
    trained = "scratch_kin600" if settings.eval_type == "rgb600" else trained
    wanted, asked = _STREAMS[settings.eval_type], f"--eval_type={settings.eval_type}"
    found = settings.choose(wanted, asked, {stream: f"{stream}_{trained}" for stream in wanted})
    for stream, name in found.items():
        row = models.published.CHECKPOINTS.get(name)
        if row and row.stream != stream:
            raise UsageError(
                f"{row.name} is a {row.stream} stream, and {asked} feeds it {stream}. Use "
                f"--eval_type={row.stream}"
            )
    return found


def softmax(logits: Floats) -> Floats:
    """Probabilities of [num_classes] logits in float32, whose digits are those of the release."""
    powers: Floats = np.exp(logits - logits.max())
    probabilities: Floats = powers / powers.sum()
    return probabilities


def _is_video(settings: Settings, stream: str) -> bool:
    """Whether a stream is of a video, not an array; refuses what is not there before any fetch."""
    if settings.video is None:
        path = Path(models.published.sample(settings.sample or _SAMPLE, stream).relative_path)
    elif not (path := video_clips.source(settings.video, stream)).exists():
        raise FileNotFoundError(f"{path}: there is no such video file. Check the path.")
    elif path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: --video is a file; `evaluate` takes many.")
    return path.suffix != ".npy"


def _clip(settings: Settings, stream: str, model: Model) -> Floats:
    """The clip [1, T, H, W, C] of a stream in the model's value range."""
    if settings.video is None:
        sample = models.published.sample(settings.sample or _SAMPLE, stream)
        (path,) = models.published.fetch(sample)
        least = video_clips.MIN_FRAMES
    else:
        path = video_clips.source(settings.video, stream)
        least, _, _ = arch.smallest_size(model.net)
    return video_clips.clip_from_video(
        path, model.contract, settings.max_frames, least, settings.flow_engine
    )


def _classes(settings: Settings, loaded: dict[str, Model]) -> tuple[str, ...]:
    """The class names; `ValueError` if streams differ, or the label map has another number."""
    first, *others = loaded.values()
    for other in others:
        if other.class_names != first.class_names:
            raise ValueError(
                f"{first.path} and {other.path} have different classes ({first.net.num_classes} "
                f"and {other.net.num_classes}): their logits cannot be added."
            )
    if settings.label_map is None:
        return first.class_names
    names = label_maps.load(settings.label_map)
    if len(names) != first.net.num_classes:
        expected = f"expected {first.net.num_classes} names, one a logit of {first.path}"
        raise ValueError(f"{settings.label_map}: {expected}. Received: {len(names)}.")
    return names
