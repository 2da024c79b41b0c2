"""The training loop, the same for both frameworks: read `run` and `_Training.run`.

A framework brings a `Learner`; all else is here and in the modules beside. Everything random is a
pure function of the recipe's seed and the step, so that a run that was killed goes on from its
last snapshot as if nothing had been, in either framework.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from absl import logging

from common.io import listing
from common.training import exporting, journal, schedules, start
from common.training.batches import Batch, Batches
from common.training.clock import Clock
from common.training.journal import Journal
from common.training.learner import Learner, Measured
from common.training.plan import Plan
from common.training.recipes import Recipe
from common.training.schedules import Plateau
from common.training.snapshot import Snapshot
from common.training.snapshots import RunFolder

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


Create = Callable[..., Learner]
"""`create(net, arrays, recipe, contract)` of a framework's `learner`."""


def run(plan: Plan, create: Create, place: Place) -> str:
    """Trains from the beginning, or from the last snapshot, to the end.

    Args:
        plan: How to train, on what, and where to.
        create: Makes the framework's learner.
        place: Of this process among those that train together.

    Returns:
        What came of it, for people.

    Raises:
        ValueError, OSError: The folder is wrong or of another run, the loss is no number any more,
            or the disk is full; the last snapshot is whole.
    """
    _check(plan.recipe, place)
    begin, options = plan.begin, plan.options
    folder = RunFolder(options.output, plan.recipe.keep)
    with folder.lock() if place.rank == 0 else contextlib.nullcontext():
        found = folder.resume(options.resume, plan.first, place.restarted)
        logging.info("%s", start.describe(begin, options.checkpoint))
        learner = create(begin.net, begin.arrays, plan.recipe, begin.contract)
        if found is not None:
            logging.info("going on after step %d of %d", found.step, plan.recipe.steps)
            learner.restore(found.arrays)
        last = _Training(plan, place, learner, folder).run(found or plan.first)
        return _finish(plan, folder, last, place.backend) if place.rank == 0 else ""


@dataclasses.dataclass(frozen=True)
class _Training:
    """The loop itself, and what it needs."""

    plan: Plan
    place: Place
    learner: Learner
    folder: RunFolder

    def run(self, state: Snapshot) -> Snapshot:
        """From a snapshot to the last step; returns the last snapshot."""
        recipe = self.plan.recipe
        plateau = Plateau(**state.schedule) if state.schedule else Plateau(recipe.patience)
        with self._journal(state.step) as notes, self._batches(state.step) as batches:
            clock, since = Clock(), list[Measured]()
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
        validation, schedule = self.plan.validation, self.plan.recipe.schedule
        if validation is None or not (notes or schedule == "plateau"):
            return None
        found = validation.judge(self.learner)
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
        frames = self.plan.recipe.task == "frames"
        return "validation_mean_average_precision" if frames else "validation_accuracy"

    @contextlib.contextmanager
    def _journal(self, step: int) -> Iterator[Journal | None]:
        """What the run is written down in: by one process alone."""
        if self.place.rank != 0:
            yield None
            return
        options, steps = self.plan.options, self.plan.recipe.steps
        with Journal(options.output, steps, step, options.tensorboard) as notes:
            yield notes

    def _batches(self, step: int) -> Batches:
        plan, place = self.plan, self.place
        workers = plan.options.workers
        return Batches(plan.data, plan.recipe, step, workers, place.rank, place.count)


def _check(recipe: Recipe, place: Place) -> None:
    """Refuses, or warns of, batch norm that does not go with so many processes."""
    own = recipe.batch_norm == "train"  # running statistics are each process's
    if own and recipe.schedule == "plateau" and place.count > 1:
        raise ValueError(
            "with batch_norm=train every process has running statistics of its own, so that on the "
            f"schedule plateau the learning rates of {place.count} would part. Use --set "
            "batch_norm=sync or freeze, or another schedule."
        )
    clips = recipe.batch // recipe.accumulate // place.count
    if own and clips < _FEW and place.rank == 0:
        logging.warning(
            "batch norm sees %d clips at a time, whose statistics are poor below %d: consider "
            "--set batch_norm=freeze, or sync where several train together.",
            clips,
            _FEW,
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


def _finish(plan: Plan, folder: RunFolder, last: Snapshot, backend: str) -> str:
    """Writes the weights, the last and the best, their cards, their exports and the curves."""
    card = plan.card(backend)
    weights = exporting.finish(folder.path, last, card)
    lines = [f"trained {last.step} steps: {weights}"]
    if last.best:
        text = f"best at step {last.best.step}: {last.best.value:.4f}"
        best = folder.best(last)
        if best:
            text += f", {exporting.finish(folder.path, best, card, exporting.BEST)}"
        lines.append(text)
    exported = exporting.export(weights, plan.begin, plan.options.export)
    lines += [f"exported: {path}" for path in exported]
    with contextlib.suppress(FileNotFoundError):
        lines.append(f"curves: {journal.curves(folder.path)}")
    return "\n".join(lines)
