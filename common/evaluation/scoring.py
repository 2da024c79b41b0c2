"""Scores the videos of a split: threads read views ahead of the network, which scores batches."""

import contextlib
import dataclasses
import operator
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.annotations import Record
from common.annotations.frame_labels import as_written, frame_labels, rule_of
from common.evaluation import protocols
from common.evaluation.protocols import Protocol, ScoredView
from common.evaluation.scores import FrameScores, Scores
from common.io import listing
from common.jobs.parallel import Pool, Progress
from common.models import Predictor
from common.preprocessing import crops
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize_clip
from common.video.clip_reader import ClipReader, frame_rate

Floats = NDArray[np.float32]

View = tuple[list[int], Frames]  # indices of frames, and the clip of them [T, H, W, C]


@dataclasses.dataclass(frozen=True)
class Job:
    """What to score, and how; `ValueError` for records that lack what is asked for."""

    records: Sequence[Record]  # all videos of the split; those that cannot be read fail
    classes: tuple[str, ...]  # in the order of the logits
    reader: ClipReader
    stream: str
    protocol: Protocol  # `filled`
    framed: bool = False  # frames have labels, any number of them, rather than videos one each
    # None scores every frame, by the rule of training (`frame_labels.rule_of`). A number scores
    # moments k / moments of the way through the video; both ends belong to a span, as in the
    # official localisation metric of Charades, which has 25.
    moments: int | None = None
    views_at_a_time: int = 8  # the most clips in a batch; whole videos go one by one
    workers: int = 2  # threads that read ahead of the network; 0 reads in turn with it
    shuffle: bool = False  # a control: frames of each view in a random order, always the same
    origin: Mapping[str, object] = dataclasses.field(default_factory=dict)  # kept with the scores

    def __post_init__(self) -> None:
        check_labels(self.records, len(self.classes), self.framed)
        if self.moments and (bad := [each.name for each in self.records if not each.duration]):
            raise ValueError(f"moments need the duration of the video, missing for {listing(bad)}.")
        if self.framed and self.protocol.average != "logits":
            raise ValueError(f"the protocol {self.protocol.name} is not for labels of frames.")


def check_labels(records: Sequence[Record], classes: int, framed: bool) -> None:
    """Raises `ValueError` for labels beyond the classes, or unless a video has one, or frames."""
    known = {*range(classes)}
    if beyond := [each.name for each in records if not _all_labels(each) <= known]:
        raise ValueError(
            f"the network has {classes} classes, and there are others in the labels of "
            f"{listing(beyond)}. Set num_classes, or take other weights."
        )
    if wrong := [each.name for each in records if not framed and len(each.labels) != 1]:
        raise ValueError(
            f"expected one class a video. Received none or several for {listing(wrong)}. "
            "Spans with labels are for the task frames."
        )


@dataclasses.dataclass
class _Video:
    """A video of `total` frames and `expected` views, its scores, and why it cannot be read."""

    record: Record
    total: int = 0
    expected: int = 1
    views: list[ScoredView] = dataclasses.field(default_factory=list)
    error: str = ""


def score(job: Job, predictor: Predictor) -> Scores:
    """Scores the videos of a job; raises `ValueError` if all failed.

    A video that cannot be read, or whose logits are not finite, is a failure; the others go on.
    With labels of frames the logits of a video are the largest of its frames, and its labels those
    of all its spans.
    """
    predict = predictor.frame_scores if job.framed else predictor.scores
    # Whole videos differ in length, and one is as much work as many clips.
    most = 1 if job.protocol.temporal == "whole" else job.views_at_a_time
    found: list[tuple[Record, Floats, FrameScores | None]] = []  # in order, as the views come
    failures: dict[str, str] = {}
    waiting: list[tuple[_Video, View]] = []  # of several videos

    def finish(video: _Video) -> None:
        if video.record.name in failures:
            return
        with _noting_errors(video):
            if not video.error:
                found.append((video.record, *_average(job, video)))
        if video.error:
            failures[video.record.name] = video.error
        bar.add(failed=bool(video.error))

    def score_batch() -> None:
        batch, waiting[:] = waiting[:most], waiting[most:]
        logits = predict(np.stack([clip for _, (_, clip) in batch]))
        for (video, (indices, _)), each in zip(batch, logits, strict=True):
            video.views.append((indices, each))
            if len(video.views) == video.expected:
                finish(video)

    with (
        contextlib.closing(Progress("evaluate", len(job.records))) as bar,
        contextlib.closing(read_views(job)) as parts,
    ):
        for video, views in parts:
            if video.error:
                finish(video)
            waiting += [(video, view) for view in views]
            while len(waiting) >= most:
                score_batch()
        while waiting:
            score_batch()
    failures = {each.name: failures[each.name] for each in job.records if each.name in failures}
    if not found:
        name, reason = next(iter(failures.items()))
        raise ValueError(f"none of the {len(failures)} videos was scored; {name}: {reason}")
    return _scores(job, found, failures)


