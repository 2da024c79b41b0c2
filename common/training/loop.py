"""The training loop, the same for both frameworks: read `run` and `_train` from top to bottom.

A framework brings a `Learner`; all else is here and in the modules beside. Everything random is a
pure function of the recipe's seed and the step, so that a run that was killed goes on from its
last snapshot as if nothing had been, in either framework.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from absl import logging

from common import annotation_files, digests, recipes, schedules
from common.annotations import Annotations
from common.clip_reader import Source
from common.errors import listing
from common.model_card import ModelCard
from common.recipes import Recipe
from common.schedules import Plateau
from common.training import exporting, journal, start
from common.training.batches import Batch, Batches
from common.training.examples import TrainingSet
from common.training.journal import Journal
from common.training.learner import Learner, Measured
from common.training.snapshots import RunFolder, Snapshot
from common.training.start import Start
from common.training.validation import Validation

_FEW = 8  # clips, below which the statistics of a batch are poor


@dataclasses.dataclass(frozen=True)
class Place:
    """Which of several processes that train together this one is.

    Attributes:
        backend: The package that computes: "i3d_tf" or "i3d_torch".
        rank: From 0; that one writes.
        count: How many there are.
        restarted: Whether all were started again because one of them had died.
    """

    backend: str
    rank: int = 0
    count: int = 1
    restarted: bool = False


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run is told beside its recipe.

    Attributes:
        annotations: The annotation file; its "training" records are trained on, its "validation"
            records evaluated on now and then.
        source: Where their frames and flow are.
        output: The folder of the run.
        checkpoint: Name or path of the weights to begin with; None begins with random ones.
        resume: "auto", "never" or the path of a snapshot.
        workers: Processes that load clips; 0 loads them in between.
        tensorboard: Whether to write for TensorBoard.
        export: Dialects that the weights at the end are written in, too.
    """

    annotations: Path
    source: Source
    output: Path
    checkpoint: str | None = None
    resume: str = "auto"
    workers: int = 2
    tensorboard: bool = True
    export: tuple[str, ...] = ()


Create = Callable[..., Learner]
"""`create(net, arrays, recipe, contract)` of a framework's `learner`."""


def run(recipe: Recipe, options: Options, create: Create, place: Place) -> str:
    """Trains from the beginning, or from the last snapshot, to the end.

    Args:
        recipe: How to train.
        options: On what, and where to.
        create: Makes the framework's learner.
        place: Of this process among those that train together.

    Returns:
        What came of it, for people.

    Raises:
        ValueError, OSError: Something in the data, the weights or the folder is wrong, the loss is
            no number any more, or the disk is full; the last snapshot is whole.
    """
    annotations = annotation_files.read(options.annotations)
    classes = _classes(annotations, recipe)
    begin = start.from_recipe(recipe, len(classes), options.checkpoint)
    exporting.check(begin, options.export)
    recipe = dataclasses.replace(recipe, num_classes=len(classes))
    data = TrainingSet(annotations, options.source, recipe, contract=begin.contract)
    validation = Validation.of(annotations, options.source, recipe, begin, options.workers)
    folder = RunFolder(options.output, recipe.keep)
    with folder.lock() if place.rank == 0 else contextlib.nullcontext():
        new = _first(begin, recipe, options, len(data))
        found = folder.resume("auto" if place.restarted else options.resume, new)
        logging.info("%s", start.describe(begin, options.checkpoint))
        _warn_of_small_batches(recipe, place)
        learner = create(begin.net, begin.arrays, recipe, begin.contract)
        if found is not None:
            logging.info("going on after step %d of %d", found.step, recipe.steps)
            learner.restore(found.arrays)
        training = _Training(recipe, options, place, learner, data, validation, folder)
        last = training.run(found or new)
        if place.rank != 0:
            return ""
        return _finish(folder, last, classes, begin, data, options, place)


