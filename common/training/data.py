"""Training data: randomly cut clips, and batches of them.

Everything random about an item is a pure function of its key. RGB and flow of a record share the
random numbers, so that clips of one length and size are cut at the same place.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.annotations import Annotations
from common.annotations.frame_labels import frame_labels, rule_of
from common.evaluation.scoring import check_labels
from common.flow import stamp
from common.flow.stamp import FlowStamp
from common.io import listing
from common.jobs.parallel import Pool, WorkerDiedError
from common.preprocessing import crops
from common.preprocessing.crops import Frames
from common.preprocessing.frames import resize_clip
from common.training.recipes import Recipe
from common.video.clip_reader import ClipReader, frame_rate

Key = tuple[int, int, int]  # seed, epoch and index of an item

_DROPOUT, _ORDER = 1, 2  # appended to a key to seed other generators than the clip's own


class Example(NamedTuple):
    """A clip to train on."""

    name: str  # of the record
    clip: Frames  # [T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1]
    target: int | NDArray[np.float32]  # the class; for frame labels 0 and 1, [T, K]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples that go through the network together, stacked [B, ...], and their keys."""

    names: tuple[str, ...]
    clips: NDArray[np.uint8 | np.float32]
    targets: NDArray[np.int64 | np.float32]
    keys: tuple[Key, ...]


class TrainingSet:
    """The clips of a subset of a data set; worker processes get a pickled copy."""

    def __init__(
        self, annotations: Annotations, reader: ClipReader, recipe: Recipe, subset: str = "training"
    ):
        """Finds the files of every record; decodes none.

        Raises `ValueError` if there are no records; or if some, which are named, have no label, a
        label beyond the head, no files, or flow computed in different ways.
        """
        self.records = [record for record in annotations.records if record.subset == subset]
        if not self.records:
            found = ", ".join(f"{count} for {name}" for name, count in annotations.counts.items())
            raise ValueError(f"no records for {subset}. The annotations have {found or 'none'}.")
        self._classes = recipe.num_classes or len(annotations.classes)
        self._recipe = recipe
        self.reader = reader
        check_labels(self.records, self._classes, recipe.task == "frames")
        stamps: dict[str, FlowStamp | None] = {}
        failed: dict[str, Exception] = {}
        for record in self.records:
            try:
                stamps[record.name] = reader.open(record, recipe.stream).stamp
            except (ValueError, OSError) as error:
                failed[record.name] = error
        if failed:
            name = min(failed)
            raise ValueError(
                f"{len(failed)} of {len(self.records)} records cannot be read: {listing(failed)}. "
                f"{name}: {failed[name]}"
            )
        if recipe.stream == "flow":
            stamp.check_same(stamps)
        # How the flow was computed; None for RGB, and for flow without a stamp.
        self.stamp = next(iter(stamps.values()))

    def __len__(self) -> int:
        return len(self.records)

    def example(self, key: Key) -> Example:
        """Cuts a clip out of a record, the same for the same key.

        `numpy.random.default_rng(key)` draws, in this order: the first frame, the short side (where
        the recipe has a range), the corner of the crop, and the flip (where the recipe flips).
        Raises `ValueError` if the record, which is named, cannot be read.
        """
        record, recipe = self.records[key[2]], self._recipe
        rng = np.random.default_rng(key)
        try:
            whole = self.reader.open(record, recipe.stream)
            frames = len(whole)
            window = crops.random_window(frames, recipe.sample_duration, recipe.sample_rate, rng)
            wanted, places = np.unique(window, return_inverse=True)  # short videos loop
            clip = _cut(whole.read(wanted.tolist()), recipe, rng)[places]
            if recipe.task == "classes":
                return Example(record.name, clip, record.labels[0])
            rate = frame_rate(record, whole)
            labels = frame_labels(record, self._classes, frames, rate, rule_of(record))
            return Example(record.name, clip, labels[window].astype(np.float32))
        except (ValueError, OSError) as error:
            raise ValueError(f"{record.name} ({record.path}): {error}") from error


