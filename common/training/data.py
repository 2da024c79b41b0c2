"""Training data: randomly cut clips, and batches of them.

An item is (seed, epoch, index). Everything random about it is a pure function of these three
numbers: it does not matter which process cuts a clip, and a resumed run needs no generator state.
RGB and flow of a record share the random numbers, so that clips of one length and size are cut at
the same place.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.annotations import Annotations, Record
from common.annotations.frame_labels import frame_labels, rule_of
from common.flow import stamp
from common.flow.stamp import FlowStamp
from common.io import listing
from common.jobs.parallel import Processes, WorkerDiedError
from common.preprocessing import clips, crops, resizing
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames
from common.training.recipes import Recipe
from common.video.clip_reader import ClipReader, ComputedFlow, Source, frame_rate
from common.video.source import FrameSource

Key = tuple[int, int, int]
"""Seed, epoch and index of an item."""

# Appended to a key to seed other generators than the clip's own, which is seeded with the bare key
# (for NumPy the same as the key followed by zeros).
_DROPOUT, _ORDER = 1, 2


class ItemError(ValueError):
    """An item that cannot be read; the message names it, its path and the reason."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip to train on.

    Attributes:
        name: Name of the record.
        clip: [T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].
        target: The class; for frame labels 0 and 1, [T, K] float32.
    """

    name: str
    clip: Frames
    target: int | NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clips that go through the network together.

    Attributes:
        names: Names of the records.
        clips: [B, T, H, W, C] uint8 RGB, or float32 flow in [-1, 1].
        targets: Classes, [B] int64; for frame labels 0 and 1, [B, T, K] float32.
        keys: Seed, epoch and index of each clip.
    """

    names: tuple[str, ...]
    clips: NDArray[np.uint8 | np.float32]
    targets: NDArray[np.int64 | np.float32]
    keys: tuple[Key, ...]


class Dataset(Protocol):
    """Numbered examples; worker processes get a pickled copy."""

    def __len__(self) -> int: ...

    def example(self, seed: int, epoch: int, index: int) -> Example: ...


