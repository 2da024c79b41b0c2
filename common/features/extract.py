"""From an item to the rows of its features; its frames are seen once, from beginning to end.

frames (RGB, flow) -> crop, or cut an individual out -> windows -> batches -> rows
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import flow, hardware
from common.features import boxes, tracklets
from common.features.network import Batches, Floats, Network
from common.features.outputs import Rows
from common.features.settings import CROPS, Extraction, Settings
from common.features.windows import Window, Windows
from common.flow import encoding
from common.io import escape
from common.jobs.pictures import noted
from common.jobs.task import Item
from common.preprocessing import crops, frames, resizing
from common.preprocessing.crops import Frames
from common.video import Video, frame_files
from common.video.clip_reader import RgbArray
from common.video.source import FrameSource, Picture


class _Subject(NamedTuple):
    """An individual; or the whole picture, with the name "" and no squares.

    `length` is the number of frames that it is on, from `first` on; None if nobody counted them.
    `squares` [N, 4] say where it is on each.
    """

    name: str = ""
    first: int = 0
    length: int | None = None
    squares: NDArray[np.int64] | None = None


def extract(
    item: Item, settings: Settings, networks: Mapping[str, Network]
) -> tuple[dict[str, dict[str, Rows]], int, float | None]:
    """Extracts the features of an item.

    Args:
        item: A video, a folder of frames, or an array of RGB (.npy).
        settings: Those of a task: nothing is left open in their `extraction`.
        networks: By stream.

    Returns:
        The rows by stream and individual, "" being the whole picture; the number of frames; and
        frames per second, None where the rate is unknown.

    Raises:
        FileNotFoundError, ValueError: It cannot be read, is too short, or its tracklets are not
            of it.
    """
    source = _open(item, settings)
    shown = source.pictures()
    first = next(shown, None)
    if first is None:
        raise ValueError(f"{item.source}: has no frames.")
    rgb: Iterator[Picture] = itertools.chain([first], shown)
    if settings.video_w or not isinstance(source, RgbArray):  # arrays have their final size
        rgb = _resized(rgb, settings)
    path = None
    subjects = [_Subject()]
    if settings.tracking_folder:
        path = tracklets.find(settings.tracking_folder, settings.tracking_suffix, item.name)
        subjects = _individuals(path, settings, *first.shape[:2])
    elif settings.extraction.mode == "dense":
        rgb, total = _counted(rgb, source, settings.extraction.chunk)
        subjects = [_Subject(length=total)]
    del first
    batches = {stream: Batches(network) for stream, network in networks.items()}
    makers = {
        stream: [_RowMaker(each, settings.extraction, own) for each in subjects]
        for stream, own in batches.items()
    }
    count = _feed(makers, _streams(rgb, item, settings))
    for subject in subjects:
        last = subject.first + (subject.length or 0) - 1
        if path and last >= count:
            raise ValueError(
                f"{path}: tracklet {escape(subject.name)!r} is on frame {last} (0-based), and the "
                f"video has {count:,} frames. Are the tracklets of this video, and of every frame "
                "of it?"
            )
    for maker in itertools.chain(*makers.values()):
        maker.end()
    rows = {}
    for stream, own in makers.items():
        computed = batches[stream].rows()
        rows[stream] = {maker.subject.name: maker.rows(computed) for maker in own}
    return rows, count, source.rate


def _open(item: Item, settings: Settings) -> FrameSource:
    if item.source.suffix.lower() == ".npy":
        if item.start is not None or item.end is not None:
            raise ValueError(
                f"{item.source}: an array is taken as a whole, and a span was asked for. Leave it "
                "out, or take the video."
            )
        return RgbArray(item.source)
    folder = item.source.is_dir()  # whose frames are taken as they are
    source_fps = None
    if folder:
        source_fps = settings.source_fps or noted(item.source).get("fps") or item.fps
    return Video(
        item.source,
        fps=None if folder else settings.extraction.fps or None,
        start=item.start or 0,
        end=item.end,
        source_fps=source_fps,
        strict=True,
        threads=hardware.own_threads(),
        square_pixels=settings.square_pixels,
    )


def _resized(shown: Iterator[Picture], settings: Settings) -> Iterator[Picture]:
    before: Picture | None = None
    for picture in shown:
        if picture is not before:  # one that is shown twice is resized once
            before, sized = picture, resizing.resize(picture, *_size(picture, settings))
        yield sized


def _size(picture: Picture, settings: Settings) -> tuple[int, int]:
    """Height and width that a picture is resized to."""
    extraction = settings.extraction
    height, width = picture.shape[:2]
    if settings.video_w and settings.video_h:
        return settings.video_h, settings.video_w
    if extraction.frame_size:
        return extraction.frame_size[1], extraction.frame_size[0]
    side = extraction.short_side
    if extraction.least_side:
        side = max(extraction.least_side, min(height, width))
    return crops.resized_size(height, width, side) if side else (height, width)


def _counted(
    rgb: Iterator[Picture], source: FrameSource, chunk: int
) -> tuple[Iterator[Picture], int]:
    """The same frames, and their number: of more than a chunk, it is found by decoding twice."""
    begin = list(itertools.islice(rgb, chunk + 1))
    total = len(begin) if len(begin) <= chunk else len(source)
    return itertools.chain(begin, rgb), total


def _streams(
    rgb: Iterator[Picture], item: Item, settings: Settings
) -> Iterator[tuple[str, Frames]]:
    """Yields ("rgb", frame) and ("flow", [H, W, 2] in [-1, 1]) as they come.

    There are as many flows as frames: the last one is given twice.
    """
    if "flow" not in settings.streams or settings.flow:
        if "rgb" in settings.streams:
            yield from (("rgb", picture) for picture in rgb)
        if settings.flow:
            flows = frame_files.open_flow(settings.flow, item.name)
            yield from (("flow", moving) for moving in flows)
        return
    rgb, seen = itertools.tee(rgb)
    greys = (frames.to_grey(picture) for picture in seen)
    engine, params = settings.chosen_flow()
    for moving in flow.flows(greys, params, engine, hardware.own_threads()):
        last = encoding.to_unit(moving)
        yield "rgb", next(rgb)
        yield "flow", last
    yield "rgb", next(rgb)
    yield "flow", last


def _feed(
    makers: Mapping[str, Sequence["_RowMaker"]], streams: Iterable[tuple[str, Frames]]
) -> int:
    """Gives each frame to the makers of its stream; returns the number of frames."""
    count: Counter[str] = Counter()
    for stream, frame in streams:
        for maker in makers.get(stream, ()):
            maker.push(count[stream], frame)
        count[stream] += 1
    if len(set(count.values())) > 1:
        raise ValueError(f"its streams have different numbers of frames: {dict(count)}.")
    return max(count.values())


class _RowMaker:
    """Takes the frames of a stream, and makes the rows of a subject."""

    def __init__(self, subject: _Subject, extraction: Extraction, batches: Batches):
        self.subject = subject
        self._extraction = extraction
        self._batches = batches
        self._network = network = batches.network
        self._size = extraction.crop_size or 1
        self._windows = Windows(extraction, network.net, network.endpoint, subject.length)
        self._submitted: list[tuple[Window, list[int]]] = []

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
        self._submit(self._windows.push(frame))

    def end(self) -> None:
        """Takes the end of the video."""
        try:
            self._submit(self._windows.end())
        except ValueError as error:
            who = f"individual {self.subject.name!r}: " if self.subject.name else ""
            raise ValueError(f"{who}{error}") from error

    def rows(self, computed: Sequence[Floats]) -> Rows:
        """All rows, of those that the batches of the stream computed."""
        average = self._extraction.crops == "center" or self._extraction.average_crops
        axis = () if average else (CROPS[self._extraction.crops],)
        parts: list[Floats] = [np.zeros((0, *axis, self._network.width()), np.float32)]
        spans: list[tuple[int, int]] = []
        for window, numbers in self._submitted:
            rows = np.stack([computed[number] for number in numbers], axis=1)  # [T', crops, D]
            rows = rows[window.skip : window.skip + len(window.spans)]
            if average:
                rows = np.asarray(rows.mean(axis=1, dtype=np.float64), np.float32)
            parts.append(rows)
            spans.extend(window.spans)
        given = self._windows.padded(len(spans))
        moved = np.array(spans, np.int64).reshape(-1, 2) + self.subject.first
        return Rows(np.concatenate(parts)[given], moved[given])

    def _submit(self, windows: Iterable[tuple[Window, Frames]]) -> None:
        for window, clip in windows:
            numbers = [self._batches.add(cropped) for cropped in self._cropped(clip)]
            self._submitted.append((window, numbers))

    def _cropped(self, clip: Frames) -> Iterable[Frames]:
        if self._extraction.crops == "center":
            return [clip]
        if self._extraction.crops == "three":
            return crops.three_crop(clip, self._size)
        return crops.ten_crop(clip, self._size, flow=self._network.stream == "flow")


def _individuals(path: Path, settings: Settings, height: int, width: int) -> list[_Subject]:
    """The individuals of a video of such frames, and where they are in resized ones."""
    extraction = settings.extraction
    size = settings.video_w or width, settings.video_h or height
    scale = np.tile(np.array(size, np.float64) / (width, height), 2)
    subjects = []
    for each in tracklets.read(path, extraction.interpolate, extraction.min_frames):
        boxes.check(each, height, width, path)
        scaled = (each.boxes * scale).astype(np.float32)
        squares = boxes.squares(scaled, size[1], size[0], extraction.boxes, extraction.margin)
        subjects.append(_Subject(each.individual, each.first, len(squares), squares))
    return subjects
