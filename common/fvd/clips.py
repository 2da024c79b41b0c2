"""The clips of a set: which of a video's frames they are, and reading them ahead of the network."""

import contextlib
import dataclasses
import functools
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import hardware
from common.fvd.metric import MIN_FRAMES
from common.io import check_size
from common.jobs import inputs
from common.jobs.task import Item, noted
from common.preprocessing.crops import Frames
from common.settings import UsageError, setting
from common.video import FrameSource, Video

ARRAYS = (".npy", ".npz")
ALL = "all"
_WAIT = 0.1  # seconds, until a thread looks whether it should end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which clips are taken; recorded with the statistics."""

    frames: int = setting("Frames of a clip, at least 9.", 16)
    stride: int = setting("Frame step in a clip.", 1, minimum=1)
    clips_per_video: str = setting(
        "Clips of each video: a number, or all, which takes them one after the other.", "1"
    )
    sampling: str = setting(
        "Where clips begin: at the first frame and one after the other, at random, or evenly "
        "spaced (a single one in the middle).",
        "first",
        choices=("first", "random", "uniform"),
    )
    seed: int = setting("Seed of all that is random.", 0)
    fps: str = setting("Frames per second of videos, by timestamps; source takes all.", "source")
    clips: int | None = setting(
        "Take so many clips of each set, from videos evenly spaced over its list; fewer are an "
        "error.",
        None,
        minimum=2,
    )

    def __post_init__(self) -> None:
        if self.frames < MIN_FRAMES:
            raise UsageError(
                f"--frames={self.frames}: at least {MIN_FRAMES} are needed, because the network's "
                "last pool needs two time steps"
            )
        for name, word in (("clips_per_video", ALL), ("fps", "source")):
            text = getattr(self, name)
            with contextlib.suppress(ValueError):
                if text == word or (int if word == ALL else float)(text) > 0:
                    continue
            raise UsageError(f"--{name}={text}: expected {word} or a number above 0")
        if self.clips_per_video == ALL and self.sampling != "first":
            raise UsageError(f"--clips_per_video=all does not go with --sampling={self.sampling}")
        if self.clips and (not self.per_video or self.clips % self.per_video):
            raise UsageError("--clips must be a multiple of --clips_per_video")

    @property
    def rate(self) -> float | None:
        return None if self.fps == "source" else float(self.fps)

    @property
    def per_video(self) -> int | None:
        """None for all that there are."""
        return None if self.clips_per_video == ALL else int(self.clips_per_video)

    @property
    def span(self) -> int:
        """Frames from the first of a clip to its last."""
        return (self.frames - 1) * self.stride + 1

    def of_video(self, video: FrameSource, name: str) -> Iterator[Frames]:
        """Yields the clips [T, H, W, 3] of a video; `ValueError` if it has too few frames."""
        if self.sampling == "first":
            yield from self._in_turn(video)
            return
        count, total, last = self.per_video or 1, len(video), len(video) - self.span
        if last < 0:
            raise self._too_short(total)
        if self.sampling == "random":
            # By the video's name: the same whatever else is in the set.
            rng = np.random.default_rng([self.seed, *os.fsencode(name)])
            starts = sorted(rng.integers(0, last, count, endpoint=True).tolist())
        else:
            starts = [(2 * k + 1) * last // (2 * count) for k in range(count)]
        for start in starts:
            yield video.read(range(start, start + self.span, self.stride))

    def _in_turn(self, video: FrameSource) -> Iterator[Frames]:
        found, held, total = 0, list[Any](), 0
        for total, picture in enumerate(video, 1):  # noqa: B007
            held.append(picture)
            if len(held) == self.span:
                yield np.stack(held[:: self.stride])
                held, found = [], found + 1
                if found == self.per_video:
                    return
        if not found or self.per_video:
            raise self._too_short(total)

    def _too_short(self, total: int) -> ValueError:
        wanted = f"{self.clips_per_video} clips of {self.span}"
        if self.per_video in (None, 1) or self.sampling != "first":
            wanted = f"{self.span}"
        return ValueError(
            f"too short. Expected {wanted} frames or more. Received: {total}. Lower --frames, "
            "--stride or --clips_per_video, or leave it out."
        )


@dataclasses.dataclass(frozen=True)
class ArrayVideo(FrameSource):
    """A video [T, H, W, 3], uint8 RGB, in an array of several."""

    path: Path
    array: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.array)

    def pictures(self, indices: Sequence[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        return (np.asarray(self.array[index]) for index in self.checked(indices))


@dataclasses.dataclass(frozen=True)
class Listed:
    """A video of a set; it is opened where it is read."""

    name: str
    open: Callable[[], FrameSource]
    decoded: bool = True  # rather than taken from an array


def find(path: Path, sampling: Sampling) -> list[Listed]:
    """The videos of a set, by name: see `inputs.items`; arrays are [N, T, H, W, 3] uint8.

    `FileNotFoundError` if there are none, `ValueError` for another array, or too few for --clips.
    """
    found: list[Listed] = []
    for item in inputs.items(path, arrays=True):
        if item.source.suffix.lower() in ARRAYS:
            array = read_array(item.source)
            # Each maps its file anew: pages that were read leave with the mapping.
            kept = None if isinstance(array, np.memmap) else array
            found += [
                Listed(
                    f"{item.name}[{k}]", functools.partial(_of_array, item.source, k, kept), False
                )
                for k in range(len(array))
            ]
        else:
            found.append(Listed(item.name, functools.partial(_video, item, sampling.rate)))
    if sampling.clips and sampling.per_video:
        needed = sampling.clips // sampling.per_video
        if len(found) < needed:
            raise ValueError(
                f"{path}: too few videos for {sampling.clips:,} clips. Expected {needed:,} videos. "
                f"Received: {len(found):,}. Lower --clips or raise --clips_per_video."
            )
        return [found[k * len(found) // needed] for k in range(needed)]
    return found


def _of_array(path: Path, number: int, array: NDArray[np.uint8] | None) -> FrameSource:
    return ArrayVideo(path, (read_array(path) if array is None else array)[number])


def _video(item: Item, rate: float | None) -> FrameSource:
    own = noted(item.source).get("fps") or item.fps if item.source.is_dir() else None
    return Video(
        item.source, rate, item.start or 0, item.end, source_fps=own, strict=True, threads=1
    )


def read_array(path: Path) -> NDArray[np.uint8]:
    """Videos [N, T, H, W, 3] of a .npy, which stays on the disk, or a .npz with one array."""
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.lib.npyio.NpzFile):
            with array:
                members = array.zip.infolist() if array.zip else []
                check_size(path, sum(each.file_size for each in members))
                array = array["".join(array.files)]
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise ValueError(f"{path}: expected one array of videos: {error}.") from error
    if array.ndim != 5 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
        got = f"{list(array.shape)} of {array.dtype}"
        raise ValueError(f"{path}: expected videos [N, T, H, W, 3] of uint8. Received: {got}.")
    return np.asanyarray(array, np.uint8)


def read_ahead(
    videos: Sequence[Listed],
    numbers: Sequence[int],
    sampling: Sampling,
    prepare: Callable[[Frames, Listed], Any],
    ahead: int,
) -> Generator[tuple[int, Any]]:
    """Yields (number, prepared clip), and (number, None) or (number, error) after a video's last.

    Threads read videos side by side, at most `ahead` clips before they are asked for: so those of
    several videos mix, in an order that is not always the same.
    """
    results: queue.Queue[tuple[int, Any]] = queue.Queue(ahead)
    waiting, lock, stop = iter(numbers), threading.Lock(), threading.Event()

    def put(number: int, result: Any) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                results.put((number, result), timeout=_WAIT)
                return

    def work() -> None:
        while not stop.is_set():
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            video, end = videos[number], None
            try:
                for clip in sampling.of_video(video.open(), video.name):
                    put(number, prepare(clip, video))
                    if stop.is_set():
                        return
            except Exception as error:
                end = error
            put(number, end)

    workers = min(hardware.processors(), len(numbers))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        left = len(numbers)
        while left:
            number, result = results.get()
            left -= result is None or isinstance(result, Exception)
            yield number, result
    finally:
        stop.set()
        for thread in threads:
            thread.join()
