"""Validation during a run: loss and accuracy on one view of each validation video."""

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch
from common.evaluation import metrics, protocols, scoring
from common.io import listing
from common.models import Predictor
from common.training.data import TrainingSet
from common.training.recipes import Recipe

METRICS = {"classes": "validation_accuracy", "frames": "validation_mean_average_precision"}
"""The value that chooses the best weights, by task."""


def make_job(data: TrainingSet, recipe: Recipe, net: arch.Network, workers: int) -> scoring.Job:
    """Scoring one view of each video; for frame labels all of its frames."""
    frames = recipe.task == "frames"
    if frames and not any(record.actions for record in data.records):
        raise ValueError(f"none of the {len(data)} validation records has spans with labels.")
    least, _, _ = arch.smallest_size(net)
    protocol = protocols.PROTOCOLS["every_frame" if frames else "clip"]
    return scoring.Job(
        records=data.records,
        classes=tuple(map(str, range(net.num_classes))),
        reader=data.reader,
        stream=recipe.stream,
        protocol=protocol.filled(data.reader.contract, least),
        framed=frames,
        workers=min(workers, 4),
    )


def evaluate(job: scoring.Job, model: Predictor) -> dict[str, float]:
    """Loss, accuracy or mean average precision, and share of the clips that could be read."""
    scores = scoring.score(job, model)
    if frames := scores.frames:
        pair = frames.logits, frames.labels
        precision = metrics.mean_average_precision(*pair).value
        values = {"loss": binary_cross_entropy(*pair), "mean_average_precision": precision}
    else:
        pair = scores.logits, scores.labels
        values = {"loss": cross_entropy(*pair), "accuracy": metrics.top_k(*pair, 1)}
    if scores.failures:
        shown = listing(f"{name}: {reason}" for name, reason in scores.failures.items())
        logging.warning("validation clips that could not be read: %s", shown)
    values["coverage"] = len(scores.names) / scores.expected
    return {f"validation_{name}": value for name, value in values.items()}


def cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """Mean of -log softmax, [N, K] and [N]."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(values).sum(axis=1)) - chosen))


def binary_cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.uint8]) -> float:
    """Mean binary cross entropy over all classes, [N, K] both."""
    values = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, values) - values * labels))
