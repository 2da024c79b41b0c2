"""The command `evaluate`: from checkpoints and folders to results. A framework adds a predictor."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import arch, hardware, models
from common.annotations import SUBSETS, TASKS, Annotations, Record, annotation_files
from common.evaluation import confusion_picture, fusion, protocols, results, scores, scoring
from common.evaluation.scores import Scores
from common.flow import ENGINES, stamp
from common.flow.stamp import FlowStamp
from common.io import check_target, listing
from common.model_settings import StreamSettings
from common.models import MakePredictor, Model
from common.settings import UsageError, setting
from common.video.clip_reader import ClipReader, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StreamSettings):
    r"""Evaluates one stream, or two fused, on a data set.

        i3d evaluate --annotations=ucf101_1.json --rgb=frames \
            --checkpoint=runs/rgb/model.safetensors --output=results
        i3d evaluate --annotations=ucf101_1.json --streams=rgb,flow --rgb=frames --flow=flow \
            --rgb_checkpoint=runs/rgb/model.safetensors \
            --flow_checkpoint=runs/flow/model.safetensors --output=results --protocol=thirty_view

    Writes results.json, results.txt, confusion.png and the scores of each stream, which `i3d fuse`
    can fuse in another way. The exit status is 1 if more videos failed than --allow_failures.
    """

    annotations: Path = setting(
        "The clips of a data set and their labels: a file that `make_annotations` wrote, or one of "
        "3D-ResNets or pytorch-i3d."
    )
    output: Path = setting("Folder to write to.")
    rgb: Path | None = setting(
        "Folder of the RGB: frames, videos, or arrays that `to_numpy` wrote.", None
    )
    flow: Path | None = setting(
        "Folder of the flow. If it holds frames or videos, flow is computed, which takes long.",
        None,
    )
    # Not torch unless asked for: the network has the GPU, and many threads read.
    flow_engine: str = setting("Computes the flow.", "numba", choices=["auto", *ENGINES])
    subset: str = setting("The records to evaluate.", "validation", choices=list(SUBSETS))
    limit: int | None = setting("Evaluate at most this many records.", None, minimum=1)
    protocol: str | None = setting(
        "Which views of a video are averaged; by default quo_vadis, or every_frame for labels of "
        "frames.",
        None,
        choices=list(protocols.PROTOCOLS),
    )
    task: str | None = setting(
        "One label a video, or labels of every frame; by default what the weights were trained on.",
        None,
        choices=list(TASKS),
    )
    moments: int | None = setting(
        "Task frames: score this many moments of a video, 25 for Charades; by default every frame.",
        None,
        minimum=1,
    )
    fusion: str | None = setting(
        "How to fuse two streams: sum of logits (default), or mean of softmax.",
        None,
        choices=fusion.FUSIONS,
    )
    weights: tuple[float, ...] = setting("A number for each stream; 1 each by default.", ())
    shuffle_frames: bool = setting(
        "A control: give the frames of each view in a random order, which leaves no motion to see.",
        False,
    )
    allow_mixed_flow: bool = setting(
        "Evaluate flow that was computed in several ways, or in another way than the flow that the "
        "weights were trained on.",
        False,
    )
    workers: int | None = setting("Threads that read; by default one a core.", None, minimum=0)
    views_at_a_time: int = setting("Views that the network gets at once.", 4, minimum=1)
    allow_failures: int = setting("So many videos may fail before the status is 1.", 0, minimum=0)
    overwrite: bool = setting("Replace existing results.", False)

    def __post_init__(self) -> None:
        for stream in self.checkpoints():
            if not getattr(self, stream):
                raise UsageError(f"--{stream} is needed")
        for name in ("fusion", "weights"):
            if getattr(self, name) and len(self.streams) == 1:
                raise UsageError(f"--{name} is for two streams: add --streams=rgb,flow")


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Evaluates, prints the results, and returns the exit status."""
    hardware.keep_freed_memory()
    found, text = evaluate(settings, make, backend)
    print(text, end="")
    return int(len(found.failures) > settings.allow_failures)


