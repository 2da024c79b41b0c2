"""Extracts the features of one item, whose frames are seen once, from begin to end."""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.features import boxes, tracks, windows
from common.features.extraction import CROPS, Extraction
from common.features.network import Floats, Network
from common.features.outputs import Features, Rows
from common.features.reading import Reader
from common.features.tracklets import Tracklet
from common.features.windows import Span, Window
from common.jobs.pictures import Picture
from common.jobs.task import Item
from common.preprocessing import crops
from common.preprocessing.crops import Frames


@dataclasses.dataclass(frozen=True)
class Tracking:
    """Where the tracklets of videos are.

    Attributes:
        folder: With a file for each video.
        suffix: What follows a video's name in the name of its file.
        size: Width and height that frames, and boxes with them, are resized to before they are
            cut; empty keeps them.
    """

    folder: Path
    suffix: str
    size: tuple[int, int] | tuple[()] = ()


class _Subject(NamedTuple):
    """What rows are of: an individual, or with the name "" all of the picture.

    Attributes:
        name: The individual's.
        first: The frame that it is on first.
        length: Frames that it is on; None where nobody has counted them.
        squares: [N, 4] where it is on each; None for all of the picture.
    """

    name: str
    first: int
    length: int | None
    squares: NDArray[np.int64] | None


def extract(
    item: Item,
    extraction: Extraction,
    reader: Reader,
    nets: Mapping[str, Network],
    tracking: Tracking | None = None,
) -> tuple[dict[str, Features], int]:
    """The features of an item, and how many frames it has.

    Args:
        item: A video, a folder of frames, or an array.
        extraction: `filled`.
        reader: Of frames.
        nets: By stream.
        tracking: Tracklets; None takes whole frames.

    Returns:
        By stream the features; they have the same rows.

    Raises:
        FileNotFoundError, ValueError: It cannot be read, is too short, or its tracklets are not
            of it.
    """
    pictures: Iterator[Picture] = reader.rgb(item, extraction)
    total = None
    if extraction.mode == "dense" and tracking is None:
        begin = list(itertools.islice(pictures, extraction.chunk + 1))
        total = len(begin)
        if total > extraction.chunk:  # it takes more than one chunk, and they depend on the whole
            total = reader.count(item, extraction)
        pictures = itertools.chain(begin, pictures)
        del begin
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"{item.source}: has no frames.")
    subjects = [_Subject("", 0, total, None)]
    if tracking:
        path = tracks.find(tracking.folder, tracking.suffix, item.name)
        found = _tracklets(path, extraction, first)
        subjects = _individuals(found, extraction, tracking, first)
    sinks = [
        _Sink(subject, extraction, net, stream)
        for stream, net in nets.items()
        for subject in subjects
    ]
    pictures = itertools.chain([first], pictures)
    del first
    if tracking and tracking.size:
        pictures = _resized(pictures, *tracking.size)
    with contextlib.ExitStack() as stack:  # left before results are waited for
        for net in nets.values():
            stack.enter_context(net.batcher.producing())
        frames = _feed(sinks, reader.streams(pictures, item, nets))
    if tracking:
        tracks.check_frames(found, frames, path)
    rate = reader.rate(item, extraction)
    return {
        stream: _features([s for s in sinks if s.stream == stream], rate, item.start or 0.0)
        for stream in nets
    }, frames


def _feed(sinks: Sequence["_Sink"], frames: Iterable[tuple[str, Frames]]) -> int:
    """Gives all frames to the sinks of their stream; how many there were of one."""
    count: Counter[str] = Counter()
    for stream, frame in frames:
        for sink in sinks:
            if sink.stream == stream:
                sink.push(count[stream], frame)
        count[stream] += 1
    for sink in sinks:
        sink.end()
    if len(set(count.values())) != 1:
        raise ValueError(f"its streams have different numbers of frames: {dict(count)}.")
    return max(count.values())


