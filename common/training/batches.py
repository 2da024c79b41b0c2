"""Batches, step after step: the same whatever makes them and wherever a run begins.

Items go on over epochs without a break, each epoch in an order of its own, so that every batch is
full: item n is `order(seed, n // count, count)[n % count]` of epoch n // count.
"""

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from common.training.crew import Crew, Dataset, Key
from common.training.examples import Example
from common.training.recipes import Recipe

# What random numbers of (seed, epoch, item) are for. NumPy's generator takes [7, 0] and [7, 0, 0]
# for the same seed, so an example's own, [seed, epoch, index], end in a 0 that is not written.
_DROPOUT, _ORDER = 1, 2


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clips that go through the network together.

    Attributes:
        names: Of the records.
        clips: [B, T, H, W, C] uint8 RGB, or float32 flow in [-1, 1].
        targets: Classes [B], int64; or 0 and 1 of each frame and class, [B, T, K], float32.
        keys: Seed, epoch and index of each.
    """

    names: tuple[str, ...]
    clips: NDArray[np.uint8 | np.float32]
    targets: NDArray[np.int64 | np.float32]
    keys: tuple[tuple[int, int, int], ...]


class Batches(Iterator[list[Batch]]):
    """The batches of one replica: for each step a list of `recipe.accumulate` micro-batches.

    Step s has the items from s * batch on. Micro-batch a is the a-th part of them, and rank r has
    the r-th part of that; so two replicas together see what one would. Use it in a `with`.

    Attributes:
        step: The one that comes next.
        waited: Seconds so far that whoever asked for batches waited for them.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        start_step: int = 0,
        workers: int = 0,
        rank: int = 0,
        replicas: int = 1,
    ):
        """Starts the processes that read ahead.

        They are ahead by a step, or by two examples a worker where that is more.

        Args:
            dataset: Makes examples.
            recipe: Its batch, accumulate, seed and steps.
            start_step: The first.
            workers: Processes; 0 makes each example in this one, when it is asked for.
            rank: Which replica this is.
            replicas: How many there are.

        Raises:
            ValueError: No examples, or replicas and micro-batches that do not divide the batch.
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
        self.step = start_step
        self.waited = 0.0
        self._recipe = recipe
        self._count = len(dataset)
        self._size = recipe.batch // parts
        self._first = rank * self._size
        self._crew = Crew(dataset, workers) if workers else None
        keys = self._keys(start_step)
        self._examples = (
            self._crew.examples(keys, max(recipe.accumulate * self._size, 2 * workers))
            if self._crew
            else (dataset.example(*key) for key in keys)
        )

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> list[Batch]:
        """The micro-batches of the next step, up to the recipe's last.

        Raises:
            ItemError: An item cannot be read. This and the next end all workers.
            ChildProcessError: A worker died.
        """
        if self.step >= self._recipe.steps:
            raise StopIteration
        start = time.perf_counter()
        try:
            batches = [self._batch(part) for part in range(self._recipe.accumulate)]
        except BaseException:
            self.close()
            raise
        self.waited += time.perf_counter() - start
        self.step += 1
        return batches

    def close(self) -> None:
        """Ends the workers; may be called again."""
        if self._crew:
            self._crew.close()

    def _batch(self, part: int) -> Batch:
        keys = [self._key(n) for n in self._items(self.step, part)]
        examples = [next(self._examples) for _ in keys]
        return _stacked(examples, [(seed, epoch, index) for epoch, index, seed in keys])

    def _keys(self, start_step: int) -> Iterator[Key]:
        for step in range(start_step, self._recipe.steps):
            for part in range(self._recipe.accumulate):
                yield from map(self._key, self._items(step, part))

    def _items(self, step: int, part: int) -> range:
        """Numbers of the items of a micro-batch."""
        recipe = self._recipe
        first = step * recipe.batch + part * (recipe.batch // recipe.accumulate) + self._first
        return range(first, first + self._size)

    def _key(self, item: int) -> Key:
        epoch, place = divmod(item, self._count)
        seed = self._recipe.seed
        return epoch, int(order(seed, epoch, self._count)[place]), seed


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The indices 0 to count - 1 in the order of an epoch; read only."""
    indices = np.random.default_rng([seed, epoch, 0, _ORDER]).permutation(count)
    indices.flags.writeable = False
    return indices


def dropout_masks(batch: Batch, shape: Sequence[int], rate: float) -> NDArray[np.float32]:
    """What features are multiplied with, the same in every framework: 0, or 1 / (1 - rate).

    Args:
        batch: Whose items' keys the numbers are drawn from.
        shape: Of one item's features, [T', H', W', C'].
        rate: Share that becomes 0.

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


def _stacked(examples: Sequence[Example], keys: Sequence[tuple[int, int, int]]) -> Batch:
    targets = np.stack([example.target for example in examples])
    return Batch(
        names=tuple(example.name for example in examples),
        clips=np.stack([example.clip for example in examples]),
        targets=targets.astype(np.int64) if targets.ndim == 1 else targets,
        keys=tuple(keys),
    )
