"""The training loop of both frameworks: read `train` from top to bottom.

A framework brings a `TrainStep`. Everything random is a pure function of the recipe's seed and the
step: a run that was killed continues from its last snapshot as if nothing had happened, in either
framework.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from absl import logging

from common import models
from common.io import listing
from common.training import checkpoints, logger, schedules
from common.training.checkpoints import RunFolder, Snapshot
from common.training.data import Batch, batches
from common.training.logger import MetricsLogger
from common.training.optim import StepResult, TrainStep
from common.training.recipes import Recipe
from common.training.run import Run
from common.training.schedules import Plateau
from common.training.validation import METRICS

_FEW = 8  # fewer clips make poor batch statistics


@dataclasses.dataclass(frozen=True)
class Rank:
    """The place of this process among those that train together.

    Attributes:
        backend: "i3d_tf" or "i3d_torch".
        index: Number of this process, from 0; process 0 writes.
        count: Number of processes.
        restarted: Whether all were started again because one had died.
    """

    backend: str
    index: int = 0
    count: int = 1
    restarted: bool = False


TrainStepClass = Callable[..., TrainStep]
"""`TrainStep(net, arrays, recipe, contract)` of a framework."""


def train(run: Run, train_step: TrainStepClass, rank: Rank) -> str:
    """Trains from the start, or from the last snapshot, to the end.

    Returns:
        A summary for people; empty except in process 0.

    Raises:
        ValueError, OSError: The folder belongs to another run, the loss is not finite, or the disk
            is full; the last snapshot is whole.
    """
    recipe, settings, first = run.recipe, run.settings, rank.index == 0
    _check(recipe, rank)
    folder = RunFolder(run.output, recipe.keep)
    with folder.lock() if first else contextlib.nullcontext():
        found = folder.resume(settings.resume, run.initial, rank.restarted)
        logging.info("%s", run.start.describe(settings.checkpoint))
        model = train_step(run.start.net, run.start.arrays, recipe, run.start.contract)
        if found is not None:
            logging.info("resuming after step %d of %d", found.step, recipe.steps)
            model.restore(found.arrays)
        last = _loop(run, model, folder, found or run.initial, rank)
        return _finish(run, folder, last, rank.backend) if first else ""


def _loop(
    run: Run, model: TrainStep, folder: RunFolder, snapshot: Snapshot, rank: Rank
) -> Snapshot:
    """Trains from a snapshot to the last step; returns the last snapshot."""
    recipe, workers = run.recipe, run.settings.workers or 0
    plateau = Plateau(**snapshot.schedule) if snapshot.schedule else Plateau(recipe.patience)
    window, waited, seconds = list[StepResult](), 0.0, 0.0  # since the last entry of the log
    with (
        _logger(run, snapshot.step, rank) as log,
        contextlib.closing(
            batches(run.data, recipe, snapshot.step, workers, rank.index, rank.count)
        ) as data,
    ):
        for step in range(snapshot.step, recipe.steps):  # from 0; `done` counts from 1
            done, last = step + 1, step + 1 == recipe.steps
            start = time.monotonic()
            parts = next(data)
            waited += time.monotonic() - start
            rate = schedules.rate(recipe, step, plateau.reductions)
            window.append(_step(model, parts, rate, step))
            seconds += time.monotonic() - start
            if log:
                if len(window) == done - snapshot.step == 1:
                    log.clip(done, f"training/{parts[0].names[0]}", parts[0].clips[0])
                log.advance(done, {"loss": window[-1].loss, "learning_rate": rate})
                if done % recipe.log_every == 0 or last:
                    speed = len(window) * recipe.batch / seconds
                    times = {"clips_per_second": speed, "data_wait": waited / seconds}
                    log.log(done, _means(window, rate) | times)
            if done % recipe.log_every == 0:
                window, waited, seconds = [], 0.0, 0.0

            validated = None
            due = done % recipe.evaluate_every == 0 or last
            # On a plateau every process must know the loss.
            if run.validation and due and (log or recipe.schedule == "plateau"):
                validated = run.validation.evaluate(model.predictor)
                if recipe.schedule == "plateau":
                    plateau = plateau.after(validated["validation_loss"])
                if log:
                    log.log(done, validated)

            if log and (validated or last or done % recipe.snapshot_every == 0):
                now = dataclasses.replace(
                    snapshot, step=done, arrays=model.state(), schedule=dataclasses.asdict(plateau)
                )
                value = validated[METRICS[recipe.task]] if validated else None
                snapshot = folder.write(now, value)
    return snapshot


@contextlib.contextmanager
def _logger(run: Run, step: int, rank: Rank) -> Iterator[MetricsLogger | None]:
    """The log of process 0; None in the others."""
    if rank.index:
        yield None
        return
    steps, tensorboard = run.recipe.steps, run.settings.tensorboard
    with MetricsLogger(run.output, steps, step, tensorboard) as log:
        yield log


def _step(model: TrainStep, parts: Sequence[Batch], rate: float, step: int) -> StepResult:
    try:
        return model.step(parts, rate)
    except FloatingPointError as error:
        names = listing({name for part in parts for name in part.names})
        raise ValueError(
            f"step {step}, learning rate {rate:g}: {str(error).rstrip('.')}. The clips were "
            f"{names}. The last snapshot is kept: try a lower learning rate, a warm-up, or "
            "clip gradients (--set clip_norm=...)."
        ) from error


def _means(window: Sequence[StepResult], rate: float) -> dict[str, float]:
    """Means over the steps since the last entry, and the learning rate of the last."""
    values = {
        "loss": fmean(each.loss for each in window),
        "learning_rate": rate,
        "gradient_norm": fmean(each.gradient_norm for each in window),
    }
    correct = [each.correct for each in window if each.correct is not None]
    return {**values, "accuracy": fmean(correct)} if correct else values


def _check(recipe: Recipe, rank: Rank) -> None:
    """Refuses batch norm that cannot work with so many processes, and warns of small batches."""
    own = recipe.batch_norm == "train"  # then each process has its own running statistics
    if own and recipe.schedule == "plateau" and rank.count > 1:
        raise ValueError(
            "with batch_norm=train every process has its own running statistics, so that on the "
            f"schedule plateau the learning rates of {rank.count} processes would diverge. Use "
            "--set batch_norm=sync or freeze, or another schedule."
        )
    clips = recipe.batch // recipe.accumulate // rank.count
    if own and clips < _FEW and rank.index == 0:
        logging.warning(
            "batch norm sees %d clips at a time; below %d their statistics are poor: consider "
            "--set batch_norm=freeze, or sync where several processes train together.",
            clips,
            _FEW,
        )


def _finish(run: Run, folder: RunFolder, last: Snapshot, backend: str) -> str:
    """Writes the last and best weights, their cards, the exports and the curves."""
    card = run.card(backend)
    weights = checkpoints.write_model(folder.path, last, card)
    lines = [f"trained {last.step} steps: {weights}"]
    if last.best:
        text = f"best at step {last.best.step}: {last.best.value:.4f}"
        if best := folder.best(last):
            text += f", {checkpoints.write_model(folder.path, best, card, 'model_best')}"
        lines.append(text)
    for dialect in run.settings.export:
        path = models.export(run.start.net, last.weights(), folder.path, dialect)
        lines.append(f"exported: {path}")
    with contextlib.suppress(FileNotFoundError):
        lines.append(f"curves: {logger.curves(folder.path)}")
    return "\n".join(lines)
