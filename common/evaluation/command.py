"""The command `evaluate`: from checkpoints and folders to results. A framework adds a predictor."""

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from common import arch, hardware, models
from common.annotations import SUBSETS, TASKS, Annotations, Record, annotation_files
from common.evaluation import fuse, protocols, results, scores, scoring
from common.evaluation.scores import Scores
from common.flow import ENGINES, stamp
from common.flow.stamp import FlowStamp
from common.io import check_target
from common.models import MakePredictor, Model, StreamSettings
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
    can fuse in another way. The exit status is 1 if a video failed.
    """

    annotations: Path = setting("A file of `make_annotations`, 3D-ResNets or pytorch-i3d.")
    output: Path = setting("Folder to write to.")
    rgb: Path | None = setting("Folder of the RGB: frames, videos, or arrays of `to_numpy`.", None)
    flow: Path | None = setting(
        "Folder of the flow. Of frames or videos there flow is computed, which takes long.", None
    )
    # Not torch unless asked for: the network has the GPU, and many threads read.
    flow_engine: str = setting("Computes the flow.", "numba", choices=["auto", *ENGINES])
    subset: str = setting("The records to evaluate.", "validation", choices=list(SUBSETS))
    protocol: str | None = setting(
        "The views of a video that are averaged: quo_vadis or, for labels of frames, every_frame.",
        None,
        choices=list(protocols.PROTOCOLS),
    )
    task: str | None = setting(
        "One label a video, or labels of every frame; by default what the weights were trained on.",
        None,
        choices=list(TASKS),
    )
    moments: int | None = setting(
        "Task frames: score this many moments of a video, 25 for Charades, not every frame.",
        None,
        minimum=1,
    )
    fusion: str = setting(
        "How to fuse two streams: sum of logits, or mean of softmax.",
        "logits",
        choices=fuse.FUSIONS,
    )
    weights: tuple[float, ...] = setting("A number for each stream; 1 each by default.", ())
    shuffle_frames: bool = setting(
        "A control: show the frames of each view in a random order, which has no motion.", False
    )
    allow_mixed_flow: bool = setting(
        "Accept flow computed in several ways, or not as that which the weights were trained on.",
        False,
    )
    workers: int | None = setting("Threads that read; by default one a core.", None, minimum=0)
    views_at_a_time: int = setting("Views that the network gets at once.", 4, minimum=1)
    overwrite: bool = setting("Replace existing results.", False)

    def __post_init__(self) -> None:
        for stream in self.checkpoints():
            if not getattr(self, stream):
                raise UsageError(f"--{stream} is needed")


def run(settings: Settings, make: MakePredictor, backend: str) -> int:
    """Evaluates, prints the results, and returns 1 if a video failed."""
    models.keep_freed_memory()
    found, text = evaluate(settings, make, backend)
    print(text, end="")
    return int(bool(found.failures))


def evaluate(settings: Settings, make: MakePredictor, backend: str) -> tuple[Scores, str]:
    """Evaluates each stream, fuses and writes the scores; returns them, and the results as text.

    Raises `FileExistsError` if there are results and `overwrite` is false; `ValueError` if labels
    or classes do not fit the weights, or no video could be evaluated.
    """
    for name in (*results.FILES, *(f"scores_{stream}.npz" for stream in settings.streams)):
        check_target(settings.output / name, settings.overwrite)
    annotations = annotation_files.read(settings.annotations)
    # Errors of the last stream show before the first is scored, which may take hours.
    plans = [
        _plan(stream, checkpoint, annotations, settings, backend)
        for stream, checkpoint in settings.checkpoints().items()
    ]
    how, framed = (settings.fusion, settings.weights), [job.framed for job, _ in plans]
    fuse.check([job.classes for job, _ in plans], framed, *how)
    parts = []
    for job, model in plans:
        predictor = make(model, device=settings.device, precision=settings.precision)
        parts.append(scoring.score(job, predictor))
        scores.write(settings.output / f"scores_{job.stream}.npz", parts[-1])
    found = parts[0] if len(parts) == 1 else fuse.fuse_scores(parts, *how)
    return found, results.write(settings.output, found)


def _plan(
    stream: str, checkpoint: str, annotations: Annotations, settings: Settings, backend: str
) -> tuple[scoring.Job, Model]:
    model = models.load(checkpoint, stream, settings.architecture)
    task = settings.task or (model.card.recipe.get("task") if model.card else None)
    framed = task == "frames"
    if settings.moments and not framed:
        raise ValueError("moments are for labels of frames, and the task is classes.")
    reader = ClipReader(Source(settings.rgb, settings.flow, settings.flow_engine), model.contract)
    records = [each for each in annotations.records if each.subset == settings.subset]
    if not records:
        raise ValueError(
            f"no records for {settings.subset}. The annotations have {dict(annotations.counts)}."
        )
    least, _, _ = arch.smallest_size(model.net)
    name = settings.protocol or ("every_frame" if framed else "quo_vadis")
    origin = {
        **model.origin(),
        "backend": backend,
        "versions": models.versions(backend),
        "precision": settings.precision,
        "flow": _flow(reader, records, model, settings) if stream == "flow" else None,
    }
    job = scoring.Job(
        records=records,
        classes=_classes(annotations.classes, model),
        reader=reader,
        stream=stream,
        protocol=protocols.PROTOCOLS[name].filled(model.contract, least),
        framed=framed,
        moments=settings.moments,
        views_at_a_time=settings.views_at_a_time,
        workers=hardware.processors() if settings.workers is None else settings.workers,
        shuffle=settings.shuffle_frames,
        origin=origin,
    )
    return job, model


def _flow(
    reader: ClipReader, records: Sequence[Record], model: Model, settings: Settings
) -> object:
    """How the flow was computed, as JSON: a list if it was computed in several ways."""
    stamps: dict[str, FlowStamp | None] = {}
    for record in records:
        with contextlib.suppress(OSError, ValueError):  # the video fails when it is read
            stamps[record.name] = reader.open(record, "flow").stamp
    kinds = [each and dataclasses.asdict(each) for each in stamp.kinds(stamps.values())]
    if model.card:
        trained = model.card.flow
        stamps["what the weights were trained on"] = FlowStamp(**trained) if trained else None
    stamp.check_same(stamps, settings.allow_mixed_flow, "--allow_mixed_flow")
    return kinds if len(kinds) > 1 else next(iter(kinds), None)


def _classes(wanted: tuple[str, ...], model: Model) -> tuple[str, ...]:
    """Names of the head's classes; `ValueError` unless the first are those of the annotations."""
    count = model.net.num_classes
    names = model.classes or wanted
    if len(wanted) > count or names[: len(wanted)] != wanted:
        pairs = itertools.zip_longest(wanted, names[:count])
        expected, received = next(pair for pair in pairs if len({*pair}) > 1)
        raise ValueError(
            f"{model.name}: its {count} classes are not those of the annotations, in their order. "
            f"Expected {expected!r}. Received: {received!r}. Fine-tune the weights on this data "
            "set, or make the annotations with the same label map."
        )
    return (*names, *(f"class {index}" for index in range(len(names), count)))
