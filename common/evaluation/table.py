"""The results of an evaluation as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.evaluation import confusion_picture
from common.io import escape

_ROWS = 30  # of classes, where not all are shown
_FAILURES = 10


def text(found: Mapping[str, Any], rows: int = _ROWS) -> str:
    """The results as a person reads them.

    Args:
        found: What `results.results` gave.
        rows: So many classes are shown; where there are more, the worst of them.
    """
    lines = [f"{stream['stream']}, {stream['protocol']['text']}" for stream in found["streams"]]
    if found["fusion"]:
        weights = " : ".join(f"{weight:g}" for weight in found["fusion"]["weights"])
        lines.append(f"fused by their {found['fusion']['how']}, {weights}")
    coverage = found["coverage"]
    failed = f"; {coverage['failed']} FAILED" if coverage["failed"] else ""
    lines.append(f"{coverage['evaluated']} of {coverage['expected']} videos{failed}")
    of_classes = "top_1" in found
    lines += ["", *(_class_lines if of_classes else _frame_lines)(found), ""]
    shown: list[dict[str, Any]] = found["classes"]
    if len(shown) > rows:
        lines.append(f"The worst {rows} of {len(shown)} classes:")
        key = "top_1" if of_classes else "localisation"
        present = [row for row in shown if row[key] is not None]
        shown = sorted(present, key=lambda row: row[key])[:rows]
    lines += _aligned((_class_table if of_classes else _frame_table)(shown))
    failures = list(found["failures"].items())
    if failures:
        lines += ["", "Failed:"]
        lines += [f"  {name}: {reason}" for name, reason in failures[:_FAILURES]]
        if len(failures) > _FAILURES:
            lines.append(f"  and {len(failures) - _FAILURES} more: see results.json")
    return "\n".join(escape(line) for line in lines) + "\n"


def title(found: Mapping[str, Any]) -> str:
    """What the picture of the confusions is of."""
    streams = " + ".join(stream["stream"] for stream in found["streams"])
    return f"{streams}: top-1 {_percent(found['top_1'])}"


def _class_lines(found: Mapping[str, Any]) -> list[str]:
    top_5 = "" if found["top_5"] is None else f"top-5 {_percent(found['top_5'])}, "
    return [
        f"top-1 {_percent(found['top_1'])}, {top_5}mean class accuracy "
        f"{_percent(found['mean_class_accuracy'])} ({_absent(found, found['absent_classes'])})"
    ]


def _frame_lines(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{what}: mAP {_percent(found[what]['mean_average_precision'])} of "
        f"{found[what][of]} {of} ({_absent(found, found[what]['absent_classes'])})"
        for what, of in (("classification", "videos"), ("localisation", "moments"))
    ]


def _absent(found: Mapping[str, Any], count: int) -> str:
    return f"{count} of {len(found['classes'])} classes absent, not counted"


def _class_table(classes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        ("class", "videos", "top-1", "most often taken for"),
        *(
            (
                row["name"],
                str(row["videos"]),
                _percent(row["top_1"]),
                f"{row['most_taken_for']} ({row['so_often']})" if row["so_often"] else "",
            )
            for row in classes
        ),
    ]


def _frame_table(classes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        ("class", "videos", "AP", "moments", "AP"),
        *(
            (
                row["name"],
                str(row["videos"]),
                _percent(row["classification"]),
                str(row["moments"]),
                _percent(row["localisation"]),
            )
            for row in classes
        ),
    ]


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Names to the left, numbers to the right, what comes last as it is."""
    table = [(confusion_picture.shortened(row[0]), *row[1:]) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = len(table[0]) == 4  # the last column
    lines = []
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        if text:
            cells[-1] = others[-1]
        lines.append("  ".join([f"{first:{widths[0]}}", *cells]).rstrip())
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
