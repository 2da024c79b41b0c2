"""Results of an evaluation: results.json, results.txt for people, a picture of the confusions."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.evaluation import metrics
from common.evaluation.scores import FrameScores, Scores
from common.io import escape, replacing, to_json, write_text

FILES = NAME, TEXT, PICTURE = "results.json", "results.txt", "confusion.png"

_SHOWN = 30  # the most classes in the terminal's table
_LETTERS = 28  # of a class name in a table or picture
_NAMED = 150  # the most classes of a picture with names


def results(scores: Scores) -> dict[str, Any]:
    """All results as JSON; shares are 0 to 1, and None where there is nothing to share."""
    evaluated, failed = len(scores.names), len(scores.failures)
    return {
        "coverage": {"expected": scores.expected, "evaluated": evaluated, "failed": failed},
        **(_of_frames(scores, scores.frames) if scores.frames else _of_classes(scores)),
        "failures": dict(scores.failures),
        "fusion": scores.fusion,
        "streams": list(scores.origins),
    }


def write(folder: Path, scores: Scores) -> str:
    """Writes all files, results.json last, and returns the text for the terminal.

    With labels of frames, whose classes do not exclude each other, there is no picture.
    """
    found = results(scores)
    write_text(folder / TEXT, text(found, rows=len(scores.classes)))
    if scores.frames is None:
        streams = " + ".join(stream["stream"] for stream in found["streams"])
        draw(folder / PICTURE, scores, f"{streams}: top-1 {_cell(found['top_1'])}")
    write_text(folder / NAME, to_json(found))
    return text(found)


def text(found: Mapping[str, Any], rows: int = _SHOWN) -> str:
    """The text for people of what `results` returned; of more than `rows` classes without them."""
    lines = [f"{stream['stream']}, {stream['protocol']['text']}" for stream in found["streams"]]
    if found["fusion"]:
        weights = " : ".join(f"{weight:g}" for weight in found["fusion"]["weights"])
        lines.append(f"fused by their {found['fusion']['how']}, {weights}")
    shown, coverage = found["classes"], found["coverage"]
    failed = f"; {coverage['failed']} FAILED" if coverage["failed"] else ""
    lines.append(f"{coverage['evaluated']} of {coverage['expected']} videos{failed}")
    lines += ["", *_summary(found), ""]
    lines += _table(shown) if len(shown) <= rows else [f"{TEXT} has all {len(shown)} classes"]
    if failed:
        lines += ["", "Failed:", *(f"  {x}: {why}" for x, why in found["failures"].items())]
    return "\n".join(escape(line) for line in lines) + "\n"


def draw(path: Path, scores: Scores, title: str) -> None:
    """Draws the confusion matrix: a row is a true class, a colour the share of its videos."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts, count = metrics.confusion(scores.logits, scores.labels), len(scores.classes)
    videos = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(counts / np.where(videos, videos, np.nan))
    side = min(3 + 0.4 * count, 20)  # inches
    figure = Figure((side + 1.5, side), 150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, "viridis", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class's videos")
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="taken for", ylabel="true class")
    if count <= _NAMED:
        style: dict[str, Any] = {"fontsize": 9 if count <= 25 else 6, "parse_math": False}
        names = [_cell(escape(name)) for name in scores.classes]
        axes.set_xticks(range(count), names, rotation=90, **style)
        axes.set_yticks(range(count), names, **style)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _of_classes(scores: Scores) -> dict[str, object]:
    counts = metrics.confusion(scores.logits, scores.labels)
    accuracy = metrics.class_accuracy(counts)
    wrong = counts - np.diag(np.diag(counts))
    most = wrong.argmax(axis=1)
    taken = [scores.classes[k] if wrong[row, k] else None for row, k in enumerate(most)]
    top_1, top_5 = (metrics.top_k(scores.logits, scores.labels, k) for k in (1, 5))
    return {
        "top_1": top_1,
        "top_5": top_5 if len(scores.classes) > 5 else None,
        "mean_class_accuracy": _share(accuracy.value),
        "absent_classes": accuracy.absent,
        "classes": _rows(
            name=scores.classes,
            videos=counts.sum(axis=1).tolist(),
            top_1=map(_share, accuracy.per_class),
            most_taken_for=taken,
            times=wrong.max(axis=1).tolist(),
        ),
    }


def _of_frames(scores: Scores, frames: FrameScores) -> dict[str, object]:
    videos = metrics.charades_classification(scores.logits, scores.labels)
    moments = metrics.mean_average_precision(frames.logits, frames.labels)
    return {
        "classification": {**_mean(videos), "videos": len(scores.names)},
        "localisation": {**_mean(moments), "moments": len(frames.labels)},
        "classes": _rows(
            name=scores.classes,
            videos=scores.labels.sum(axis=0).tolist(),
            classification=map(_share, videos.per_class),
            moments=frames.labels.sum(axis=0).tolist(),
            localisation=map(_share, moments.per_class),
        ),
    }


def _rows(**columns: Iterable[object]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _mean(found: metrics.ClassMean) -> dict[str, object]:
    return {"mean_average_precision": _share(found.value), "absent_classes": found.absent}


def _summary(found: Mapping[str, Any]) -> list[str]:
    def absent(count: int) -> str:
        return f"({count} of {len(found['classes'])} classes absent, not counted)"

    if "top_1" in found:
        top_5 = "" if found["top_5"] is None else f"top-5 {_cell(found['top_5'])}, "
        return [
            f"top-1 {_cell(found['top_1'])}, {top_5}mean class accuracy "
            f"{_cell(found['mean_class_accuracy'])} {absent(found['absent_classes'])}"
        ]
    return [
        f"{what}: mAP {_cell(found[what]['mean_average_precision'])} of "
        f"{found[what][of]} {of} {absent(found[what]['absent_classes'])}"
        for what, of in (("classification", "videos"), ("localisation", "moments"))
    ]


def _table(classes: list[dict[str, Any]]) -> list[str]:
    """A line a class, aligned; names to the left, numbers to the right."""
    keys = list(classes[0]) if classes else []
    rows = [[key.replace("_", " ") for key in keys]]
    rows += [[_cell(row[key]) for key in keys] for row in classes]
    sides = ["<" if key in ("name", "most_taken_for") else ">" for key in keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return [line.format(*row).rstrip() for row in rows]


def _cell(value: str | float | None) -> str:
    """A share in percent, a count, a name, or - for none."""
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    shown = "-" if value is None else str(value)
    return shown if len(shown) <= _LETTERS else f"{shown[: _LETTERS - 1]}…"


def _share(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