def evaluate(settings: Settings, make: MakePredictor, backend: str) -> tuple[Scores, str]:
    """Evaluates each stream, fuses them, and writes the results to the output folder.

    Args:
        settings: What to evaluate.
        make: Makes the predictors.
        backend: The package it is of, for the record.

    Returns:
        The scores, fused if there are two streams, and the results as text.

    Raises:
        FileExistsError: There are results already, and `overwrite` is false.
        ValueError: Labels or classes do not fit the weights, or no video could be evaluated.
        ImportError: The confusion matrix needs matplotlib.
    """
    written = (*results.FILES, *(f"scores_{stream}.npz" for stream in settings.streams))
    for name in written:
        check_target(settings.output / name, settings.overwrite)
    annotations = annotation_files.read(settings.annotations)
    # Errors of the last stream show before the first is scored, which may take hours.
    plans = [
        _plan(stream, checkpoint, annotations, settings, backend)
        for stream, checkpoint in settings.checkpoints().items()
    ]
    _check(plans, settings)
    parts = []
    for plan in plans:
        predictor = make(plan.model, device=settings.device, precision=settings.precision)
        if plan.framed:
            found = scoring.score_frames(plan.job, predictor.frame_scores, settings.moments)
        else:
            found = scoring.score_videos(plan.job, predictor.scores)
        scores.write(settings.output / f"scores_{plan.job.stream}.npz", found)
        parts.append(found)
    found = parts[0]
    if len(parts) > 1:
        found = fusion.fuse_scores(parts, settings.fusion or "logits", settings.weights)
    return found, results.write(settings.output, found)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What to score of a stream with which model; `framed` if frames have labels."""

    job: scoring.Job
    model: Model
    framed: bool


def _plan(
    stream: str, checkpoint: str, annotations: Annotations, settings: Settings, backend: str
) -> _Plan:
    model = models.load(checkpoint, stream, settings.architecture)
    task = settings.task or (model.card.recipe.get("task") if model.card else None)
    framed = task == "frames"
    protocol = protocols.get(settings.protocol or ("every_frame" if framed else "quo_vadis"))
    least, _, _ = arch.smallest_size(model.net)
    reader = ClipReader(Source(settings.rgb, settings.flow, settings.flow_engine), model.contract)
    records = [each for each in annotations.records if each.subset == settings.subset]
    records = records[: settings.limit]
    if not records:
        raise ValueError(
            f"no records for {settings.subset}. The annotations have {dict(annotations.counts)}."
        )
    made = _flow(reader, records, model, settings) if stream == "flow" else {"flow": None}
    reduced = {} if settings.precision == "float32" else {"precision": settings.precision}
    versions = {"backend": backend, "versions": models.versions(backend)}
    job = scoring.Job(
        records=records,
        classes=_classes(annotations, model),
        reader=reader,
        stream=stream,
        protocol=protocol.filled(model.contract, least),
        views_at_a_time=settings.views_at_a_time,
        workers=hardware.processors() if settings.workers is None else settings.workers,
        shuffle=settings.shuffle_frames,
        origin={**model.origin(), **versions, **made, **reduced},
    )
    scoring.check(job, framed, settings.moments)
    return _Plan(job, model, framed)


def _check(plans: Sequence[_Plan], settings: Settings) -> None:
    """Refuses what can be neither fused nor shown."""
    framed = [plan.framed for plan in plans]
    if len(plans) > 1:
        classes = [plan.job.classes for plan in plans]
        fusion.check(classes, framed, settings.fusion or "logits", settings.weights)
    if settings.moments and not all(framed):
        raise ValueError(
            "moments of a video are for labels of frames, and the task is classes: leave them out."
        )
    if not any(framed):
        confusion_picture.check_installed()


def _flow(
    reader: ClipReader, records: Sequence[Record], model: Model, settings: Settings
) -> Mapping[str, object]:
    """How the flow was computed, as JSON: a list if it was computed in several ways.

    Raises:
        ValueError: It was not computed as that which the weights were trained on, and it may not
            be mixed.
    """
    stamps: dict[str, FlowStamp | None] = {}
    for record in records:
        with contextlib.suppress(OSError, ValueError):  # the video fails when it is read
            stamps[record.name] = reader.open(record, "flow").stamp
    kinds = [each and dataclasses.asdict(each) for each in stamp.kinds(stamps.values())]
    made: dict[str, object] = {"flow": kinds if len(kinds) > 1 else next(iter(kinds), None)}
    if model.card:
        trained = model.card.flow
        stamps["what the weights were trained on"] = FlowStamp(**trained) if trained else None
        made |= {"flow_of_training": trained} if settings.allow_mixed_flow else {}
    stamp.check_same(stamps, settings.allow_mixed_flow, "--allow_mixed_flow")
    return made


def _classes(annotations: Annotations, model: Model) -> tuple[str, ...]:
    """The names of the head's classes, which must be the annotations' in the same order.

    Raises:
        ValueError: They are others, or fewer.
    """
    count, named, known = model.net.num_classes, model.classes, annotations.classes
    if len(known) > count:
        raise ValueError(
            f"{model.path}: expected a head of at least {len(known)} classes, those of the "
            f"annotations. Received: {count}. Fine-tune it on them first."
        )
    differing = [f"{a!r} and {b!r}" for a, b in zip(named, known, strict=False) if a != b]
    if differing:
        raise ValueError(
            f"{model.path}: its classes are not those of the annotations, or in another order: "
            f"{len(differing)} differ, such as {listing(differing, 3)}. Make the annotations with "
            "the same label map."
        )
    names = named or known
    return (*names, *(f"class {index}" for index in range(len(names), count)))
