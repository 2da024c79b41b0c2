"""From an item to the rows of its features; its frames are seen once, from beginning to end.

frames (RGB, flow) -> crop, or cut an individual out -> windows -> batches -> rows
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import flow, processors, video
from common.features import boxes, tracklets
from common.features.network import Batches, Floats, Network
from common.features.outputs import Rows
from common.features.settings import CROPS, Extraction, Settings
from common.features.windows import Span, Window, Windows
from common.flow import encoding
from common.io import escape
from common.jobs.pictures import Picture, Pictures
from common.jobs.task import Item
from common.preprocessing import crops, frames
from common.preprocessing.crops import Frames
from common.video import clip_reader, frame_files
from common.video.source import FrameSource

_AT_ONCE = 64  # frames of an array, or stored flows, that are read together


class Extracted(NamedTuple):
    """The features of an item.

    Attributes:
        rows: By stream and individual; "" is the whole picture.
        frames: Number of frames.
        fps: Frames per second; None where it is unknown.
    """

    rows: dict[str, dict[str, Rows]]
    frames: int
    fps: float | None


class _Subject(NamedTuple):
    """An individual, or with the name "" the whole picture.

    Attributes:
        name: The individual's.
        first: The first frame that it is on.
        length: Number of frames that it is on; None where nobody counted them.
        squares: [N, 4] where it is on each; None for the whole picture.
    """

    name: str
    first: int
    length: int | None
    squares: NDArray[np.int64] | None


def extract(
    item: Item,
    settings: Settings,
    networks: Mapping[str, Network],
) -> Extracted:
    """Extracts the features of an item.

    Args:
        item: A video, a folder of frames, or an array of RGB (.npy).
        settings: Those of a task: nothing is left open in their `extraction`.
        networks: By stream.

    Raises:
        FileNotFoundError, ValueError: It cannot be read, is too short, or its tracklets are not
            of it.
    """
    extraction = settings.extraction
    pictures = Pictures(
        fps=extraction.fps or None,
        source_fps=settings.source_fps,
        square_pixels=settings.square_pixels,
    )
    rgb = _rgb(item, pictures, extraction)
    total = None
    if extraction.mode == "dense" and not settings.tracking_folder:
        begin = list(itertools.islice(rgb, extraction.chunk + 1))
        total = len(begin)
        if total > extraction.chunk:  # several chunks, which depend on the length of the whole
            total = _count(item, pictures)
        rgb = itertools.chain(begin, rgb)
        del begin
    first = next(rgb, None)
    if first is None:
        raise ValueError(f"{item.source}: has no frames.")
    subjects = [_Subject("", 0, total, None)]
    if settings.tracking_folder:
        subjects = _individuals(item, settings, *first.shape[:2])
    rgb = itertools.chain([first], rgb)
    if settings.video_w and settings.video_h:
        rgb = _resized(rgb, settings.video_w, settings.video_h)
    batches = {stream: Batches(network) for stream, network in networks.items()}
    makers = {
        stream: [_RowMaker(each, extraction, own, stream) for each in subjects]
        for stream, own in batches.items()
    }
    frames = _feed(makers, _streams(rgb, item, settings))
    for subject in subjects if settings.tracking_folder else ():
        _check_length(subject, frames, item, settings)
    for maker in itertools.chain(*makers.values()):
        maker.end()
    rows = {}
    for stream, own in makers.items():
        computed = batches[stream].rows()
        rows[stream] = {maker.subject.name: maker.rows(computed) for maker in own}
    return Extracted(rows, frames, _fps(item, pictures))


def _feed(
    makers: Mapping[str, Sequence["_RowMaker"]], streams: Iterable[tuple[str, Frames]]
) -> int:
    """Gives each frame to the makers of its stream; returns the number of frames."""
    count: Counter[str] = Counter()
    for stream, frame in streams:
        for maker in makers[stream]:
            maker.push(count[stream], frame)
        count[stream] += 1
    if len(set(count.values())) != 1:
        raise ValueError(f"its streams have different numbers of frames: {dict(count)}.")
    return max(count.values())


class _RowMaker:
    """Takes the frames of a stream, and makes the rows of a subject."""

    def __init__(self, subject: _Subject, extraction: Extraction, batches: Batches, stream: str):
        self.subject = subject
        self._extraction = extraction
        self._batches = batches
        self._network = batches.network
        self._flow = stream == "flow"
        self._size = self._network.crop_size
        endpoint = self._network.source.endpoint
        self._windows = Windows(extraction, self._network.net, endpoint, subject.length)
        self._waiting: list[tuple[list[int], Sequence[Span], int]] = []

    def push(self, index: int, frame: Frames) -> None:
        """Takes frame `index` of the video; frames without the subject are passed over."""
        place, squares = index - self.subject.first, self.subject.squares
        center = self._extraction.crops == "center"
        if squares is None:
            if center:
                # A copy, so that what is around the crop can be freed.
                frame = crops.center_crop(frame[None], self._size)[0].copy()
        elif 0 <= place < len(squares):
            size = self._size if center else self._network.short_side
            frame = boxes.cut(frame, squares[place], size)
        else:
            return
        for window in self._windows.push(frame):
            self._submit(window)

    def end(self) -> None:
        """Takes the end of the video."""
        try:
            for window in self._windows.end():
                self._submit(window)
        except ValueError as error:
            who = f"individual {self.subject.name!r}: " if self.subject.name else ""
            raise ValueError(f"{who}{error}") from error

    def rows(self, computed: Sequence[Floats]) -> Rows:
        """All rows, of those that the batches of the stream computed."""
        average = self._extraction.crops == "center" or self._extraction.average_crops
        axis = () if average else (CROPS[self._extraction.crops],)
        parts: list[Floats] = [np.zeros((0, *axis, self._network.width), np.float32)]
        spans: list[Span] = []
        for numbers, of, skip in self._waiting:
            rows = np.stack([computed[number] for number in numbers], axis=1)  # [T', crops, D]
            if self._extraction.mode == "dense":
                rows = rows[skip : skip + len(of)]
            else:
                rows = np.repeat(rows, len(of), axis=0)
            if average:
                rows = np.asarray(rows.mean(axis=1, dtype=np.float64), np.float32)
            parts.append(rows)
            spans.extend(of)
        moved = np.array(spans, np.int64).reshape(-1, 2) + self.subject.first
        return Rows(np.concatenate(parts), moved)

    def _submit(self, window: Window) -> None:
        if window.clip is None:
            numbers = self._waiting[-1][0]
        else:
            numbers = [self._batches.add(clip) for clip in self._crops(window.clip)]
        self._waiting.append((numbers, window.spans, window.skip))

    def _crops(self, clip: Frames) -> Sequence[Frames]:
        if self._extraction.crops == "center":
            return [clip]
        if self._extraction.crops == "three":
            return list(crops.three_crop(clip, self._size))
        return list(crops.ten_crop(clip, self._size, self._flow))


def _individuals(item: Item, settings: Settings, height: int, width: int) -> list[_Subject]:
    """The individuals of a video, and where they are in frames of their final size.

    Args:
        item: The video.
        settings: With a folder of tracklets.
        height: Height of the video's frames, pixels.
        width: Width of the video's frames, pixels.
    """
    extraction, path = settings.extraction, _tracks(item, settings)
    size = settings.video_w or width, settings.video_h or height
    scale = np.tile(np.array(size, np.float64) / (width, height), 2)
    subjects = []
    for each in tracklets.read(path, extraction.interpolate, extraction.min_frames):
        try:
            boxes.check(each, height, width)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        scaled = (each.boxes * scale).astype(np.float32)
        squares = boxes.squares(scaled, size[1], size[0], extraction.boxes, extraction.margin)
        subjects.append(_Subject(each.individual, each.first, len(squares), squares))
    return subjects


def _tracks(item: Item, settings: Settings) -> Path:
    assert settings.tracking_folder
    return tracklets.find(settings.tracking_folder, settings.tracking_suffix, item.name)


def _check_length(subject: _Subject, frames: int, item: Item, settings: Settings) -> None:
    last = subject.first + (subject.length or 0) - 1
    if last >= frames:
        raise ValueError(
            f"{_tracks(item, settings)}: tracklet {escape(subject.name)!r} is on frame {last} "
            f"(0-based), and the video has {frames:,} frames. Are the tracklets of this video, and "
            "of every frame of it?"
        )


def _is_array(item: Item) -> bool:
    return item.source.suffix.lower() == ".npy"


def _rgb(item: Item, pictures: Pictures, extraction: Extraction) -> Iterator[Picture]:
    """The frames [H, W, 3] of an item, uint8 RGB, resized; arrays are taken as they are."""
    if _is_array(item):
        if item.start is not None or item.end is not None:
            raise ValueError(
                f"{item.source}: an array is taken as a whole, and a span was asked for. Leave it "
                "out, or take the video."
            )
        yield from _in_parts(clip_reader.RgbArray(item.source))
        return
    before: Picture | None = None
    for picture in pictures.of(item):
        if picture is not before:  # one that is shown twice is resized once
            before, sized = picture, _sized(picture, extraction)
        yield sized


def _in_parts(clip: FrameSource) -> Iterator[Any]:
    for start in range(0, len(clip), _AT_ONCE):
        yield from clip.read(range(start, min(start + _AT_ONCE, len(clip))))


def _fps(item: Item, pictures: Pictures) -> float | None:
    if _is_array(item):
        return clip_reader.RgbArray(item.source).rate
    if item.source.is_dir() or pictures.fps:
        return pictures.rate(item)
    return video.info(item.source).fps


def _count(item: Item, pictures: Pictures) -> int:
    """How many frames an item has; decodes a video for it."""
    if _is_array(item):
        return len(clip_reader.RgbArray(item.source))
    return sum(1 for _ in pictures.of(item))


def _sized(picture: Picture, extraction: Extraction) -> Picture:
    from common.preprocessing import resizing  # numba takes a moment

    if extraction.frame_size:
        width, height = extraction.frame_size
        return resizing.resize(picture, height, width)
    side = extraction.short_side
    if extraction.least_side:
        side = max(extraction.least_side, min(picture.shape[:2]))
    return resizing.resize_short_side(picture, side) if side else picture


def _resized(rgb: Iterator[Picture], width: int, height: int) -> Iterator[Picture]:
    from common.preprocessing import resizing

    return (resizing.resize(picture, height, width) for picture in rgb)


def _streams(
    rgb: Iterator[Picture], item: Item, settings: Settings
) -> Iterator[tuple[str, Frames]]:
    """Yields ("rgb", frame) and ("flow", [H, W, 2] in [-1, 1]) as they come.

    There are as many flows as frames: the last one is given twice.
    """
    wanted = settings.streams
    if "flow" not in wanted:
        yield from (("rgb", picture) for picture in rgb)
        return
    if settings.flow:
        if "rgb" in wanted:
            yield from (("rgb", picture) for picture in rgb)
        parts = _in_parts(frame_files.open_flow(settings.flow, item.name))
        yield from (("flow", np.asarray(each, np.float32)) for each in parts)
        return
    passed: list[Picture] = []

    def greys() -> Iterator[Picture]:
        for picture in rgb:
            if "rgb" in wanted:
                passed.append(picture)
            yield frames.to_grey(picture)

    last: Frames | None = None
    engine, params = settings.chosen_flow()
    for moving in flow.flows(greys(), params, engine, processors.share()):
        yield from (("rgb", picture) for picture in passed)
        passed.clear()
        last = encoding.to_unit(moving)
        yield "flow", last
    yield from (("rgb", picture) for picture in passed)
    if last is not None:
        yield "flow", last
