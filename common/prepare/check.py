"""Checks videos; what `--help` prints is the docstring of `Settings`."""

import contextlib
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from common import command, hardware, video
from common.annotations import Annotations, Record
from common.io import check_target, escape, load_json, to_json, write_text
from common.jobs import inputs, runs
from common.jobs.runs import Outcome
from common.jobs.settings import RunSettings
from common.jobs.task import Item
from common.settings import setting

KINDS = {
    "missing": "not there",
    "empty": "empty files",
    "unreadable": "cannot be read, are damaged or cut short",
    "too_short": "too short",
    "mismatch": "do not fit their annotation",
}

_SHOWN = 5  # examples of a kind in the summary
_SLACK = 1.0  # seconds, or a tenth, by which annotations and videos may differ in length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """Checks all videos before anything long starts, and writes report.json and report.txt.

        python -m common.prepare.check --input=UCF-101 --output=report
        python -m common.prepare.check --input=UCF-101 --annotations=ucf101_1.json --output=report

    Decodes every video from beginning to end. Files that are missing, empty, unreadable, cut short
    or too short are named with the reason; so are those that do not fit their annotation, and those
    that no annotation names. The exit status is 1 if more than --allow_failures cannot be used.

    Measurements stay in OUTPUT/findings: a second run, with other annotations or --min_frames too,
    decodes only videos that are new or did not decode, and writes the report anew.
    """

    min_frames: int = setting(
        "Videos of fewer frames are too short; InceptionI3D needs 9.", 9, minimum=1
    )

    command = "check"

    def parameters(self) -> Mapping[str, object]:
        return {}  # expectations are compared with the measurements later

    def targets(self, item: Item) -> Sequence[str]:
        # With the suffix, since here a.mp4 and a.avi may stand side by side.
        return (f"findings/{item.name}{item.source.suffix}.json",)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        found = video.measure(item.source, hardware.own_threads())
        start, end = item.start or 0, math.inf if item.end is None else item.end
        inside = found.frames  # of a folder, which has no times
        if found.times is not None:  # frames that begin within the item's span
            inside = sum(start <= time < end for time in found.times)
        content = {name: getattr(found, name) for name in ("width", "height", "fps", "frames")}
        content |= {"seconds": found.duration or 0, "inside": inside}
        temporary[0].write_text(to_json(content), encoding="ascii")
        return {"frames": found.frames or 0}


def main(settings: Settings) -> int:
    known = settings.read_annotations()
    items = settings.items()
    json_path, text_path = (settings.output / name for name in ("report.json", "report.txt"))
    try:
        ours = "findings" in load_json(json_path)
    except (OSError, ValueError, TypeError):
        ours = False
    for path in (json_path, text_path):
        check_target(path, settings.overwrite or ours)
    outcomes = runs.run(settings, items, settings)
    if settings.dry_run:
        count = sum(outcome.state != "skipped" for outcome in outcomes)
        print(f"check: {count} videos to look at")
        return 0
    records = {record.name: record for record in known.records} if known else {}
    findings = [
        _finding(item, outcome, settings, records.get(item.name))
        for item, outcome in zip(items, outcomes, strict=True)
    ]
    content = report(findings, known)
    if known and not settings.limit:
        named = {item.source for item in items}
        with contextlib.suppress(FileNotFoundError):  # nothing but the items
            there = inputs.items(settings.input, output=settings.output)
            content["unlisted"] = [item.name for item in there if item.source not in named]
    text = summary(content)
    write_text(json_path, to_json(content))
    write_text(text_path, f"{text}\n")
    print(text)
    return int(content["videos"] - content["good"] > settings.allow_failures)


def judge(
    item: Item, measured: Mapping[str, Any], min_frames: int, record: Record | None
) -> tuple[str, str]:
    """What is wrong with a source that was measured, one of `KINDS`, and why; or nothing."""
    seconds, start, end = measured["seconds"], item.start or 0, item.end
    if 0 < seconds <= start:
        return "mismatch", f"the clip begins at {start:g} s, the video ends at {seconds:.2f} s"
    if seconds and end is not None and end > seconds + _slack(end - start):
        return "mismatch", f"the clip ends at {end:g} s, the video at {seconds:.2f} s"
    if measured["inside"] < min_frames:
        return "too_short", f"expected at least {min_frames} frames, got {measured['inside']}"
    path, is_folder = PurePosixPath(record.path if record else ""), not seconds
    extracted = is_folder and item.source.parts[-len(path.parts) :] != path.parts
    if record is None or record.start is not None or extracted:  # not of the whole source
        return "", ""
    what, frames, how = "folder" if is_folder else "video", measured["frames"], ""
    # Without the video's own rate, the annotation counts frames extracted at another rate.
    if (is_folder or record.fps) and record.frames not in (None, frames):
        return "mismatch", f"the annotation has {record.frames} frames, the {what} {frames}"
    if is_folder and record.fps:
        seconds, how = frames / record.fps, f" ({frames} frames at {record.fps:g} a second)"
    stated = record.duration
    if not seconds or stated is None or abs(stated - seconds) <= _slack(stated):
        return "", ""
    return "mismatch", f"the annotation has {stated:g} s, the {what} {seconds:.2f} s{how}"


def report(
    findings: Sequence[dict[str, Any]], annotations: Annotations | None = None
) -> dict[str, Any]:
    """The report, for JSON; with annotations, their clips are counted by class."""
    problems = Counter(each["problem"] for each in findings if each["problem"])
    content = {
        "videos": len(findings),
        "good": len(findings) - problems.total(),
        "problems": dict(problems),
        "frames": sum(each.get("frames", 0) for each in findings),
        "hours": round(sum(each.get("seconds", 0) for each in findings) / 3600, 3),
        "findings": findings,
    }
    if annotations is not None:
        by_name = {each["name"]: each["problem"] for each in findings}  # those within --limit
        records = [each for each in annotations.records if each.name in by_name]
        expected = Counter(label for each in records for label in each.labels)
        good = Counter(k for each in records if not by_name[each.name] for k in each.labels)
        names = annotations.classes or {label: str(label) for label in expected}
        content["coverage"] = {
            names[k]: {"expected": expected[k], "good": good[k]} for k in sorted(expected)
        }
    return content


def summary(content: Mapping[str, Any]) -> str:
    findings = content["findings"]
    sizes = (f"{each['width']}x{each['height']}" for each in findings if "width" in each)
    rates = (f"{each['fps']:.5g}" for each in findings if each.get("fps"))
    lines = [
        f"{content['videos']} videos, {content['good']} good; {content['frames']} frames, "
        f"{content['hours']} hours",
        f"sizes: {_most_common(sizes)}",
        f"frames a second: {_most_common(rates)}",
    ]
    for kind, about in KINDS.items():
        if some := [each for each in findings if each["problem"] == kind]:
            lines.append(f"{len(some)} {about}:")
            lines += _some([f"{each['name']}: {each['reason']}" for each in some])
    if unlisted := content.get("unlisted"):
        lines.append(f"{len(unlisted)} videos that the annotations do not name:")
        lines += _some(unlisted)
    if coverage := content.get("coverage"):
        short = [(name, row) for name, row in coverage.items() if row["good"] < row["expected"]]
        short.sort(key=lambda named: named[1]["good"] / named[1]["expected"])
        lines.append(f"{len(coverage) - len(short)} of {len(coverage)} classes are complete")
        lines += _some([f"{name}: {row['good']} of {row['expected']}" for name, row in short])
    return "\n".join(lines)


def _finding(
    item: Item, outcome: Outcome, settings: Settings, record: Record | None
) -> dict[str, Any]:
    measured = {}
    if outcome.state != "failed":
        path = settings.output / settings.targets(item)[0]
        measured = json.loads(path.read_text(encoding="ascii"))
        problem, reason = judge(item, measured, settings.min_frames, record)
        del measured["inside"]
    elif not os.path.exists(item.source):
        problem, reason = "missing", "there is no such file"
    elif item.source.is_file() and not item.source.stat().st_size:
        problem, reason = "empty", "the file is empty"
    else:
        problem, reason = "unreadable", " ".join(outcome.reason.split())
    source = str(item.source)
    return {"name": item.name, "source": source, "problem": problem, "reason": reason, **measured}


def _slack(seconds: float) -> float:
    return max(_SLACK, seconds / 10)


def _some(lines: Sequence[str]) -> list[str]:
    return [f"  {escape(line)}" for line in _first(lines)]


def _first(rows: Sequence[str]) -> list[str]:
    return [*rows[:_SHOWN], *([f"and {len(rows) - _SHOWN} more"] if rows[_SHOWN:] else [])]


def _most_common(values: Iterable[str]) -> str:
    rows = [f"{name} ({count})" for name, count in Counter(values).most_common()]
    return ", ".join(_first(rows)) or "none"


if __name__ == "__main__":
    command.start(main, Settings)
