"""Scores the videos of a split: threads read views ahead of the network, which scores batches."""

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.annotations import Record
from common.evaluation import protocols, targets
from common.evaluation.protocols import Protocol, ScoredView
from common.evaluation.scores import FrameScores, Scores
from common.jobs.progress import Progress
from common.preprocessing import crops, resizing
from common.preprocessing.crops import Frames
from common.video.clip_reader import ClipReader, frame_rate

Item = TypeVar("Item")
Result = TypeVar("Result")
Floats = NDArray[np.float32]

Predict = Callable[[Frames], Floats]
"""Clips [V, T, H, W, C], uint8 RGB or float32 flow in [-1, 1], to logits: [V, K] of clips, or
[V, T, K] of frames."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What to score, and how.

    Attributes:
        records: All videos of the split; those that cannot be read fail.
        classes: Names, in the order of the logits.
        reader: Reads their frames; several threads use it.
        stream: "rgb" or "flow".
        protocol: A protocol that is `Protocol.filled`.
        views_at_a_time: The most clips in a batch; whole videos go one by one.
        workers: Threads that read ahead of the network; 0 reads in turn with it.
        shuffle: As a control, puts the frames of each view in a random order, always the same.
        origin: Where the scores come from, as JSON, to be kept with them.
    """

    records: Sequence[Record]
    classes: tuple[str, ...]
    reader: ClipReader
    stream: str
    protocol: Protocol
    views_at_a_time: int = 8
    workers: int = 2
    shuffle: bool = False
    origin: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("the split has no videos. Choose another subset.")

    def described(self) -> dict[str, object]:
        """The origin of the scores, with stream and protocol."""
        control = {"control": "frames shuffled"} if self.shuffle else {}
        views = {"stream": self.stream, "protocol": self.protocol.record()}
        return {**views, **self.origin, **control}


def check(job: Job, framed: bool, points: int | None = None) -> None:
    """Raises the `ValueError` of `score_frames` (if `framed`) or `score_videos` before they run."""
    if not framed:
        targets.classes(job.records, len(job.classes))
        return
    if job.protocol.average != "logits":
        raise ValueError(
            f"the protocol {job.protocol.name} averages probabilities of classes that exclude each "
            "other, and those of frames do not. Use every_frame."
        )
    targets.check_frames(job.records, len(job.classes), points)


def score_videos(job: Job, predict: Predict) -> Scores:
    """Scores videos that have one class each.

    A video that cannot be read, or whose logits are not finite, is a failure; the others go on.

    Raises:
        ValueError: A video has no class, several, or one outside the classes; or all failed.
    """
    labels = targets.classes(job.records, len(job.classes))

    def average(video: _Video) -> Floats:
        logits = [logits for _, logits in video.views]
        return protocols.mean_of_views(logits, job.protocol.average)

    found, failures = _score(job, predict, average)
    return Scores(
        classes=job.classes,
        names=tuple(job.records[item].name for item in found),
        labels=labels[list(found)],
        logits=np.stack(list(found.values())),
        origins=(job.described(),),
        failures=failures,
    )


def score_frames(job: Job, predict: Predict, points: int | None = None) -> Scores:
    """Scores videos whose frames have labels, any number of them.

    The logits of a video are the largest of its frames, its labels those of all its spans.

    Args:
        job: Its protocol must average logits and show every frame, as "every_frame" does.
        predict: Gives the logits of frames.
        points: Score this many moments of a video, 25 for Charades; None scores every frame.

    Raises:
        ValueError: As `score_videos`; a record lacks what labels of frames need; or the protocol
            averages probabilities of classes that exclude each other.
    """
    check(job, True, points)
    classes = len(job.classes)

    def average(video: _Video) -> tuple[Floats, Floats, targets.Labels]:
        record = job.records[video.item]
        rate = None if points else frame_rate(record, job.reader.open(record, job.stream))
        frames, labels = targets.of_moments(record, classes, video.total, rate, points)
        return *protocols.mean_of_frames(video.views, frames, job.protocol.rate), labels

    found, failures = _score(job, predict, average)
    records = [job.records[item] for item in found]
    videos, logits, labels = zip(*found.values(), strict=True)
    return Scores(
        classes=job.classes,
        names=tuple(record.name for record in records),
        labels=np.stack([targets.of_video(record, classes) for record in records]),
        logits=np.stack(videos),
        origins=({**job.described(), "moments": points or "every frame"},),
        failures=failures,
        frames=FrameScores(
            np.array([len(each) for each in labels], np.int64),
            np.concatenate(labels),
            np.concatenate(logits),
        ),
    )


@dataclasses.dataclass
class _Video:
    """A video at place `item` of the records: its frames, and its views as they are scored."""

    item: int
    total: int = 0
    views: list[ScoredView] = dataclasses.field(default_factory=list)
    error: str = ""


