"""Scores the videos of a split: threads read views ahead of the network, which scores batches."""

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.annotations import Record
from common.evaluation import protocols, targets
from common.evaluation.protocols import Protocol, ScoredView
from common.evaluation.scores import FrameScores, Scores
from common.jobs.progress import Progress
from common.preprocessing import crops
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
        """The origin of the scores: stream and protocol with it."""
        control = {"control": "frames shuffled"} if self.shuffle else {}
        return {
            "stream": self.stream, "protocol": self.protocol.record(), **self.origin, **control
        }  # fmt: skip


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

    def logits_of(clips: Frames) -> Floats:
        return _checked(predict(clips), (len(clips), len(job.classes)))

    def average(item: int, total: int, views: Sequence[ScoredView]) -> Floats:
        return protocols.mean_of_views([logits for _, logits in views], job.protocol.average)

    run = _Run(job, logits_of, average)
    found = run.all()
    return Scores(
        classes=job.classes,
        names=tuple(job.records[item].name for item in found),
        labels=labels[list(found)],
        logits=np.stack(list(found.values())),
        origins=(job.described(),),
        failures=run.failures,
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
    classes, rate = len(job.classes), job.protocol.rate or 1
    labels: dict[int, NDArray[np.uint8]] = {}

    def logits_of(clips: Frames) -> Floats:
        return _checked(predict(clips), (*clips.shape[:2], classes))

    def average(item: int, total: int, views: Sequence[ScoredView]) -> tuple[Floats, Floats]:
        record = job.records[item]
        if points is not None:
            labels[item] = targets.of_points(record, classes, points)
        else:
            fps = frame_rate(record, job.reader.open(record, job.stream))
            labels[item] = targets.of_frames(record, classes, total, fps)
        return protocols.mean_of_frames(views, targets.moments(total, points), rate)

    run = _Run(job, logits_of, average)
    found = run.all()
    records = [job.records[item] for item in found]
    return Scores(
        classes=job.classes,
        names=tuple(record.name for record in records),
        labels=np.stack([targets.of_video(record, classes) for record in records]),
        logits=np.stack([video for video, _ in found.values()]),
        origins=({**job.described(), "moments": points or "every frame"},),
        failures=run.failures,
        frames=FrameScores(
            np.array([len(labels[item]) for item in found], np.int64),
            np.concatenate([labels[item] for item in found]),
            np.concatenate([moments for _, moments in found.values()]),
        ),
    )


def _checked(logits: Floats, shape: tuple[int, ...]) -> Floats:
    if logits.shape != shape:
        raise ValueError(
            f"the network gives logits of shape {list(logits.shape)}, and the data set needs "
            f"{list(shape)}. Check the number of classes."
        )
    return logits


class _Run:
    """Batches views across videos, and averages the scores of each video's views."""

    def __init__(
        self,
        job: Job,
        predict: Predict,
        average: Callable[[int, int, Sequence[ScoredView]], Any],
    ):
        self.failures: dict[str, str] = {}
        self._job = job
        self._predict = predict
        self._average = average  # of a video's place, its number of frames and its views
        # Whole videos differ in length, and one is as much work as many clips.
        self._most = 1 if job.protocol.temporal == "whole" else job.views_at_a_time
        self._totals: dict[int, int] = {}
        self._scored: dict[int, list[ScoredView]] = {}
        self._pending: list[tuple[int, View]] = []
        self._results: dict[int, Any] = {}

    def all(self) -> dict[int, Any]:
        """The results by the video's place; `failures` has the others.

        Raises:
            ValueError: All of them failed.
        """
        records = self._job.records
        with (
            contextlib.closing(read_views(self._job)) as parts,
            contextlib.closing(Progress("evaluate", len(records))) as self._bar,
        ):
            for part in parts:
                self._take(part)
                self._settle(self._pending[0][0] if self._pending else part.item)
            self._flush()
            self._settle(len(records))
        if not self._results:
            name, reason = next(iter(self.failures.items()))
            raise ValueError(
                f"none of the {len(records)} videos could be evaluated. The first, {name}: {reason}"
            )
        return self._results

    def _take(self, part: "Part") -> None:
        if self._job.records[part.item].name in self.failures:
            return
        if part.error:
            self._pending = [each for each in self._pending if each[0] != part.item]
            self._scored.pop(part.item, None)
            self._fail(part.item, part.error)
            return
        self._totals[part.item] = part.total
        self._scored.setdefault(part.item, [])
        for view in part.views:
            self._pending.append((part.item, view))
            if len(self._pending) == self._most:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            logits = self._predict(np.stack([view.clip for _, view in self._pending]))
            for (item, view), each in zip(self._pending, logits, strict=True):
                self._scored[item].append((view.indices, each))
            self._pending.clear()

    def _settle(self, before: int) -> None:
        """Averages the videos before this place, all of whose views are scored."""
        for item in [item for item in self._scored if item < before]:
            try:
                views = self._scored.pop(item)
                self._results[item] = self._average(item, self._totals[item], views)
            except (ValueError, OSError) as error:
                self._fail(item, str(error))
            else:
                self._bar.add(failed=False)

    def _fail(self, item: int, reason: str) -> None:
        self.failures[self._job.records[item].name] = reason
        self._bar.add(failed=True)


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
            return Part(item, total), protocols.windows(job.protocol, total)
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
    from common.preprocessing import resizing  # imports numba

    protocol = job.protocol
    wanted = sorted({index for window in windows for index in window})
    frames = job.reader.read(record, wanted, job.stream)
    if frames.dtype != np.uint8 and not np.isfinite(frames).all():
        raise ValueError(f"{record.name}: {arch.NOT_FINITE}")
    frames = resizing.resize_clip(frames, protocol.short_side or 0)
    corners = protocols.corners(protocol, *crops.size_of(frames))
    for window in windows:
        if job.shuffle:
            rng = np.random.default_rng([*window, *os.fsencode(record.name)])
            window = rng.permutation(window).tolist()
        rows = np.searchsorted(wanted, window)
        for corner in corners:
            yield View(tuple(window), crops.crop(frames, corner, protocol.crop or 0)[rows])


def _ahead(
    threads: ThreadPoolExecutor,
    most: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
) -> Iterator[Result]:
    """As `map`, with up to `most` results computed ahead by threads."""
    if not most:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(threads.submit(function, item))
        if len(pending) > most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _reason(error: Exception) -> str:
    return " ".join(str(error).splitlines()) or type(error).__name__
