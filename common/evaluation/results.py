"""Results of an evaluation: results.json, results.txt for people, a picture of the confusions."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.evaluation import confusion_picture, metrics
from common.evaluation.confusion_picture import shortened
from common.evaluation.scores import FrameScores, Scores
from common.io import escape, to_json, write_text

FILES = NAME, TEXT, PICTURE = "results.json", "results.txt", "confusion.png"

_ROWS = 30  # classes in the terminal's table, the worst of them
_FAILURES = 10  # failures in a text


def results(scores: Scores) -> dict[str, Any]:
    """All results as JSON; shares are 0 to 1, and None where there is nothing to share.

    With one class a video: `top_1`, `top_5` (None with five classes or fewer, where it says
    nothing), `mean_class_accuracy` and the accuracy of each class; with labels of frames,
    `classification` of videos and `localisation` of moments. A video that failed counts only in
    `coverage`.
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


def write(folder: Path, scores: Scores) -> str:
    """Writes all files, each atomically, and returns the text for the terminal.

    results.json is written last: where it is, the others are. With labels of frames, whose classes
    do not exclude each other, there is no picture.

    Raises:
        ImportError: The picture needs matplotlib.
    """
    found = results(scores)
    write_text(folder / TEXT, text(found, rows=len(scores.classes)))
    if scores.frames is None:
        counts = metrics.confusion(scores.logits, scores.labels)
        streams = " + ".join(stream["stream"] for stream in found["streams"])
        title = f"{streams}: top-1 {_percent(found['top_1'])}"
        confusion_picture.write(folder / PICTURE, counts, scores.classes, title)
    write_text(folder / NAME, to_json(found))
    return text(found)


def text(found: Mapping[str, Any], rows: int = _ROWS) -> str:
    """The text for people.

    Args:
        found: What `results` returned.
        rows: The most classes to list; of more, the worst.
    """
    lines = [f"{stream['stream']}, {stream['protocol']['text']}" for stream in found["streams"]]
    if found["fusion"]:
        weights = " : ".join(f"{weight:g}" for weight in found["fusion"]["weights"])
        lines.append(f"fused by their {found['fusion']['how']}, {weights}")
    coverage = found["coverage"]
    failed = f"; {coverage['failed']} FAILED" if coverage["failed"] else ""
    lines.append(f"{coverage['evaluated']} of {coverage['expected']} videos{failed}")
    lines += ["", *_summary(found), ""]
    of_classes = "top_1" in found
    shown: list[dict[str, Any]] = found["classes"]
    if len(shown) > rows:
        lines.append(f"The worst {rows} of {len(shown)} classes:")
        key = "top_1" if of_classes else "localisation"
        present = [row for row in shown if row[key] is not None]
        shown = sorted(present, key=lambda row: row[key])[:rows]
    lines += _table(shown, of_classes)
    failures = list(found["failures"].items())
    if failures:
        lines += ["", "Failed:"]
        lines += [f"  {name}: {reason}" for name, reason in failures[:_FAILURES]]
        if len(failures) > _FAILURES:
            lines.append(f"  and {len(failures) - _FAILURES} more: see results.json")
    return "\n".join(escape(line) for line in lines) + "\n"


def _of_classes(scores: Scores) -> dict[str, object]:
    counts = metrics.confusion(scores.logits, scores.labels)
    accuracies = metrics.class_accuracy(counts)
    mean, absent = metrics.mean_of_present(accuracies)
    wrong = counts - np.diag(np.diag(counts))
    taken, often = wrong.argmax(axis=1), wrong.max(axis=1)
    few = len(scores.classes) <= 5
    return {
        "top_1": metrics.top_k(scores.logits, scores.labels, 1),
        "top_5": None if few else metrics.top_k(scores.logits, scores.labels, 5),
        "mean_class_accuracy": _share(mean),
        "absent_classes": absent,
        "classes": [
            {
                "name": name,
                "videos": int(counts[index].sum()),
                "top_1": _share(accuracies[index]),
                "most_taken_for": scores.classes[taken[index]] if often[index] else None,
                "so_often": int(often[index]),
            }
            for index, name in enumerate(scores.classes)
        ],
    }


def _of_frames(scores: Scores, frames: FrameScores) -> dict[str, object]:
    videos = metrics.charades_classification(scores.logits, scores.labels)
    moments = metrics.mean_average_precision(frames.logits, frames.labels)
    return {
        "classification": {**_mean(videos), "videos": len(scores.names)},
        "localisation": {**_mean(moments), "moments": len(frames.labels)},
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


def _mean(found: metrics.MeanAP) -> dict[str, object]:
    return {"mean_average_precision": _share(found.value), "absent_classes": found.absent}


def _summary(found: Mapping[str, Any]) -> list[str]:
    def absent(count: int) -> str:
        return f"({count} of {len(found['classes'])} classes absent, not counted)"

    if "top_1" in found:
        top_5 = "" if found["top_5"] is None else f"top-5 {_percent(found['top_5'])}, "
        return [
            f"top-1 {_percent(found['top_1'])}, {top_5}mean class accuracy "
            f"{_percent(found['mean_class_accuracy'])} {absent(found['absent_classes'])}"
        ]
    return [
        f"{what}: mAP {_percent(found[what]['mean_average_precision'])} of "
        f"{found[what][of]} {of} {absent(found[what]['absent_classes'])}"
        for what, of in (("classification", "videos"), ("localisation", "moments"))
    ]


def _table(classes: Sequence[Mapping[str, Any]], of_classes: bool) -> list[str]:
    """A line a class, aligned; a class's numbers to the right."""
    sides, head = "<>>>>", ["class", "videos", "AP", "moments", "AP"]
    if of_classes:
        sides, head = "<>><", ["class", "videos", "top-1", "most often taken for"]
    rows = [head]
    for row in classes:
        cells = [shortened(row["name"]), str(row["videos"])]
        if of_classes:
            taken = f"{row['most_taken_for']} ({row['so_often']})" if row["so_often"] else ""
            cells += [_percent(row["top_1"]), taken]
        else:
            cells += [_percent(row["classification"]), str(row["moments"])]
            cells.append(_percent(row["localisation"]))
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        padded = [f"{x:{side}{n}}" for x, side, n in zip(cells, sides, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _share(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