def _score(
    job: Job, predict: Predict, average: Callable[[_Video], Result]
) -> tuple[dict[int, Result], dict[str, str]]:
    """Returns the average of each video by its place, and why others failed, by name."""
    found: dict[int, Result] = {}
    failures: dict[str, str] = {}
    with (
        contextlib.closing(Progress("evaluate", len(job.records))) as bar,
        contextlib.closing(_scored_videos(job, predict)) as videos,
    ):
        for video in videos:
            error = video.error
            if not error:
                try:
                    found[video.item] = average(video)
                except (ValueError, OSError) as caught:
                    error = str(caught)
            if error:
                failures[job.records[video.item].name] = error
            bar.add(failed=bool(error))
    if not found:
        name, reason = next(iter(failures.items()))
        raise ValueError(
            f"none of the {len(job.records)} videos could be evaluated. The first, {name}: {reason}"
        )
    return found, failures


def _scored_videos(job: Job, predict: Predict) -> Generator[_Video]:
    """Yields every video in order, once all its views are scored or one could not be read."""
    # Whole videos differ in length, and one is as much work as many clips.
    most = 1 if job.protocol.temporal == "whole" else job.views_at_a_time
    videos: deque[_Video] = deque()
    batch: list[tuple[_Video, View]] = []  # of several videos

    def score() -> None:
        if batch:
            logits = predict(np.stack([view.clip for _, view in batch]))
            for (video, view), each in zip(batch, logits, strict=True):
                video.views.append((view.indices, each))
            batch.clear()

    with contextlib.closing(read_views(job)) as parts:
        for part in parts:
            if not videos or videos[-1].item != part.item:
                videos.append(_Video(part.item))
            video = videos[-1]
            video.total, video.error = part.total, video.error or part.error
            if video.error:
                batch[:] = [each for each in batch if each[0] is not video]
            else:
                for view in part.views:
                    batch.append((video, view))
                    if len(batch) == most:
                        score()
            while videos[0] is not (batch[0][0] if batch else video):
                yield videos.popleft()
        score()
        yield from videos


class View(NamedTuple):
    """A clip [T, H, W, C] for the network, and the indices of its frames."""

    indices: tuple[int, ...]
    clip: Frames


class Part(NamedTuple):
    """Some views of the video at place `item`, which has `total` frames; or an error."""

    item: int
    total: int = 0
    views: tuple[View, ...] = ()
    error: str = ""


def read_views(job: Job) -> Generator[Part]:
    """Yields the views of all videos in order, at least one part a video.

    A part has about `job.views_at_a_time` views. A video that cannot be read (`ValueError`,
    `OSError`) has a part with its error, perhaps beside others.
    """
    at_once = max(1, job.views_at_a_time // protocols.COUNTS[job.protocol.crops])

    def plan(item: int) -> tuple[Part, list[list[int]]]:
        try:
            total = job.reader.count(job.records[item], job.stream)
            return Part(item, total), job.protocol.windows(total)
        except (ValueError, OSError) as error:
            return Part(item, error=_reason(error)), [[]]

    def read(task: tuple[Part, list[list[int]]]) -> Part:
        part, windows = task
        if part.error:
            return part
        try:
            return part._replace(views=tuple(_views(job, job.records[part.item], windows)))
        except (ValueError, OSError) as error:
            return Part(part.item, error=_reason(error))

    threads = ThreadPoolExecutor(max(1, job.workers), thread_name_prefix="views")
    try:
        planned = _ahead(threads, job.workers, plan, range(len(job.records)))
        tasks = (
            (part, windows[start : start + at_once])
            for part, windows in planned
            for start in range(0, len(windows), at_once)
        )
        yield from _ahead(threads, job.workers, read, tasks)
    finally:
        threads.shutdown(cancel_futures=True)


def _views(job: Job, record: Record, windows: list[list[int]]) -> Iterator[View]:
    """All crops of each window. A frame that windows share is read once."""
    protocol = job.protocol
    wanted = sorted({index for window in windows for index in window})
    frames = job.reader.read(record, wanted, job.stream)
    if frames.dtype != np.uint8 and not np.isfinite(frames).all():
        raise ValueError(f"{record.name}: {arch.NOT_FINITE}")
    frames = resizing.resize_clip(frames, protocol.short_side or 0)
    corners = protocol.corners(*crops.size_of(frames))
    for window in windows:
        if job.shuffle:
            rng = np.random.default_rng([*window, *os.fsencode(record.name)])
            window = rng.permutation(window).tolist()
        rows = np.searchsorted(wanted, window)
        for corner in corners:
            yield View(tuple(window), crops.crop(frames, corner, protocol.crop)[rows])


def _ahead(
    threads: ThreadPoolExecutor,
    most: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
) -> Iterator[Result]:
    """As `map`, with up to `most` results computed ahead by threads."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(threads.submit(function, item))
        if len(pending) > most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _reason(error: Exception) -> str:
    return " ".join(str(error).splitlines()) or type(error).__name__
