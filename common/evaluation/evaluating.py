"""Evaluates one or two streams on a data set: from checkpoints and folders to results."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import arch, models
from common.annotations import Annotations, Record, annotation_files
from common.evaluation import confusion_picture, joining, protocols, results, scores, scoring
from common.evaluation.scores import Scores
from common.flow import stamp
from common.flow.stamp import FlowStamp
from common.io import check_target, listing
from common.models import MakePredictor, Model
from common.video.clip_reader import ClipReader, Source, flow_stamp


@dataclasses.dataclass(frozen=True)
class Options:
    """The command's flags."""

    annotations: Path
    output: Path
    source: Source
    checkpoints: Mapping[str, str]
    subset: str = "validation"
    protocol: str | None = None
    task: str | None = None
    moments: int | None = None
    fusion: str = "logits"
    weights: tuple[float, ...] = ()
    views_at_a_time: int = 4
    workers: int = 2
    limit: int | None = None
    architecture: str | None = None
    shuffle_frames: bool = False
    allow_mixed_flow: bool = False
    precision: str = "float32"
    overwrite: bool = False


def run(options: Options, make: MakePredictor, backend: str) -> tuple[Scores, str]:
    """Evaluates each stream, fuses them, and writes what was found to the output folder.

    Returns:
        The scores, fused where there are two streams, and the text for people.

    Raises:
        FileExistsError: There are results already, and `overwrite` is false.
        ValueError: Labels or classes that do not fit the weights, or no video could be evaluated.
    """
    written = (*results.FILES, *(f"scores_{stream}.npz" for stream in options.checkpoints))
    for name in written:
        check_target(options.output / name, options.overwrite)
    annotations = annotation_files.read(options.annotations)
    # What is wrong with the last stream shows before the first is scored, which may take hours.
    planned = [_planned(stream, annotations, options, backend) for stream in options.checkpoints]
    _check(planned, options)
    parts = []
    for each in planned:
        found = _scored(each, make, options)
        scores.write(options.output / f"scores_{each.job.stream}.npz", found)
        parts.append(found)
    joined = parts[0]
    if len(parts) > 1:
        joined = joining.join(parts, options.fusion, options.weights)
    return joined, results.write(options.output, joined)


@dataclasses.dataclass(frozen=True)
class _Planned:
    """What is to be scored of a stream, with which weights, and for which task."""

    job: scoring.Job
    loaded: Model
    task: str


def _planned(stream: str, annotations: Annotations, options: Options, backend: str) -> _Planned:
    loaded = models.load(options.checkpoints[stream], stream, options.architecture)
    task = options.task or (str(loaded.card.recipe["task"]) if loaded.card else "classes")
    name = options.protocol or ("every_frame" if task == "frames" else "quo_vadis")
    least, _, _ = arch.smallest_size(loaded.net)
    reader = ClipReader(options.source, loaded.contract)
    records = [each for each in annotations.records if each.subset == options.subset]
    records = records[: options.limit]
    if not records:
        raise ValueError(
            f"no records for {options.subset}. The annotations have {dict(annotations.counts)}."
        )
    classes = _classes(annotations, loaded)
    made = _flow(reader, records, loaded, options) if stream == "flow" else {"flow": None}
    origin = results.origin(loaded.path, loaded.row, loaded.contract, backend)
    job = scoring.Job(
        records=records,
        classes=classes,
        reader=reader,
        stream=stream,
        protocol=protocols.get(name).filled(loaded.contract, least),
        views_at_a_time=options.views_at_a_time,
        workers=options.workers,
        shuffle=options.shuffle_frames,
        origin={**origin, **made, **_precision(options)},
    )
    scoring.check(job, task == "frames", options.moments)
    return _Planned(job, loaded, task)


def _check(planned: Sequence[_Planned], options: Options) -> None:
    """Refuses what can neither be fused nor be shown."""
    framed = [each.task == "frames" for each in planned]
    if len(planned) > 1:
        classes = [each.job.classes for each in planned]
        joining.check(classes, framed, options.fusion, options.weights)
    elif options.weights:
        raise ValueError("one stream is not fused with any: leave the weights of streams out.")
    if options.moments and not all(framed):
        raise ValueError(
            "moments of a video are for labels of frames, and the task is classes: leave them out."
        )
    if not any(framed):
        confusion_picture.check_installed()


def _scored(planned: _Planned, make: MakePredictor, options: Options) -> Scores:
    loaded = planned.loaded
    predictor = make(loaded, precision=options.precision)
    if planned.task == "frames":
        return scoring.score_frames(planned.job, predictor.frame_scores, options.moments)
    return scoring.score_videos(planned.job, predictor.scores)


def _flow(
    reader: ClipReader, records: Sequence[Record], loaded: Model, options: Options
) -> Mapping[str, object]:
    """How the flow was made, as JSON has it: all in the way the weights were trained on.

    Where others may be mixed, it is a list if there are several, and what the weights were trained
    on is beside it.

    Raises:
        ValueError: In different ways, and they may not be mixed.
    """
    stamps: dict[str, FlowStamp | None] = {}
    for record in records:
        with contextlib.suppress(OSError, ValueError):  # fails when its turn comes
            stamps[record.name] = flow_stamp(reader.open(record, "flow"))
    kinds = [each and dataclasses.asdict(each) for each in stamp.kinds(stamps.values())]
    made: dict[str, object] = {"flow": kinds if len(kinds) > 1 else next(iter(kinds), None)}
    if loaded.card:
        trained = loaded.card.flow
        stamps["what the weights were trained on"] = FlowStamp(**trained) if trained else None
        made |= {"flow_of_training": trained} if options.allow_mixed_flow else {}
    stamp.check_same(stamps, options.allow_mixed_flow, "--allow_mixed_flow")
    return made


def _precision(options: Options) -> Mapping[str, object]:
    return {} if options.precision == "float32" else {"precision": options.precision}


def _classes(annotations: Annotations, loaded: Model) -> tuple[str, ...]:
    """Names of the head's classes, which must be the annotations' in the same order.

    Raises:
        ValueError: They are others, or fewer.
    """
    count, named, known = loaded.net.num_classes, loaded.classes, annotations.classes
    if len(known) > count:
        raise ValueError(
            f"{loaded.path}: expected a head of at least {len(known)} classes, those of the "
            f"annotations. Received: {count}. Fine-tune it on them first."
        )
    differing = [f"{a!r} and {b!r}" for a, b in zip(named, known, strict=False) if a != b]
    if differing:
        raise ValueError(
            f"{loaded.path}: its classes are not those of the annotations, or in another order: "
            f"{len(differing)} differ, such as {listing(differing, 3)}. Make the annotations with "
            "the same label map."
        )
    names = named or known
    return (*names, *(f"class {index}" for index in range(len(names), count)))