@dataclasses.dataclass(frozen=True)
class _Training:
    """The loop itself, and what it needs."""

    recipe: Recipe
    options: Options
    place: Place
    learner: Learner
    data: TrainingSet
    validation: Validation | None
    folder: RunFolder

    def run(self, state: Snapshot) -> Snapshot:
        """From a snapshot to the last step; returns the last snapshot."""
        recipe, options, place = self.recipe, self.options, self.place
        plateau = Plateau(**state.schedule) if state.schedule else Plateau(recipe.patience)
        batches = Batches(self.data, recipe, state.step, options.workers, place.rank, place.count)
        with self._journal(state.step) as notes, batches:
            clock, since = _Clock(), list[Measured]()
            for step, parts in enumerate(batches, state.step):
                clock.waited(batches.waited)
                rate = schedules.rate(recipe, step, plateau.reductions)
                since.append(self._step(parts, rate, step))
                done, last = step + 1, step + 1 == recipe.steps
                if notes:
                    notes.advance(done)
                    if step == state.step:
                        notes.clip(done, f"training/{parts[0].names[0]}", parts[0].clips[0])
                    if done % recipe.log_every == 0 or last:
                        notes.note(done, _values(since, rate) | clock.lap(recipe.batch))
                        since.clear()
                judged = None
                if done % recipe.evaluate_every == 0 or last:
                    judged = self._evaluate(done, notes)
                    if judged and recipe.schedule == "plateau":
                        plateau = plateau.after(judged["validation_loss"])
                    clock.skip()
                if judged or last or done % recipe.snapshot_every == 0:
                    state = self._snapshot(state, done, plateau, judged)
                    clock.skip()
        return state

    def _step(self, parts: Sequence[Batch], rate: float, step: int) -> Measured:
        try:
            return self.learner.step(parts, rate)
        except FloatingPointError as error:
            names = listing({name for part in parts for name in part.names})
            raise ValueError(
                f"step {step}, learning rate {rate:g}: {str(error).rstrip('.')}. The clips were "
                f"{names}. The last snapshot is kept: try a lower learning rate, a warm-up, or "
                "clip gradients (--set clip_norm=...)."
            ) from error

    def _evaluate(self, done: int, notes: Journal | None) -> Mapping[str, float] | None:
        """Judges the weights of now; what depends on it has to be known to all processes."""
        if self.validation is None or not (notes or self.recipe.schedule == "plateau"):
            return None
        found = self.validation.judge(self.learner)
        if notes:
            notes.note(done, found)
        return found

    def _snapshot(
        self, before: Snapshot, done: int, plateau: Plateau, judged: Mapping[str, float] | None
    ) -> Snapshot:
        if self.place.rank != 0:
            return dataclasses.replace(before, step=done)
        now = dataclasses.replace(
            before, step=done, arrays=self.learner.state(), schedule=dataclasses.asdict(plateau)
        )
        return self.folder.write(now, judged[self.validation_value] if judged else None)

    @property
    def validation_value(self) -> str:
        """What the best snapshot is best at."""
        frames = self.recipe.task == "frames"
        return "validation_mean_average_precision" if frames else "validation_accuracy"

    @contextlib.contextmanager
    def _journal(self, step: int) -> Iterator[Journal | None]:
        """What the run is written down in: by one process alone."""
        if self.place.rank != 0:
            yield None
            return
        options = self.options
        with Journal(options.output, self.recipe.steps, step, options.tensorboard) as notes:
            yield notes


class _Clock:
    """Time since the last note, without what is no training: evaluations and snapshots."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._waited = self._waited_before = 0.0
        self._steps = 0

    def waited(self, seconds: float) -> None:
        """A step begins, and so long has been waited for data in all."""
        self._waited = seconds
        self._steps += 1

    def skip(self) -> None:
        """What went by since the last note does not count."""
        self._start, self._steps = time.monotonic(), 0
        self._waited_before = self._waited

    def lap(self, batch: int) -> dict[str, float]:
        """Rate of clips and share of time that was waited for data, since the last note."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        found = {
            "clips_per_second": self._steps * batch / seconds,
            "data_wait": min(1.0, (self._waited - self._waited_before) / seconds),
        }
        self.skip()
        return found


def _classes(annotations: Annotations, recipe: Recipe) -> tuple[str, ...]:
    """Names of the head's classes: the annotations', and numbers for those beyond."""
    count = recipe.num_classes or len(annotations.classes)
    if not count:
        raise ValueError(
            "the annotations do not say how many classes there are. Give --num_classes."
        )
    named = annotations.classes[:count]
    return (*named, *(f"class {index}" for index in range(len(named), count)))


def _warn_of_small_batches(recipe: Recipe, place: Place) -> None:
    clips = recipe.batch // recipe.accumulate // place.count
    if recipe.batch_norm == "train" and clips < _FEW:
        logging.warning(
            "batch norm sees %d clips at a time, whose statistics are poor below %d: consider "
            "--set batch_norm=freeze, or sync where several train together.",
            clips,
            _FEW,
        )


def _first(begin: Start, recipe: Recipe, options: Options, clips: int) -> Snapshot:
    """Where a run begins, and what a snapshot must agree with for it to go on."""
    digest = digests.sha256("").of(options.annotations)
    return Snapshot(
        step=0,
        architecture=begin.net.name,
        num_classes=begin.net.num_classes,
        in_channels=begin.net.in_channels,
        arrays={},
        recipe=recipes.to_json(recipe),
        data={"annotations": digest, "clips": clips, "weights": begin.weights},
    )


def _values(since: Sequence[Measured], rate: float) -> dict[str, float]:
    """What the steps since the last note have shown: means, and the last learning rate."""
    values = {
        "loss": fmean(each.loss for each in since),
        "learning_rate": rate,
        "gradient_norm": fmean(each.gradient_norm for each in since),
    }
    correct = [each.correct for each in since if each.correct is not None]
    return {**values, "accuracy": fmean(correct)} if correct else values


def _finish(
    folder: RunFolder,
    last: Snapshot,
    classes: tuple[str, ...],
    begin: Start,
    data: TrainingSet,
    options: Options,
    place: Place,
) -> str:
    """Writes the weights, their card, their exports and the curves."""
    card = ModelCard(
        stream=begin.contract.channels,
        classes=classes,
        contract=begin.contract,
        backend=place.backend,
        start=begin.weights,
        flow=dataclasses.asdict(data.stamp) if data.stamp else None,
    )
    weights = exporting.finish(folder.path, last, card)
    lines = [f"trained {last.step} steps: {weights}"]
    if last.best:
        lines.append(f"best at step {last.best.step}: {last.best.value:.4f}")
    lines += [f"exported: {path}" for path in exporting.export(weights, begin, options.export)]
    with contextlib.suppress(FileNotFoundError):
        lines.append(f"curves: {journal.curves(folder.path)}")
    return "\n".join(lines)