class _Sink:
    """Takes the frames of a stream, and makes the rows of a subject."""

    def __init__(self, subject: _Subject, extraction: Extraction, net: Network, stream: str):
        self.subject = subject
        self.stream = stream
        self._extraction = extraction
        self._net = net
        self._windows = windows.create(extraction, net.net, net.endpoint, subject.length)
        self._waiting: list[tuple[list[Future[Floats]], Sequence[Span], int]] = []

    def push(self, index: int, frame: Frames) -> None:
        """Takes frame `index` of the video; only where the subject is on it, it is looked at."""
        place, squares = index - self.subject.first, self.subject.squares
        side = self._net.side
        if squares is None:
            if self._extraction.crops == "center":
                # A copy, so that what is around the crop can be let go of.
                frame = crops.center_crop(frame[None], side)[0].copy()
        elif 0 <= place < len(squares):
            enlarged = side if self._extraction.crops == "center" else self._net.short_side
            frame = boxes.cut(frame, squares[place], enlarged)
        else:
            return
        for window in self._windows.push(frame):
            self._submit(window)

    def end(self) -> None:
        """Takes it that there are no more frames."""
        try:
            for window in self._windows.end():
                self._submit(window)
        except ValueError as error:
            who = f"individual {self.subject.name!r}: " if self.subject.name else ""
            raise ValueError(f"{who}{error}") from error

    def rows(self) -> tuple[Floats, list[Span]]:
        """All rows, [N, D] or [N, crops, D], and the frames that each is of; waits for them."""
        crops_axis = () if self._one else (CROPS[self._extraction.crops],)
        parts: list[Floats] = [np.zeros((0, *crops_axis, self._net.width), np.float32)]
        spans: list[Span] = []
        for futures, of, skip in self._waiting:
            found = [self._net.batcher.wait(each) for each in futures]
            rows = np.stack(found, axis=1)  # [rows, crops, D]
            if self._extraction.mode == "dense":
                rows = rows[skip : skip + len(of)]
            else:
                rows = np.repeat(rows, len(of), axis=0)
            if self._one:
                rows = np.asarray(rows.mean(axis=1, dtype=np.float64), np.float32)
            parts.append(rows)
            spans.extend((a + self.subject.first, b + self.subject.first) for a, b in of)
        self._waiting.clear()
        return np.concatenate(parts), spans

    @property
    def _one(self) -> bool:
        """Whether crops are no axis of their own."""
        return self._extraction.crops == "center" or self._extraction.average_crops

    def _submit(self, window: Window) -> None:
        futures = [self._net.batcher.submit(clip) for clip in self._crops(window.clip)]
        self._waiting.append((futures, window.spans, window.skip))

    def _crops(self, clip: Frames) -> list[Frames]:
        if self._extraction.crops == "center":
            return [clip]
        if self._extraction.crops == "three":
            return list(crops.three_crop(clip, self._net.side))
        return list(crops.ten_crop(clip, self._net.side, self.stream == "flow"))


def _tracklets(path: Path, extraction: Extraction, frame: Picture) -> tuple[Tracklet, ...]:
    """Those of a video that has pictures like `frame`; how many, nobody has counted yet."""
    height, width = frame.shape[:2]
    return tracks.of(path, None, height, width, extraction.min_frames, extraction.interpolate)


def _individuals(
    found: Sequence[Tracklet], extraction: Extraction, tracking: Tracking, frame: Picture
) -> list[_Subject]:
    """Those of a video, and where they are in frames of the size that they will have."""
    height, width = frame.shape[:2]
    if tracking.size:
        before, (width, height) = (width, height), tracking.size
        found = [tracks.resized(each, before, (width, height)) for each in found]
    return [
        _Subject(
            each.individual,
            int(each.frames[0]),
            len(each.frames),
            boxes.squares(each.boxes, height, width, extraction.boxes, extraction.margin),
        )
        for each in found
    ]


def _features(sinks: Sequence[_Sink], rate: float | None, start: float) -> Features:
    arrays, rows = {}, {}
    for sink in sinks:
        arrays[sink.subject.name], spans = sink.rows()
        first, last = np.array(spans, np.int64).reshape(-1, 2).T
        rows[sink.subject.name] = Rows(first, last, rate, start)
    return Features(arrays, rows)


def _resized(pictures: Iterator[Picture], width: int, height: int) -> Iterator[Picture]:
    from common.preprocessing import resizing  # numba takes a moment

    return (resizing.resize(picture, height, width) for picture in pictures)
