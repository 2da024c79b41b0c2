"""Training data: records become randomly cut examples, examples become batches.

An item is (seed, epoch, index). Everything random about it is a pure function of these three
numbers, so that it does not matter which process makes an example, and a run that is resumed needs
no state of a generator. RGB and flow of a record share that chance: clips of as many frames and the
same shape are cut at the same place.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.annotations import Annotations, Record
from common.annotations.frame_labels import frame_labels, rule_of
from common.flow import stamp
from common.flow.stamp import FlowStamp
from common.io import listing
from common.preprocessing import clips, crops
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames
from common.training.recipes import Recipe
from common.training.worker_pool import Key, ordered_map
from common.video.clip_reader import ClipReader, ComputedFlow, Source, frame_rate
from common.video.source import FrameSource

# Further numbers that seed NumPy's generator beside a key. An example's own generator is seeded
# with the bare key, which NumPy takes for the same as the key followed by zeros.
_DROPOUT, _ORDER = 1, 2


class ItemError(ValueError):
    """An item that cannot be read; the text names it, where it is, and why."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip to train on.

    Attributes:
        name: The record's.
        clip: [T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].
        target: The class; or 0 and 1 for each frame and class, [T, K], float32.
    """

    name: str
    clip: Frames
    target: int | NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clips that go through the network together.

    Attributes:
        names: Of the records.
        clips: [B, T, H, W, C] uint8 RGB, or float32 flow in [-1, 1].
        targets: Classes [B], int64; or 0 and 1 for each frame and class, [B, T, K], float32.
        keys: Seed, epoch and index of each clip.
    """

    names: tuple[str, ...]
    clips: NDArray[np.uint8 | np.float32]
    targets: NDArray[np.int64 | np.float32]
    keys: tuple[Key, ...]


class Dataset(Protocol):
    """Makes examples, and pickles, as worker processes get a copy."""

    def __len__(self) -> int: ...

    def example(self, seed: int, epoch: int, index: int) -> Example: ...


class TrainingSet:
    """The clips of a subset of a data set; a `Dataset`.

    Attributes:
        records: In the order of the annotations.
        num_classes: Of the head.
        stamp: How the flow was made; None for RGB, and for flow without a stamp.
    """

    def __init__(
        self,
        annotations: Annotations,
        source: Source,
        recipe: Recipe,
        contract: InputContract,
        subset: str = "training",
    ):
        """Finds the files of every record; opens no image or video.

        Args:
            annotations: Of the data set.
            source: Where its clips are.
            recipe: What to cut out of them.
            contract: See `ClipReader`.
            subset: Which records: see `annotations.SUBSETS`.

        Raises:
            ValueError: There are no records; some have no label, or one beyond the head, or no
                files; or their flow was made in different ways. The text names them.
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

        `numpy.random.default_rng([seed, epoch, index])` draws, in this order: the window in time,
        the short side where the recipe has a range, the corner of the crop, and whether to mirror
        where the recipe does.

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
            wanted, places = np.unique(window, return_inverse=True)  # short clips loop
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
        wrong = [name for name, found in labels.items() if not spans and len(found) != 1]
        if wrong:
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
    from common.preprocessing import resizing  # numba takes a moment

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
    """The micro-batches of one replica, a list of `recipe.accumulate` for each step.

    Items go on over epochs without a break, each epoch in an order of its own, so that every batch
    is full: item n of the run is item `order(seed, n // count, count)[n % count]` of epoch
    n // count. Step s has the items from s * batch on; micro-batch a is the a-th part of them, and
    rank r has the r-th part of that. So two replicas together see what one would.

    Close the iterator (`contextlib.closing`) to end the workers early.

    Args:
        dataset: Makes examples.
        recipe: Its batch, accumulate, seed and steps.
        first_step: Where to begin, from 0.
        workers: Processes that make examples ahead: by a step, or by two examples a worker where
            that is more. 0 makes each example in this process, when it is asked for.
        rank: Which replica this is.
        replicas: How many there are.

    Raises:
        ValueError: There are no examples, or replicas and micro-batches do not divide the batch.
            While iterating: `ItemError` where an item cannot be read, ChildProcessError where a
            worker died; both end all workers.
    """
    parts = recipe.accumulate * replicas
    if recipe.batch % parts or not 0 <= rank < replicas:
        raise ValueError(
            f"expected a batch that {replicas} replicas x {recipe.accumulate} micro-batches "
            f"divide, and a rank below {replicas}. Received: batch {recipe.batch}, rank {rank}."
        )
    if not len(dataset) or workers < 0:
        raise ValueError(
            "expected examples, and no less than 0 workers. "
            f"Received: {len(dataset)} examples, {workers} workers."
        )
    size, count = recipe.batch // parts, len(dataset)

    def keys(step: int, part: int) -> Iterator[Key]:
        first = step * recipe.batch + (part * replicas + rank) * size
        for item in range(first, first + size):
            epoch, place = divmod(item, count)
            yield recipe.seed, epoch, int(order(recipe.seed, epoch, count)[place])

    def iterate() -> Generator[list[Batch]]:
        steps, micro = range(first_step, recipe.steps), range(recipe.accumulate)
        wanted = (key for step in steps for part in micro for key in keys(step, part))
        ahead = max(recipe.accumulate * size, 2 * workers)
        with contextlib.closing(ordered_map(dataset.example, wanted, workers, ahead)) as examples:
            for step in steps:
                yield [
                    _stacked(list(itertools.islice(examples, size)), tuple(keys(step, part)))
                    for part in micro
                ]

    return iterate()


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The indices 0 to count - 1 in the order of an epoch; read only."""
    indices = np.random.default_rng([seed, epoch, 0, _ORDER]).permutation(count)
    indices.flags.writeable = False
    return indices


def dropout_masks(batch: Batch, shape: Sequence[int], rate: float) -> NDArray[np.float32]:
    """Dropout as a factor of the features, the same in every framework: 0, or 1 / (1 - rate).

    Args:
        batch: Its keys seed the numbers.
        shape: Of one clip's features, [T', H', W', C'].
        rate: The share that becomes 0.

    Returns:
        [B, T', H', W', C'].

    Raises:
        ValueError: The rate is not from 0 to below 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout must be from 0 to below 1. Received: {rate}.")
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