def _cut(stored: Frames, recipe: Recipe, rng: np.random.Generator) -> Frames:
    """Resizes, crops and mirrors at random: [T, crop, crop, C]."""
    low, high = recipe.short_side
    side = crops.random_short_side(rng, low, high) if low < high else low
    height, width = crops.resized_size(*crops.size_of(stored), side)
    corner = crops.random_corner(height, width, recipe.crop, rng)
    flipped = recipe.flip and crops.random_flip(rng)
    clip = crops.crop(resize_clip(stored, side), corner, recipe.crop)
    return crops.flip(clip, recipe.stream == "flow") if flipped else clip


def batches(
    dataset: TrainingSet,
    recipe: Recipe,
    first_step: int = 0,
    workers: int = 0,
    rank: int = 0,
    replicas: int = 1,
) -> Generator[list[Batch]]:
    """Yields the micro-batches of replica `rank`: a list of `recipe.accumulate` for each step.

    Item n of the run is item `order(seed, n // count, count)[n % count]` of epoch n // count. Step
    s takes `batch` items from s * batch on; micro-batch a is the a-th part of them, and rank r gets
    the r-th part of that: all replicas together see what a single one would. Worker processes read
    ahead by a step, or by two examples each where that is more.

    Raises `ValueError` if replicas and micro-batches do not divide the batch, or if an item cannot
    be read, and `ChildProcessError` if a worker died.
    """
    parts = recipe.accumulate * replicas
    if recipe.batch % parts:
        raise ValueError(
            f"expected a batch that {replicas} replicas x {recipe.accumulate} micro-batches "
            f"divide. Received: batch {recipe.batch}."
        )
    size, count = recipe.batch // parts, len(dataset)

    def keys() -> Iterator[Key]:
        for part in range(first_step * recipe.accumulate, recipe.steps * recipe.accumulate):
            first = (part * replicas + rank) * size
            for item in range(first, first + size):
                epoch, place = divmod(item, count)
                yield recipe.seed, epoch, int(order(recipe.seed, epoch, count)[place])

    ahead = max(recipe.accumulate * size, 2 * workers) if workers else 0
    with contextlib.closing(Pool(dataset.example, workers)) as pool:
        taken, read = itertools.tee(keys())
        items = zip(pool.in_order(read, ahead), taken, strict=True)
        for _ in range(first_step, recipe.steps):
            try:
                step = [_stacked(itertools.islice(items, size)) for _ in range(recipe.accumulate)]
            except WorkerDiedError as error:
                text = f"{error} while it read a clip: if memory ran out, use fewer --workers."
                raise ChildProcessError(text) from error
            yield step


def _stacked(items: Iterable[tuple[Example, Key]]) -> Batch:
    examples, keys = zip(*items, strict=True)
    names, clips, labels = zip(*examples, strict=True)
    targets = np.stack(labels)
    targets = targets.astype(np.int64) if targets.ndim == 1 else targets
    return Batch(names, np.stack(clips), targets, keys)


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The indices 0 to count - 1 in the order of an epoch; read-only."""
    indices = np.random.default_rng([seed, epoch, 0, _ORDER]).permutation(count)
    indices.flags.writeable = False
    return indices


def dropout(net: arch.Network, batch: Batch) -> NDArray[np.float32] | None:
    """Factors of the features [B, T', H', W', C'], 0 or 1 / (1 - rate); None without dropout."""
    if not (rate := net.head.dropout):
        return None
    shape = arch.endpoint_shapes(net, batch.clips.shape[1:4])[net.head.features]
    generators = (np.random.default_rng([*key, _DROPOUT]) for key in batch.keys)
    draws = (each.random(shape, np.float32) for each in generators)
    return np.stack([np.where(x < rate, np.float32(0), np.float32(1 / (1 - rate))) for x in draws])
