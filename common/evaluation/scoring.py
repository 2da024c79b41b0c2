"""Scores every video of a split: reads its views, lets the network score them, averages."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Generic, TypeVar
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from common.annotations import Record
from common.evaluation import reading, targets
from common.evaluation.averaging import ClipAverage, FrameAverage, FrameResult
from common.evaluation.protocols import Protocol
from common.evaluation.reading import Part, Reader, View
from common.evaluation.scores import FrameScores, Scores
from common.jobs.progress import Progress
from common.preprocessing.crops import Frames
from common.video.clip_reader import frame_rate

Floats = NDArray[np.float32]
Result = TypeVar("Result", covariant=True)

Predict = Callable[[Frames], Floats]
"""Clips [V, T, H, W, C], uint8 RGB or float32 flow in [-1, 1], to logits: [V, K] of clips, or
[V, T, K] of frames."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be scored, and how.

    Attributes:
        records: All videos of the split; those that are not there fail.
        classes: Names, in the order of the logits.
        reader: Of their frames; several threads use it.
        stream: "rgb" or "flow".
        protocol: `Protocol.filled` from the input contract.
        views_at_a_time: The network gets so many clips at once at most; whole videos one by one.
        workers: Threads that read ahead of it; 0 is none.
        shuffle: A control: the frames of each view in a random order.
        origin: Where the scores come from, as JSON has it: kept with them.
    """

    records: Sequence[Record]
    classes: tuple[str, ...]
    reader: Reader
    stream: str
    protocol: Protocol
    views_at_a_time: int = 8
    workers: int = 2
    shuffle: bool = False
    origin: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError("the split has no videos. Choose another subset.")
        if self.views_at_a_time < 1 or self.workers < 0:
            raise ValueError(
                "expected one view at a time or more, and no less than 0 workers. Received: "
                f"{self.views_at_a_time} and {self.workers}."
            )


def check(job: Job, framed: bool, points: int | None = None) -> None:
    """Refuses, before anything is scored, what `score_videos` or `score_frames` would.

    Args:
        job: What is to be scored.
        framed: Whether by `score_frames`.
        points: As of `score_frames`.

    Raises:
        ValueError: As they.
    """
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
    """Scores of videos that have one class each.

    A video that cannot be read, or whose logits are not finite, is a failure; the others go on.

    Raises:
        ValueError: A video without a class, with several, or with one outside the classes; or all
            of them failed.
    """
    labels = targets.classes(job.records, len(job.classes))

    def logits_of(clips: Frames) -> Floats:
        return _checked(predict(clips), (len(clips), len(job.classes)))

    run = _Run[Floats](job, logits_of, lambda item, total: ClipAverage(job.protocol.average))
    found = run.all()
    return Scores(
        classes=job.classes,
        names=tuple(job.records[item].name for item in found),
        labels=labels[list(found)],
        logits=np.stack(list(found.values())),
        origins=(_origin(job),),
        failures=run.failures,
    )


def score_frames(job: Job, predict: Predict, points: int | None = None) -> Scores:
    """Scores of videos whose frames have labels, any number of them.

    A video's own logits are the largest of its frames', and its labels those of all its spans.

    Args:
        job: The protocol must average logits and show every frame; "every_frame" does.
        predict: To logits of frames.
        points: Score so many moments of a video, as Charades does 25; None is every frame.

    Raises:
        ValueError: As `score_videos`; a record that lacks what its frames' labels need; or a
            protocol that averages probabilities of classes that exclude each other.
    """
    check(job, True, points)
    classes, rate = len(job.classes), job.protocol.rate or 1
    labels: dict[int, NDArray[np.uint8]] = {}

    def logits_of(clips: Frames) -> Floats:
        return _checked(predict(clips), (*clips.shape[:2], classes))

    def average(item: int, total: int) -> FrameAverage:
        labels[item] = _labels(job, item, total, points)
        return FrameAverage(total, rate, targets.moments(total, points))

    run = _Run[FrameResult](job, logits_of, average)
    found = run.all()
    records = [job.records[item] for item in found]
    return Scores(
        classes=job.classes,
        names=tuple(record.name for record in records),
        labels=np.stack([targets.of_video(record, classes) for record in records]),
        logits=np.stack([result.video for result in found.values()]),
        origins=({**_origin(job), "moments": points or "every frame"},),
        failures=run.failures,
        frames=FrameScores(
            np.array([len(labels[item]) for item in found], np.int64),
            np.concatenate([labels[item] for item in found]),
            np.concatenate([result.moments for result in found.values()]),
        ),
    )


def _labels(job: Job, item: int, total: int, points: int | None) -> NDArray[np.uint8]:
    record, classes = job.records[item], len(job.classes)
    if points is not None:
        return targets.of_points(record, classes, points)
    rate = frame_rate(record, job.reader.open(record, job.stream))
    return targets.of_frames(record, classes, total, rate)


class _Average(Interface[Result]):
    """Of the views of a video; its result raises `ValueError` where the video has none."""

    def add(self, view: View, logits: Floats) -> None: ...

    def result(self) -> Result: ...


class _Run(Generic[Result]):
    """Fills batches with views, over the ends of videos, and averages those of each video."""

    def __init__(
        self, job: Job, predict: Predict, average: Callable[[int, int], _Average[Result]]
    ) -> None:
        self.failures: dict[str, str] = {}
        self._job = job
        self._predict = predict
        self._average = average
        # Whole videos differ in length, and one is as much as many clips.
        self._most = 1 if job.protocol.temporal == "whole" else job.views_at_a_time
        self._averages: dict[int, _Average[Result]] = {}
        self._pending: list[tuple[int, View]] = []
        self._results: dict[int, Result] = {}

    def all(self) -> dict[int, Result]:
        """The result of each video that has one, by its place; `failures` has the others.

        Raises:
            ValueError: None has one.
        """
        job = self._job
        parts = reading.parts(
            job.records,
            job.reader,
            job.protocol,
            job.stream,
            job.views_at_a_time,
            job.workers,
            job.shuffle,
        )
        with closing(parts), closing(Progress("evaluate", len(job.records))) as self._bar:
            for part in parts:
                self._take(part)
                self._close(self._pending[0][0] if self._pending else part.item)
            self._flush()
            self._close(len(job.records))
        if not self._results:
            name, reason = next(iter(self.failures.items()))
            raise ValueError(
                f"none of the {len(job.records)} videos could be evaluated. The first, {name}: "
                f"{reason}"
            )
        return self._results

    def _take(self, part: Part) -> None:
        if self._job.records[part.item].name in self.failures:
            return None
        if part.error:
            self._pending = [each for each in self._pending if each[0] != part.item]
            self._averages.pop(part.item, None)
            return self._fail(part.item, part.error)
        if part.item not in self._averages:
            try:
                self._averages[part.item] = self._average(part.item, part.total)
            except (ValueError, OSError) as error:
                return self._fail(part.item, str(error))
        for view in part.views:
            self._pending.append((part.item, view))
            if len(self._pending) == self._most:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            scored = self._predict(np.stack([view.clip for _, view in self._pending]))
            for (item, view), logits in zip(self._pending, scored, strict=True):
                self._averages[item].add(view, logits)
            self._pending.clear()

    def _close(self, before: int) -> None:
        """Settles the videos before this place, whose views have all been scored."""
        for item in [item for item in self._averages if item < before]:
            try:
                self._results[item] = self._averages.pop(item).result()
            except ValueError as error:
                self._fail(item, str(error))
            else:
                self._bar.add(failed=False)

    def _fail(self, item: int, reason: str) -> None:
        self.failures[self._job.records[item].name] = reason
        self._bar.add(failed=True)


def _checked(logits: Floats, shape: tuple[int, ...]) -> Floats:
    if logits.shape != shape:
        raise ValueError(
            f"the network gives logits of shape {list(logits.shape)}, and the data set needs "
            f"{list(shape)}. Check the number of classes."
        )
    return logits


def _origin(job: Job) -> dict[str, object]:
    control = {"control": "frames shuffled"} if job.shuffle else {}
    return {"stream": job.stream, "protocol": job.protocol.record(), **job.origin, **control}