def _scores(
    job: Job,
    found: Sequence[tuple[Record, Floats, FrameScores | None]],
    failures: Mapping[str, str],
) -> Scores:
    origin = {"stream": job.stream, "protocol": job.protocol.record(), **job.origin}
    if job.shuffle:
        origin["control"] = "frames shuffled"
    records, logits, of_frames = zip(*found, strict=True)
    labels = np.zeros((len(found), len(job.classes)), np.uint8)
    for row, record in zip(labels, records, strict=True):
        row[[*_all_labels(record)]] = 1
    frames = None
    if job.framed:
        origin["moments"] = job.moments or "every frame"
        parts_of = [vars(each) for each in of_frames]
        frames = FrameScores(**{x: np.concatenate([of[x] for of in parts_of]) for x in parts_of[0]})
    return Scores(
        classes=job.classes,
        names=tuple(record.name for record in records),
        labels=labels if job.framed else labels.argmax(axis=1),
        logits=np.stack(logits),
        origins=(origin,),
        failures=failures,
        frames=frames,
    )


def _average(job: Job, video: _Video) -> tuple[Floats, FrameScores | None]:
    """The logits [K] of a video, and those of its frames if they have labels."""
    if not all(np.isfinite(logits).all() for _, logits in video.views):
        raise ValueError("its logits are not finite. Check the weights.")
    if not job.framed:
        views = [logits for _, logits in video.views]
        return protocols.mean_of_views(views, job.protocol.average), None
    record, count, classes = video.record, video.total, len(job.classes)
    if job.moments is None:
        frames = list(range(count))
        rate = frame_rate(record, job.reader.open(record, job.stream))
        labels = frame_labels(record, classes, count, rate, rule_of(record))
    else:
        frames = crops.localisation_frames(count, job.moments)
        every = job.moments / as_written(record.duration or 0)
        labels = frame_labels(record, classes, job.moments, every, "inclusive")
    highest, logits = protocols.mean_of_frames(video.views, frames, job.protocol.rate)
    return highest, FrameScores(np.array([len(frames)]), labels, logits)


def _all_labels(record: Record) -> set[int]:
    return {*record.labels, *(action.label for action in record.actions)}


def read_views(job: Job) -> Generator[tuple[_Video, list[View]]]:
    """Yields all videos in order with their views, about `job.views_at_a_time` at a time."""
    at_once = max(1, job.views_at_a_time // job.protocol.crops)
    pool: Pool[Callable[[], Any], Any] = Pool(operator.call, job.workers, engine="threads")
    with contextlib.closing(pool):
        plans = (partial(_plan, job, record) for record in job.records)
        reads = (
            partial(_views, job, video, windows[start : start + at_once])
            for video, windows in pool.in_order(plans, job.workers)
            for start in range(0, len(windows), at_once)
        )
        yield from pool.in_order(reads, job.workers)


def _plan(job: Job, record: Record) -> tuple[_Video, list[list[int]]]:
    """The windows of a video; an empty one if it cannot be read."""
    video = _Video(record)
    with _noting_errors(video):
        video.total = len(job.reader.open(record, job.stream))
        windows = job.protocol.windows(video.total)
        video.expected = len(windows) * job.protocol.crops
        return video, windows
    return video, [[]]


def _views(job: Job, video: _Video, windows: list[list[int]]) -> tuple[_Video, list[View]]:
    """A video with all crops of each window. A frame that windows share is read once."""
    protocol, name, views = job.protocol, video.record.name, list[View]()
    if video.error:
        return video, []
    with _noting_errors(video):
        wanted = sorted({index for window in windows for index in window})
        frames = job.reader.read(video.record, wanted, job.stream)
        if frames.dtype != np.uint8 and not np.isfinite(frames).all():
            raise ValueError(f"{name}: {arch.NOT_FINITE}")
        frames = resize_clip(frames, protocol.short_side or 0)
        corners = protocol.corners(*crops.size_of(frames))
        for window in windows:
            if job.shuffle:
                rng = np.random.default_rng([*window, *os.fsencode(name)])
                window = rng.permutation(window).tolist()
            rows = np.searchsorted(wanted, window)
            views += [(window, crops.crop(frames, at, protocol.crop)[rows]) for at in corners]
    return video, views if not video.error else []


@contextlib.contextmanager
def _noting_errors(video: _Video) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        video.error = " ".join(str(error).splitlines()) or type(error).__name__