class TrainingSet:
    """The clips of a subset of a data set; a `Dataset`.

    Attributes:
        records: Records in the order of the annotations.
        num_classes: Classes of the head.
        stamp: How the flow was computed; None for RGB, and for flow without a stamp.
    """

    def __init__(
        self,
        annotations: Annotations,
        source: Source,
        recipe: Recipe,
        contract: InputContract,
        subset: str = "training",
    ):
        """Finds the files of every record; decodes none.

        Args:
            annotations: Annotations of the data set.
            source: Where its clips are.
            recipe: Size, length and task of the examples.
            contract: See `ClipReader`.
            subset: One of `annotations.SUBSETS`.

        Raises:
            ValueError: There are no records; or some, which are named, have no label, a label
                beyond the head, no files, or flow computed in different ways.
        """
        self.records = [record for record in annotations.records if record.subset == subset]
        if not self.records:
            found = ", ".join(f"{count} for {name}" for name, count in annotations.counts.items())
            raise ValueError(f"no records for {subset}. The annotations have {found or 'none'}.")
        self.num_classes = recipe.num_classes or len(annotations.classes)
        self._recipe = recipe
        self._reader = ClipReader(source, contract)
        self._check_labels()
        self.stamp = self._check_files()

    def __len__(self) -> int:
        return len(self.records)

    def example(self, seed: int, epoch: int, index: int) -> Example:
        """Cuts a clip out of record `index`, the same for the same numbers.

        `numpy.random.default_rng([seed, epoch, index])` draws, in this order: the first frame, the
        short side (where the recipe has a range), the corner of the crop, and the flip (where the
        recipe flips).

        Raises:
            ItemError: The record cannot be read.
        """
        record, recipe = self.records[index], self._recipe
        rng = np.random.default_rng([seed, epoch, index])
        try:
            whole = self._reader.open(record, recipe.stream)
            window = clips.random_window(
                len(whole), recipe.sample_duration, recipe.sample_rate, rng
            )
            wanted, places = np.unique(window, return_inverse=True)  # short videos loop
            clip = _cut(whole.read(wanted.tolist()), recipe, rng)[places]
            return Example(record.name, clip, self._target(record, whole, window))
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).splitlines())
            raise ItemError(f"{record.name} ({record.path}): {reason}") from error

    def _target(
        self, record: Record, whole: FrameSource, window: list[int]
    ) -> int | NDArray[np.float32]:
        if self._recipe.task == "classes":
            return record.labels[0]
        rate = frame_rate(record, whole)
        labels = frame_labels(record, self.num_classes, len(whole), rate, rule_of(record))
        return labels[window].astype(np.float32)

    def _check_labels(self) -> None:
        spans = self._recipe.task == "frames"
        labels = {
            r.name: [a.label for a in r.actions] if spans else list(r.labels) for r in self.records
        }
        if wrong := [name for name, found in labels.items() if not spans and len(found) != 1]:
            raise ValueError(
                f"expected one label for each record. Received none or several for {len(wrong)} "
                f"of {len(labels)}: {listing(wrong)}. Spans with labels are for the task frames."
            )
        highest = {name: max(found, default=0) for name, found in labels.items()}
        beyond = {name: label for name, label in highest.items() if label >= self.num_classes}
        if beyond:
            raise ValueError(
                f"expected labels below {self.num_classes}, the classes of the head. Received up "
                f"to {max(beyond.values())}, for {len(beyond)} of {len(labels)} records: "
                f"{listing(beyond)}. Set num_classes."
            )

    def _check_files(self) -> FlowStamp | None:
        stamps: dict[str, FlowStamp | None] = {}
        computed: list[str] = []
        failed: dict[str, Exception] = {}
        for record in self.records:
            try:
                clip = self._reader.open(record, self._recipe.stream)
            except (ValueError, OSError) as error:
                failed[record.name] = error
                continue
            if self._recipe.stream == "flow":
                stamps[record.name] = clip.stamp
            if isinstance(clip, ComputedFlow):
                computed.append(record.name)
        if failed:
            name = min(failed)
            raise ValueError(
                f"{len(failed)} of {len(self.records)} records cannot be read: {listing(failed)}. "
                f"{name}: {failed[name]}"
            )
        stamp.check_same(stamps)
        if computed:
            logging.warning(
                "the flow of %d records is computed each time it is read, which takes long: %s. "
                "`extract_flow` does it once.", len(computed), listing(computed, 3),
            )  # fmt: skip
        return next(iter(stamps.values()), None)


def _cut(stored: Frames, recipe: Recipe, rng: np.random.Generator) -> Frames:
    """Resizes, crops and mirrors at random: [T, crop, crop, C]."""
    low, high = recipe.short_side
    side = crops.random_short_side(rng, low, high) if low < high else low
    height, width = crops.resized_size(*crops.size_of(stored), side)
    corner = crops.random_corner(height, width, recipe.crop, rng)
    flipped = recipe.flip and crops.random_flip(rng)
    clip = crops.crop(resizing.resize_clip(stored, side), corner, recipe.crop)
    return crops.flip(clip, recipe.stream == "flow") if flipped else clip


