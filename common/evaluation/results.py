"""Results of an evaluation: results.json, results.txt for people, a picture of the confusions."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import provenance
from common.evaluation import confusion_picture, metrics
from common.evaluation.confusion_picture import shortened
from common.evaluation.scores import FrameScores, Scores
from common.io import escape, write_text

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
    write_text(folder / NAME, provenance.to_json(found))
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
    lines += _class_table(shown) if of_classes else _frame_table(shown)
    failures = list(found["failures"].items())
    if failures:
        lines += ["", "Failed:"]
        lines += [f"  {name}: {reason}" for name, reason in failures[:_FAILURES]]
        if len(failures) > _FAILURES:
            lines.append(f"  and {len(failures) - _FAILURES} more: see results.json")
    return "\n".join(escape(line) for line in lines) + "\n"


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


def _class_table(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    taken = [
        f"{row['most_taken_for']} ({row['so_often']})" if row["so_often"] else "" for row in classes
    ]
    rows = [(row["name"], str(row["videos"]), _percent(row["top_1"])) for row in classes]
    lines = _aligned([("class", "videos", "top-1"), *rows])
    pairs = zip(lines, ["most often taken for", *taken], strict=True)
    return [f"{line}  {last}".rstrip() for line, last in pairs]


def _frame_table(classes: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            row["name"],
            str(row["videos"]),
            _percent(row["classification"]),
            str(row["moments"]),
            _percent(row["localisation"]),
        )
        for row in classes
    ]
    return _aligned([("class", "videos", "AP", "moments", "AP"), *rows])


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with names to the left and numbers to the right."""
    table = [(shortened(name), *numbers) for name, *numbers in table]
    first, *widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([f"{name:{first}}", *(f"{n:>{w}}" for n, w in zip(numbers, widths, strict=True))])
        for name, *numbers in table
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _share(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
