"""Validation during a run: loss and accuracy on one view of each validation clip."""

import dataclasses

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch
from common.annotations import Annotations
from common.evaluation import metrics, protocols, scoring
from common.evaluation.scores import Scores
from common.flow.stamp import FlowStamp
from common.models import Predictor
from common.preprocessing.contracts import InputContract
from common.training.data import TrainingSet
from common.training.recipes import Recipe
from common.video.clip_reader import ClipReader, Source

SUBSET = "validation"

METRICS = {"classes": "validation_accuracy", "frames": "validation_mean_average_precision"}
"""By task, the value by which the best snapshot is chosen."""


@dataclasses.dataclass(frozen=True)
class Validation:
    """The validation clips of a data set.

    Attributes:
        job: What is scored: one view of each clip, for frame labels all of it.
        task: The recipe's.
        stamp: How their flow was made; None for RGB, and for flow without a stamp.
    """

    job: scoring.Job
    task: str
    stamp: FlowStamp | None

    @classmethod
    def of(
        cls,
        annotations: Annotations,
        source: Source,
        recipe: Recipe,
        net: arch.Network,
        contract: InputContract,
        workers: int,
    ) -> "Validation | None":
        """The validation clips; None where the annotations have none.

        Raises:
            ValueError: As `TrainingSet`, for these clips; or none of their frames has a label.
        """
        if SUBSET not in annotations.counts:
            logging.warning("no records for validation: the run will not be evaluated.")
            return None
        data = TrainingSet(annotations, source, recipe, contract, SUBSET)
        if recipe.task == "frames" and not any(record.actions for record in data.records):
            raise ValueError(
                f"none of the {len(data)} validation records has spans with labels, without which "
                "there is no average precision. Give them, or leave these records out of the "
                "annotations."
            )
        protocol = protocols.get("every_frame" if recipe.task == "frames" else "clip")
        least, _, _ = arch.smallest_size(net)
        job = scoring.Job(
            records=data.records,
            classes=tuple(map(str, range(net.num_classes))),
            reader=ClipReader(source, contract),
            stream=recipe.stream,
            protocol=protocol.filled(contract, least),
            workers=min(workers, 4),
        )
        return cls(job, recipe.task, data.stamp)

    def evaluate(self, model: Predictor) -> dict[str, float]:
        """Loss and accuracy, or mean average precision, of a model."""
        if self.task == "frames":
            scores = scoring.score_frames(self.job, model.frame_scores)
            found = _of_frames(scores)
        else:
            scores = scoring.score_videos(self.job, model.scores)
            found = _of_classes(scores)
        if scores.failures:
            name, reason = next(iter(scores.failures.items()))
            logging.warning(
                "%d of %d validation clips could not be read. %s: %s",
                len(scores.failures), scores.expected, name, reason,
            )  # fmt: skip
        found["coverage"] = len(scores.names) / scores.expected
        return {f"validation_{name}": value for name, value in found.items()}


def _of_classes(scores: Scores) -> dict[str, float]:
    return {
        "loss": cross_entropy(scores.logits, scores.labels),
        "accuracy": metrics.top_k(scores.logits, scores.labels, 1),
    }


def _of_frames(scores: Scores) -> dict[str, float]:
    frames = scores.frames
    if frames is None:
        raise ValueError("expected the scores of frames.")
    return {
        "loss": binary_cross_entropy(frames.logits, frames.labels),
        "mean_average_precision": metrics.mean_average_precision(
            frames.logits, frames.labels
        ).value,
    }


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
