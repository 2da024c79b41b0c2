"""From the videos of a set to their statistics: read ahead, computed in batches, killed at will.

With a file to write, what is done is written beside it every minute, and a run that was killed goes
on from there. Sums are exact, so it ends in the same bytes.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.fvd import statistics
from common.fvd.clips import Listed, Sampling, read_ahead
from common.fvd.metric import Network
from common.fvd.recipes import Recipe
from common.fvd.statistics import Statistics
from common.io import escape, listing
from common.jobs.parallel import Progress
from common.preprocessing.crops import Frames

_EVERY = 60.0  # seconds between two snapshots
_SHOWN = 10  # failures in an error

Floats = NDArray[np.float32]
_Rule = tuple[Callable[[Frames], Floats], Callable[[Frames], Frames] | None]
_Prepared = dict[_Rule, Floats]


class Key(NamedTuple):
    """What a value is computed of: a recipe, and the first so many frames of the clips."""

    recipe: Recipe
    frames: int

    @property
    def made(self) -> dict[str, Any]:
        return {"recipe": self.recipe.name, "frames": self.frames}


@dataclasses.dataclass
class _Video:
    """The features of a video's clips, until all of them are there."""

    read: int = 0  # clips
    ended: bool = False
    rows: list[Mapping[Key, Floats]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Stream:
    """Computes statistics of the videos of a set, for several keys at once."""

    videos: Sequence[Listed]
    sampling: Sampling
    keys: Sequence[Key]
    networks: Mapping[float, Network]  # by epsilon
    made: Mapping[str, Any]
    part: tuple[int, int] = (0, 1)  # number and count of the shard
    allow_failures: int = 0
    keep_features: bool = False

    def run(
        self, side: str, path: Path | None = None, versions: Mapping[str, Any] | None = None
    ) -> dict[Key, Statistics]:
        """The statistics of the shard by key; with one key they are written to `path`.

        `ValueError` if more videos than `allow_failures` cannot be read, or none can.
        """
        numbers = range(self.part[0], len(self.videos), self.part[1])
        found = {
            key: Statistics({**self.made, **key.made}, self.keep_features) for key in self.keys
        }
        done, failures, snapshot = set[int](), list[str](), None
        if path:
            snapshot = _Snapshot(path, self._digest())
            done = snapshot.resume(found[self.keys[0]])
        left = [number for number in numbers if number not in done]
        bar = Progress(side, len(numbers), "videos", len(done))
        with contextlib.closing(bar), contextlib.closing(self._features(left)) as features:
            for number, rows in features:
                bar.add(failed=isinstance(rows, Exception))
                if isinstance(rows, Exception):
                    failures.append(f"{self.videos[number].name}: {rows}")
                    self._check(side, failures)
                    continue
                for key, statistic in found.items():
                    statistic.add(np.stack([row[key] for row in rows]))
                done.add(number)
                if snapshot:
                    snapshot.write(found[self.keys[0]], done)
        if not done:
            raise ValueError(f"{side}: none of the videos could be read. {_listed(failures)}")
        if failures:
            logging.warning("%s: left out %d videos. %s", side, len(failures), _listed(failures))
        if snapshot:
            snapshot.finish(found[self.keys[0]], versions or {}, failures)
        return found

    def _check(self, side: str, failures: Sequence[str]) -> None:
        if len(failures) > self.allow_failures:
            raise ValueError(
                f"{side}: {len(failures)} videos cannot be taken, and a value without them is of "
                f"another set. --allow_failures leaves some out. {_listed(failures)}"
            )

    def _features(
        self, numbers: Sequence[int]
    ) -> Generator[tuple[int, Exception | Sequence[Mapping[Key, Floats]]]]:
        """Yields the number of each video with its clips' features, or why it has none."""
        longest = max(key.frames for key in self.keys)
        size = max(network.batch_size(longest) for network in self.networks.values())
        waiting: list[tuple[int, _Prepared]] = []
        videos: dict[int, _Video] = {}
        reader = read_ahead(self.videos, numbers, self.sampling, self._prepare, size)
        with contextlib.closing(reader):
            for number, result in itertools.chain(reader, [(-1, None)]):
                video = videos.setdefault(number, _Video())
                if isinstance(result, dict):
                    waiting.append((number, result))
                    video.read += 1
                elif result is None:
                    video.ended = True
                else:
                    if not isinstance(result, ValueError | OSError):
                        raise result
                    waiting = [each for each in waiting if each[0] != number]
                    del videos[number]
                    yield number, result
                if len(waiting) == size or number == -1:
                    rows = self._rows([clip for _, clip in waiting])
                    for (owner, _), row in zip(waiting, rows, strict=True):
                        videos[owner].rows.append(row)
                    waiting = []
                for k in [k for k, v in videos.items() if v.ended and v.read == len(v.rows)]:
                    if rows_of := videos.pop(k).rows:
                        yield k, rows_of

    def _prepare(self, clip: Frames, video: Listed) -> _Prepared:
        """What the network is given by each rule; recipes share some."""
        return {
            rule: rule[0](rule[1](clip) if rule[1] and video.decoded else clip)
            for rule in {_rule(key.recipe) for key in self.keys}
        }

    def _rows(self, clips: Sequence[_Prepared]) -> list[dict[Key, Floats]]:
        computed: dict[Any, Floats] = {}
        rows: list[dict[Key, Floats]] = [{} for _ in clips]
        for key in self.keys if clips else ():
            rule = _rule(key.recipe)
            what = rule, key.recipe.eps, key.frames
            if what not in computed:
                shown = [clip[rule][: key.frames] for clip in clips]
                computed[what] = self.networks[key.recipe.eps].features(shown)
            for row, features in zip(rows, computed[what], strict=True):
                row[key] = features
        return rows

    def _digest(self) -> str:
        names = "\0".join([*map(str, self.part), *(video.name for video in self.videos)])
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


class _Snapshot:
    """The statistics of an unfinished run, in a hidden file beside the one it will write."""

    def __init__(self, path: Path, digest: str):
        self._target, self._digest = path, digest
        self._path = path.with_name(f".{path.name}.partial")
        self._last = time.monotonic()

    def resume(self, empty: Statistics) -> set[int]:
        """Adds what an earlier run of the same videos and settings did; returns their numbers.

        `ValueError` if the file is none of ours, which stays as it is.
        """
        if not self._path.exists():
            return set()
        there, about = statistics.read(self._path)
        same = about.get("digest") == self._digest and there.made == empty.made
        if not same or there.keep_features != empty.keep_features:
            return set()
        empty.merge(there)
        bits = np.frombuffer(bytes.fromhex(about["done"]), np.uint8)
        return set(np.unpackbits(bits).nonzero()[0].tolist())

    def write(self, found: Statistics, done: set[int]) -> None:
        if time.monotonic() - self._last >= _EVERY:
            bits = np.zeros(max(done) + 1, np.uint8)
            bits[[*done]] = 1
            done_bits = np.packbits(bits).tobytes().hex()
            found.write(self._path, digest=self._digest, done=done_bits)
            self._last = time.monotonic()

    def finish(
        self, found: Statistics, versions: Mapping[str, Any], failures: Sequence[str]
    ) -> None:
        found.write(self._target, versions=versions, failures=len(failures))
        self._path.unlink(missing_ok=True)


def _rule(recipe: Recipe) -> _Rule:
    return recipe.prepare, recipe.load


def _listed(failures: Sequence[str]) -> str:
    return escape(listing(failures, _SHOWN))
