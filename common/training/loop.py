"""The training loop of both frameworks, which bring a `TrainStep`: read `train` on downwards."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from absl import logging
from numpy.typing import NDArray

from common import models
from common.arch import Arrays
from common.evaluation import scoring
from common.io import listing
from common.model_card import ModelCard
from common.models import Model, Predictor
from common.training import checkpoints, logger, optim, validation
from common.training.checkpoints import Snapshot
from common.training.data import Batch, TrainingSet, batches
from common.training.logger import MetricsLogger
from common.training.optim import StepResult
from common.training.recipes import Recipe
from common.training.validation import METRICS


@dataclasses.dataclass(frozen=True)
class Rank:
    """The place of this process among those that train together."""

    backend: str  # "i3d_tf" or "i3d_torch"
    index: int = 0  # process 0 writes
    count: int = 1


class TrainStep(Protocol):
    """A network in training; implemented by `i3d_tf.train_step` and `i3d_torch.train_step`."""

    @property
    def predictor(self) -> Predictor:
        """Scores clips with the current weights, averaged where there is an average."""

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        """Updates the weights once, by the gradient of the mean loss over all micro-batches.

        With several replicas in this process, each takes its slice of every micro-batch. Raises
        `FloatingPointError`, and leaves the weights, if the loss or its gradient is not finite;
        `ValueError` if the device is out of memory.
        """

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays that training goes on from; see `optim.State`."""

    def restore(self, arrays: Arrays) -> None:
        """Sets the `state` of either framework; raises `CheckpointError` where it does not fit."""


TrainStepClass = Callable[..., TrainStep]  # takes net, arrays, recipe, contract


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run that can begin."""

    recipe: Recipe  # with its number of classes
    output: Path
    start: Model  # the network and its first weights
    data: TrainingSet
    validation: scoring.Job | None  # None if there are no validation clips
    initial: Snapshot  # step 0 without arrays; a snapshot must agree with it to be resumed from
    card: ModelCard  # of the weights, as far as it is known in advance
    workers: int  # processes that load clips; 0 loads them between the steps
    export: tuple[str, ...]  # dialects to write the last weights in, beside our own
    tensorboard: bool


def train(run: Run, train_step: TrainStepClass, rank: Rank) -> str:
    """Trains from the start, or from the last snapshot, to the end.

    Returns a summary for people, empty except in process 0. Raises `ValueError` and `OSError` if
    the folder belongs to another run, the loss is not finite, or the disk is full.
    """
    recipe, start = run.recipe, run.start
    run = dataclasses.replace(run, card=dataclasses.replace(run.card, backend=rank.backend))
    with contextlib.ExitStack() as stack:
        if not rank.index:
            stack.enter_context(checkpoints.locked(run.output))
        snapshot = checkpoints.latest(run.output)
        if snapshot:
            checkpoints.check_continues(snapshot, run.initial)
        logging.info("%s", "; ".join([f"{start.net.name} from {start.name}", *start.notes]))
        model = train_step(start.net, start.arrays, recipe, start.contract)
        if snapshot:
            logging.info("resuming after step %d of %d", snapshot.step, recipe.steps)
            model.restore(snapshot.arrays)
        last = _loop(run, model, snapshot or run.initial, rank)
        return "" if rank.index else _finish(run, last)


def _loop(run: Run, model: TrainStep, snapshot: Snapshot, rank: Rank) -> Snapshot:
    """Trains from a snapshot to the last step; returns the last snapshot."""
    recipe, first, log = run.recipe, snapshot.step, None
    window, waited, seconds = list[StepResult](), 0.0, 0.0  # since the last entry of the log
    parts = batches(run.data, recipe, first, run.workers, rank.index, rank.count)
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(contextlib.closing(parts))
        if not rank.index:
            log = MetricsLogger(run.output, recipe.steps, first, run.tensorboard)
            stack.enter_context(log)
        for step in range(first, recipe.steps):  # from 0; `done` counts from 1
            done, last = step + 1, step + 1 == recipe.steps
            begin = time.monotonic()
            batch = next(data)
            waited += time.monotonic() - begin
            rate = optim.learning_rate(recipe, step)
            result = _step(model, batch, rate, step)
            seconds += time.monotonic() - begin
            if not log:
                continue
            window.append(result)
            if step == first:
                log.clip(done, f"training/{batch[0].names[0]}", batch[0].clips[0])
            log.advance(done, {"loss": result.loss, "learning_rate": rate})
            if done % recipe.log_every == 0 or last:
                speed = len(window) * recipe.batch / seconds
                times = {"clips_per_second": speed, "data_wait": waited / seconds}
                log.log(done, {**_means(window), "learning_rate": rate, **times})
                window, waited, seconds = [], 0.0, 0.0
            evaluated = run.validation and (done % recipe.evaluate_every == 0 or last)
            if evaluated or last or done % recipe.snapshot_every == 0:
                snapshot = dataclasses.replace(snapshot, step=done, arrays=model.state())
                if run.validation and evaluated:
                    values = validation.evaluate(run.validation, model.predictor)
                    log.log(done, values)
                    value = values[METRICS[recipe.task]]
                    if snapshot.best is None or value > snapshot.best[1]:
                        # Before the snapshot that says so: a run that is killed loses neither.
                        checkpoints.write_model(run.output, snapshot, run.card, "model_best")
                        snapshot = dataclasses.replace(snapshot, best=(done, value))
                checkpoints.write(run.output, snapshot, recipe.keep)
    return snapshot


def _step(model: TrainStep, parts: Sequence[Batch], rate: float, step: int) -> StepResult:
    try:
        return model.step(parts, rate)
    except FloatingPointError as error:
        names = listing({name for part in parts for name in part.names})
        raise ValueError(
            f"step {step}, learning rate {rate:g}: {error} The clips were {names}. The last "
            "snapshot is kept: try a lower learning rate, a warm-up, or --set clip_norm=..."
        ) from error


def _means(window: Sequence[StepResult]) -> dict[str, float]:
    fields = {"loss": "loss", "gradient_norm": "gradient_norm", "accuracy": "correct"}
    columns = {name: [getattr(each, field) for each in window] for name, field in fields.items()}
    return {name: fmean(values) for name, values in columns.items() if None not in values}


def _finish(run: Run, last: Snapshot) -> str:
    weights = checkpoints.write_model(run.output, last, run.card)
    lines = [f"trained {last.step} steps: {weights}"]
    if last.best:
        (step, value), best = last.best, run.output / "model_best.safetensors"
        lines.append(f"best at step {step}: {value:.4f}, {best}")
    for dialect in run.export:
        path = models.export(run.start.net, last.weights(), run.output, dialect)
        lines.append(f"exported: {path}")
    if curves := logger.curves(run.output):
        lines.append(f"curves: {curves}")
    return "\n".join(lines)
