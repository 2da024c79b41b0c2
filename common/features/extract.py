"""From an item to the rows of its features; its frames are seen once, from beginning to end.

frames (RGB, flow) -> crop, or cut an individual out -> windows -> batches -> rows
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware
from common.features import tracklets
from common.features.network import Batches, Network
from common.features.settings import CROPS, Settings
from common.features.windows import Window, plan, rows_before
from common.flow import encoding
from common.io import escape
from common.jobs.task import Item
from common.preprocessing import crops, frames
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize_picture
from common.video import FrameSource, Picture, Video, frame_files
from common.video.frame_files import ArrayClip


class Rows(NamedTuple):
    """Rows [N, D] or [N, crops, D], and of each the first frame and one past its last, [N, 2]."""

    array: NDArray[np.float32]
    spans: NDArray[np.int64]


class _Subject(NamedTuple):
    """An individual, with squares [N, 4] of its frames from the first on; or the whole picture."""

    name: str
    first: int
    squares: NDArray[np.int64] | None


_WHOLE = _Subject("", 0, None)


def extract(
    item: Item, settings: Settings, networks: Mapping[str, Network]
) -> tuple[dict[str, dict[str, Rows]], int, float | None]:
    """Extracts the features of a video, a folder of frames, or an array of RGB (.npy).

    Returns the rows by stream and individual, "" being the whole picture; the number of frames; and
    frames per second, None if unknown. `FileNotFoundError` or `ValueError` if it cannot be read, is
    too short, or its tracklets are not of it.
    """
    source = _open(item, settings)
    rgb = source.pictures()
    if settings.video_w or not isinstance(source, ArrayClip):  # arrays have their final size
        rgb = _resized(rgb, settings)
    total, subjects = None, [_WHOLE]
    if settings.tracking_folder:
        subjects = _individuals(item, settings, next(source.pictures()).shape[:2])
    elif settings.extraction.mode == "dense":
        # Of more than a chunk, the frames are counted by decoding twice.
        begin = list(itertools.islice(rgb, settings.extraction.chunk + 1))
        total = len(begin) if len(begin) <= settings.extraction.chunk else len(source)
        rgb = itertools.chain(begin, rgb)
        del begin
    makers = {
        stream: [_RowMaker(network, subject, total) for subject in subjects]
        for stream, network in networks.items()
    }
    counts: Counter[str] = Counter()
    for stream, frame in _streams(rgb, item, settings):
        for maker in makers.get(stream, ()):
            maker.push(counts[stream], frame)
        counts[stream] += 1
    if len({*counts.values(), total} - {None}) != 1:
        raise ValueError(f"its streams have different numbers of frames: {dict(counts)}, {total}.")
    count = max(counts.values())
    for maker in itertools.chain(*makers.values()):
        maker.end(count)
    rows = {stream: {each.name: each.rows() for each in own} for stream, own in makers.items()}
    return rows, count, source.rate


def _open(item: Item, settings: Settings) -> FrameSource:
    if item.source.suffix.lower() == ".npy":
        if item.start is not None or item.end is not None:
            raise ValueError(f"{item.source}: an array is taken as a whole; leave out the span.")
        return ArrayClip(item.source, 3)
    folder = item.source.is_dir()
    return Video(
        item.source,
        fps=None if folder else settings.extraction.fps or None,  # of folders, all are taken
        start=item.start or 0,
        end=item.end,
        source_fps=settings.own_rate(item),
        strict=True,
        threads=hardware.own_threads(),
        square_pixels=settings.square_pixels,
    )


def _resized(shown: Iterator[Picture], settings: Settings) -> Iterator[Picture]:
    extraction, before = settings.extraction, None
    for picture in shown:
        if picture is not before:  # one that is shown twice is resized once
            before, (height, width) = picture, picture.shape[:2]
            side = extraction.short_side
            if extraction.least_side:
                side = max(extraction.least_side, min(height, width))
            if settings.video_w and settings.video_h:
                height, width = settings.video_h, settings.video_w
            elif extraction.frame_size:
                width, height = extraction.frame_size
            elif side:
                height, width = crops.resized_size(height, width, side)
            sized = resize_picture(picture, height, width)
        yield sized


def _individuals(item: Item, settings: Settings, picture: tuple[int, int]) -> list[_Subject]:
    assert settings.tracking_folder
    path = tracklets.find(settings.tracking_folder, settings.tracking_suffix, item.name)
    extraction = settings.extraction
    resized = (settings.video_h or picture[0], settings.video_w or picture[1])
    subjects = []
    for each in tracklets.read(path, extraction.interpolate, extraction.min_frames):
        squares = tracklets.squares(each, picture, resized, extraction.boxes, extraction.margin)
        subjects.append(_Subject(each.individual, each.first, squares))
    return subjects


def _streams(
    rgb: Iterator[Picture], item: Item, settings: Settings
) -> Iterator[tuple[str, Frames]]:
    """Yields ("rgb", frame) and ("flow", [H, W, 2] in [-1, 1]), the last flow twice."""
    if "flow" in settings.streams and not settings.flow:
        rgb, seen = itertools.tee(rgb)
        engine, params = settings.chosen_flow()
        greys = map(frames.to_grey, seen)
        flows = flow.flows(greys, params, engine, hardware.own_threads())
        for picture, moving in zip(rgb, frame_files.last_twice(flows), strict=True):
            yield "rgb", picture
            yield "flow", encoding.to_unit(moving)
        return
    if "rgb" in settings.streams:
        yield from (("rgb", picture) for picture in rgb)
    if settings.flow:
        yield from (("flow", each) for each in frame_files.open_flow(settings.flow, item.name))


class _RowMaker:
    """Takes the frames of a stream, and makes the rows of a subject.

    A window is computed as soon as its last frame is there, and frames that no later one needs are
    dropped: so memory does not grow with the length of the stream.
    """

    def __init__(self, network: Network, subject: _Subject, total: int | None):
        """`total` is the number of frames of the video, which only "dense" needs."""
        self._network = network
        self._extraction = extraction = network.settings.extraction
        self.name, self._first, self._squares = subject
        self._size = extraction.crop_size or 1
        self._plan = functools.partial(plan, extraction, network.model.net, network.endpoint)
        if extraction.mode == "dense" and self._squares is not None:
            total = len(self._squares)
        self._coming = self._plan(total)
        self._next = next(self._coming, None)
        self._batches = Batches(network)
        self._held: dict[int, Frames] = {}
        self._count = 0
        self._made: list[Window] = []

    def push(self, index: int, frame: Frames) -> None:
        """Takes frame `index` of the video; frames without the subject are passed over."""
        place, center = index - self._first, self._extraction.crops == "center"
        if self._squares is None:
            if center:
                # A copy, so that what is around the crop can be freed.
                frame = crops.center_crop(frame[None], self._size)[0].copy()
        elif 0 <= place < len(self._squares):
            size = self._size if center else self._network.model.contract.short_side
            frame = tracklets.cut(frame, self._squares[place], size)
        else:
            return
        self._held[self._count] = frame
        self._count += 1
        while self._next and max(self._next.frames) < self._count:
            self._compute(self._next)
            self._next = next(self._coming, None)
        if self._made:  # before, the stream may be too short, and all of it is needed
            needed = self._next.frames[0] if self._next else self._count
            for number in range(next(iter(self._held)), min(needed, self._count)):
                del self._held[number]

    def end(self, count: int) -> None:
        who = f"individual {escape(self.name)!r} " if self.name else ""
        if self._squares is not None and (last := self._first + len(self._squares) - 1) >= count:
            raise ValueError(
                f"{who}is on frame {last} (0-based), and the video has {count:,} frames. Are the "
                "tracklets of this video, and of every frame of it?"
            )
        try:
            for window in itertools.islice(self._plan(self._count), len(self._made), None):
                self._compute(window)
        except ValueError as error:
            raise ValueError(f"{who}{error}") from error

    def _compute(self, window: Window) -> None:
        clip = np.stack([self._held[k] for k in window.frames])
        cropped: Iterable[Frames] = [clip]
        if self._extraction.crops == "three":
            cropped = crops.three_crop(clip, self._size)
        elif self._extraction.crops == "ten":
            cropped = crops.ten_crop(clip, self._size, self._network.stream == "flow")
        for each in cropped:
            self._batches.add(each)
        self._made.append(window)

    def rows(self) -> Rows:
        extraction, count = self._extraction, CROPS[self._extraction.crops]
        average = count == 1 or extraction.average_crops
        computed = iter(self._batches.rows())
        axis = () if average else (count,)
        parts = [np.zeros((0, *axis, self._network.width()), np.float32)]
        for window in self._made:
            rows = np.stack([*itertools.islice(computed, count)], axis=1)  # [T', crops, D]
            rows = rows[window.skip : window.skip + len(window.spans)]
            rows = rows.mean(axis=1, dtype=np.float64) if average else rows
            parts.append(rows.astype(np.float32))
        array = np.concatenate(parts)
        if not np.isfinite(array).all():
            raise ValueError("its features are not finite. Check the weights and the precision.")
        spans = [span for window in self._made for span in window.spans]
        moved = np.array(spans, np.int64).reshape(-1, 2) + self._first
        if extraction.mode == "framewise" and extraction.pad == "rows" and spans:
            # At the ends, the outermost rows again.
            given = np.arange(len(range(0, self._count, extraction.frequency)))
            given = (given - rows_before(extraction)).clip(0, len(spans) - 1)
            array, moved = array[given], moved[given]
        return Rows(array, moved)
