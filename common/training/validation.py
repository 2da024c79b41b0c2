"""Validation during a run: loss and accuracy on one view of each validation video."""

import dataclasses

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common import arch
from common.annotations import Annotations
from common.evaluation import metrics, protocols, scoring
from common.flow.stamp import FlowStamp
from common.models import Predictor
from common.preprocessing.contracts import InputContract
from common.training.data import TrainingSet
from common.training.recipes import Recipe
from common.video.clip_reader import ClipReader, Source

SUBSET = "validation"

METRICS = {"classes": "validation_accuracy", "frames": "validation_mean_average_precision"}
"""The value that chooses the best snapshot, by task."""


@dataclasses.dataclass(frozen=True)
class Validation:
    """The validation clips of a data set.

    Attributes:
        job: Scores one view of each video; for frame labels all of its frames.
        task: Task of the recipe.
        stamp: How their flow was computed; None for RGB, and for flow without a stamp.
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
        """The validation clips; None if the annotations have none.

        Raises:
            ValueError: See `TrainingSet`; or no frame has a label.
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
            frames = scores.frames
            assert frames is not None
            average = metrics.mean_average_precision(frames.logits, frames.labels).value
            loss = binary_cross_entropy(frames.logits, frames.labels)
            found = {"loss": loss, "mean_average_precision": average}
        else:
            scores = scoring.score_videos(self.job, model.scores)
            loss = cross_entropy(scores.logits, scores.labels)
            found = {"loss": loss, "accuracy": metrics.top_k(scores.logits, scores.labels, 1)}
        if scores.failures:
            name, reason = next(iter(scores.failures.items()))
            logging.warning(
                "%d of %d validation clips could not be read. %s: %s",
                len(scores.failures), scores.expected, name, reason,
            )  # fmt: skip
        found["coverage"] = len(scores.names) / scores.expected
        return {f"validation_{name}": value for name, value in found.items()}


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
