"""What an evaluation found: results.json, results.txt for people, a picture of the confusions."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from common import provenance
from common.evaluation import confusion_picture, metrics, table
from common.evaluation.scores import FrameScores, Scores
from common.io import write_text
from common.preprocessing.contracts import InputContract
from convert.published import Checkpoint

FILES = NAME, TEXT, PICTURE = "results.json", "results.txt", "confusion.png"


def results(scores: Scores) -> dict[str, Any]:
    """Everything as JSON has it; shares are 0 to 1, and None where there is nothing to share.

    With one class a video: `top_1`, `top_5` (None with five classes or fewer, where it says
    nothing), `mean_class_accuracy` and the classes' own; with labels of frames, `classification`
    of videos and `localisation` of moments. A video that failed counts nowhere but in `coverage`.
    """
    return {
        "coverage": {
            "expected": scores.expected,
            "evaluated": len(scores.names),
            "failed": len(scores.failures),
        },
        **(_of_frames(scores, scores.frames) if scores.frames else _of_classes(scores)),
        "failures": dict(scores.failures),
        "fusion": scores.fusion,
        "streams": list(scores.origins),
    }


def origin(
    path: Path,
    row: Checkpoint | None,
    contract: InputContract,
    backend: str,
) -> dict[str, object]:
    """Where the scores of a stream come from: weights, input contract and versions.

    Args:
        path: Of the checkpoint.
        row: Its row, if it is a published one.
        contract: How clips were made.
        backend: The package that computed.
    """
    return {
        "checkpoint": row.name if row else str(path),
        "weights": provenance.weights(path, row),
        "contract": dataclasses.asdict(contract),
        "backend": backend,
        "versions": provenance.versions(backend),
    }


def write(folder: Path, scores: Scores) -> str:
    """Writes all files, each a temporary one and a rename, and returns the text for the terminal.

    results.json comes last: where it is, the others are. With labels of frames there is no picture:
    classes that do not exclude each other are not taken for one another.

    Raises:
        ImportError: The picture needs matplotlib.
    """
    found = results(scores)
    write_text(folder / TEXT, table.text(found, rows=len(scores.classes)))
    if scores.frames is None:
        counts = metrics.confusion(scores.logits, scores.labels)
        confusion_picture.write(folder / PICTURE, counts, scores.classes, table.title(found))
    write_text(folder / NAME, provenance.to_json(found))
    return table.text(found)


def _of_classes(scores: Scores) -> dict[str, object]:
    counts = metrics.confusion(scores.logits, scores.labels)
    mean, absent = metrics.mean_class_accuracy(counts)
    classes = []
    for index, accuracy in enumerate(metrics.class_accuracy(counts)):
        row = counts[index].copy()
        row[index] = 0
        taken = int(row.argmax())
        classes.append(
            {
                "name": scores.classes[index],
                "videos": int(counts[index].sum()),
                "top_1": _share(accuracy),
                "most_taken_for": scores.classes[taken] if row[taken] else None,
                "so_often": int(row[taken]),
            }
        )
    few = len(scores.classes) <= 5
    return {
        "top_1": metrics.top_k(scores.logits, scores.labels, 1),
        "top_5": None if few else metrics.top_k(scores.logits, scores.labels, 5),
        "mean_class_accuracy": _share(mean),
        "absent_classes": absent,
        "classes": classes,
    }


def _of_frames(scores: Scores, frames: FrameScores) -> dict[str, object]:
    videos = metrics.charades_classification(scores.logits, scores.labels)
    moments = metrics.mean_average_precision(frames.logits, frames.labels)
    return {
        "classification": {
            "mean_average_precision": _share(videos.value),
            "absent_classes": videos.absent,
            "videos": len(scores.names),
        },
        "localisation": {
            "mean_average_precision": _share(moments.value),
            "absent_classes": moments.absent,
            "moments": len(frames.labels),
        },
        "classes": [
            {
                "name": name,
                "videos": int(scores.labels[:, index].sum()),
                "classification": _share(videos.per_class[index]),
                "moments": int(frames.labels[:, index].sum()),
                "localisation": _share(moments.per_class[index]),
            }
            for index, name in enumerate(scores.classes)
        ],
    }


def _share(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