def batches(
    dataset: Dataset,
    recipe: Recipe,
    first_step: int = 0,
    workers: int = 0,
    rank: int = 0,
    replicas: int = 1,
) -> Generator[list[Batch]]:
    """Yields the micro-batches of one replica: a list of `recipe.accumulate` for each step.

    Item n of the run is item `order(seed, n // count, count)[n % count]` of epoch n // count, so
    that every batch is full and epochs follow each other without a break. Step s takes `batch`
    items from s * batch on; micro-batch a is the a-th part of them, and rank r gets the r-th part
    of that: all replicas together see what a single one would.

    Close the generator (`contextlib.closing`) to end the workers early.

    Args:
        dataset: Source of the examples.
        recipe: Its batch, accumulate, seed and steps.
        first_step: First step, from 0.
        workers: Processes that read ahead by a step, or by two examples each where that is more.
            0 reads each example in this process when it is needed.
        rank: Number of this replica, from 0.
        replicas: Number of replicas.

    Raises:
        ValueError: Replicas and micro-batches do not divide the batch.
        ItemError: An item cannot be read.
        ChildProcessError: A worker died.
    """
    parts = recipe.accumulate * replicas
    if recipe.batch % parts:
        raise ValueError(
            f"expected a batch that {replicas} replicas x {recipe.accumulate} micro-batches "
            f"divide. Received: batch {recipe.batch}."
        )
    size, count = recipe.batch // parts, len(dataset)
    steps, micro = range(first_step, recipe.steps), range(recipe.accumulate)

    def keys(step: int, part: int) -> Iterator[Key]:
        first = step * recipe.batch + (part * replicas + rank) * size
        for item in range(first, first + size):
            epoch, place = divmod(item, count)
            yield recipe.seed, epoch, int(order(recipe.seed, epoch, count)[place])

    wanted = (key for step in steps for part in micro for key in keys(step, part))
    ahead = max(recipe.accumulate * size, 2 * workers)
    with contextlib.closing(_examples(dataset, wanted, workers, ahead)) as examples:
        for step in steps:
            yield [
                _stacked(list(itertools.islice(examples, size)), tuple(keys(step, part)))
                for part in micro
            ]


def _examples(
    dataset: Dataset, keys: Iterable[Key], workers: int, ahead: int
) -> Generator[Example]:
    """Yields the example of each key, in order; at most `ahead` are read before they are taken."""
    if not workers:
        yield from itertools.starmap(dataset.example, keys)
        return
    waiting: deque[tuple[Key, Future[Example]]] = deque()
    todo = iter(keys)
    read = functools.partial(_example, dataset)
    with contextlib.closing(Processes(read, workers)) as pool:
        while True:
            for key in itertools.islice(todo, ahead - len(waiting)):
                waiting.append((key, pool.submit(key)))
            if not waiting:
                return
            key, example = waiting.popleft()
            try:
                yield example.result()
            except WorkerDiedError as error:
                raise ChildProcessError(
                    f"item {key[2]} of epoch {key[1]}: {error}. If memory ran out, use fewer "
                    "--workers."
                ) from error


def _example(dataset: Dataset, key: Key) -> Example:
    return dataset.example(*key)


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The indices 0 to count - 1 in the order of an epoch; read-only."""
    indices = np.random.default_rng([seed, epoch, 0, _ORDER]).permutation(count)
    indices.flags.writeable = False
    return indices


def dropout_masks(batch: Batch, shape: Sequence[int], rate: float) -> NDArray[np.float32]:
    """Dropout as factors of the features, the same in both frameworks: 0, or 1 / (1 - rate).

    Args:
        batch: Its keys seed the generators.
        shape: Features of one clip, [T', H', W', C'].
        rate: Share of zeros, from 0 to below 1.

    Returns:
        [B, T', H', W', C'].
    """
    kept = np.float32(1 / (1 - rate))
    draws = (
        np.random.default_rng([*key, _DROPOUT]).random(shape, np.float32) for key in batch.keys
    )
    return np.stack([np.where(draw < rate, np.float32(0), kept) for draw in draws])


def _stacked(examples: Sequence[Example], keys: tuple[Key, ...]) -> Batch:
    targets = np.stack([example.target for example in examples])
    return Batch(
        names=tuple(example.name for example in examples),
        clips=np.stack([example.clip for example in examples]),
        targets=targets.astype(np.int64) if targets.ndim == 1 else targets,
        keys=keys,
    )
