"""Measures videos, finds those that cannot be used, and writes the report."""

import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from common import hardware, video
from common.annotations import Annotations, Record
from common.io import check_target, escape, listing, load_json, to_json, write_text
from common.jobs import inputs, run_item, runs
from common.jobs.runs import Report, Settings
from common.jobs.task import Item

KINDS = {
    "missing": "not there",
    "empty": "empty files",
    "unreadable": "cannot be read, are damaged or cut short",
    "too_short": "too short",
    "mismatch": "do not fit their annotation",
}

REPORTS = ("report.json", "report.txt")

_FINDINGS = "findings"
_VERSION = 1  # of the files in there
_MOST_BYTES = 255  # of a file's name, on every usual file system
_SHOWN = 5  # examples of a kind in the summary
_SLACK = 1.0  # seconds, or a tenth, by which annotations and videos may differ in length


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result for one video.

    Attributes:
        name: The item's.
        source: The file, or the folder of frames.
        problem: One of `KINDS`, or empty.
        reason: Why, for people.
        width: Width as shown, pixels.
        height: Height as shown, pixels.
        fps: Frames a second, according to the header.
        frames: Decoded frames of the whole source.
        seconds: End of the last frame; 0 for a folder, which has no times.
    """

    name: str
    source: str
    problem: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    fps: float | None = None
    frames: int = 0
    seconds: float = 0


@dataclasses.dataclass(frozen=True)
class CheckTask:
    """Decodes each video from beginning to end and writes the measurements as JSON.

    Expectations are not parameters: they are compared with the measurements later. A video that
    does not decode fails, so that the next run tries it again: it may have been fetched anew.
    """

    command = "check"

    def parameters(self) -> Mapping[str, object]:
        return {"version": _VERSION}

    def targets(self, item: Item) -> Sequence[str]:
        return (f"{_FINDINGS}/{item.name}.json",)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        (path,) = temporary
        found = video.measure(item.source, hardware.own_threads())
        times = found.times
        start, end = item.start or 0, math.inf if item.end is None else item.end
        content = {
            "width": found.width,
            "height": found.height,
            "fps": found.fps,
            "frames": found.frames,
            "seconds": found.duration or 0,
            # Frames that begin within the item's span; a folder has no times.
            "inside": found.frames if times is None else sum(start <= t < end for t in times),
        }
        path.write_text(to_json(content), encoding="ascii")
        return {"frames": found.frames or 0}


def run(items: Sequence[Item], settings: Settings) -> Report:
    """Measures the items that have not been measured yet; see `runs.run`."""
    return runs.run(CheckTask(), dict.fromkeys(_distinct(items)), settings)


def findings(items: Sequence[Item], ran: Report, min_frames: int = 1) -> list[Finding]:
    """The findings of a run, in the order of its items; with fewer frames they are too short."""
    found = []
    for item, key in zip(items, _distinct(items), strict=True):
        if key.name in ran.reasons:
            found.append(_failed(item, ran.reasons[key.name]))
        else:
            (target,) = CheckTask().targets(key)
            measured = json.loads((ran.settings.output / target).read_text(encoding="ascii"))
            found.append(_measured(item, measured, min_frames))
    return found


def compare(findings: Iterable[Finding], records: Iterable[Record]) -> list[Finding]:
    """The findings, compared with the annotations of whole videos."""
    by_name = {record.name: record for record in records}
    compared = []
    for finding in findings:
        record = by_name.get(finding.name)
        reason = _mismatch(finding, record) if record and not finding.problem else ""
        compared.append(_problem(finding, "mismatch", reason) if reason else finding)
    return compared


def unlisted(path: str | os.PathLike[str], items: Iterable[Item]) -> list[str]:
    """Names of videos under `path` that are none of the items."""
    known = {item.source for item in items}
    try:
        there = inputs.items(path)
    except FileNotFoundError:  # nothing at all
        return []
    return [item.name for item in there if item.source not in known]


def report(
    findings: Sequence[Finding],
    annotations: Annotations | None = None,
    unlisted: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The report, for JSON; with annotations, their clips are counted by class.

    `unlisted` are the videos that the annotations do not name; None if that is unknown.
    """
    problems = Counter(finding.problem for finding in findings if finding.problem)
    content: dict[str, Any] = {
        "videos": len(findings),
        "good": len(findings) - problems.total(),
        "problems": dict(problems),
        "frames": sum(finding.frames for finding in findings),
        "hours": round(sum(finding.seconds for finding in findings) / 3600, 3),
    }
    if annotations is not None:
        content["coverage"] = _coverage(findings, annotations)
    if unlisted is not None:
        content["unlisted"] = list(unlisted)
    content["findings"] = [dataclasses.asdict(finding) for finding in findings]
    return content


def summary(content: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """The report for people."""
    sizes = Counter(f"{each.width}x{each.height}" for each in findings if each.width)
    rates = Counter(f"{each.fps:.5g}" for each in findings if each.fps)
    lines = [
        f"{content['videos']} videos, {content['good']} good; {content['frames']} frames, "
        f"{content['hours']} hours",
        f"sizes: {_most_common(sizes)}",
        f"frames a second: {_most_common(rates)}",
    ]
    for kind, about in KINDS.items():
        some = [finding for finding in findings if finding.problem == kind]
        if some:
            lines.append(f"{len(some)} {about}:")
            lines += _some([f"{each.name}: {each.reason}" for each in some])
    if unlisted := content.get("unlisted"):
        lines.append(f"{len(unlisted)} videos that the annotations do not name:")
        lines.append(f"  {escape(listing(unlisted, _SHOWN))}")
    if coverage := content.get("coverage"):
        worst = sorted(coverage.items(), key=lambda row: row[1]["good"] / row[1]["expected"])
        short = [row for row in worst if row[1]["good"] < row[1]["expected"]]
        lines.append(f"{len(coverage) - len(short)} of {len(coverage)} classes are complete")
        lines += _some([f"{name}: {row['good']} of {row['expected']}" for name, row in short])
    return "\n".join(lines)


def check_reports(folder: Path, overwrite: bool) -> None:
    """Checks that the reports can be written; those of an earlier check are replaced.

    Raises:
        FileExistsError: There are other files of these names, and `overwrite` is false.
        IsADirectoryError, PermissionError: They cannot be written.
    """
    try:
        ours = "findings" in load_json(folder / REPORTS[0])
    except (OSError, ValueError, TypeError):
        ours = False
    for name in REPORTS:
        check_target(folder / name, overwrite or ours)


def write(folder: Path, content: Mapping[str, object], text: str) -> None:
    """Writes report.json and report.txt, each atomically."""
    for name, written in zip(REPORTS, (to_json(content), f"{text}\n"), strict=True):
        write_text(folder / name, written)


def _distinct(items: Sequence[Item]) -> list[Item]:
    """The items with distinct names that fit a file name; here, two items may share a name."""
    count = Counter(item.name for item in items)

    def name(item: Item) -> str:
        file = f"{PurePosixPath(item.name).name}.json"
        if count[item.name] == 1 and len(os.fsencode(file)) <= _MOST_BYTES:
            return item.name
        return run_item.key(item.name, str(item.source.absolute()))

    return [dataclasses.replace(item, name=name(item)) for item in items]


def _failed(item: Item, reason: str) -> Finding:
    """The finding for a source that could not be measured."""
    finding = Finding(item.name, str(item.source))
    try:
        if not item.source.exists():
            return _problem(finding, "missing", "there is no such file")
        if item.source.is_file() and not item.source.stat().st_size:
            return _problem(finding, "empty", "the file is empty")
    except OSError:  # the reason says it
        pass
    return _problem(finding, "unreadable", reason)


def _measured(item: Item, measured: Mapping[str, Any], min_frames: int) -> Finding:
    """The finding for measurements: too short, or the item's span is not inside, or good."""
    known = {name: value for name, value in measured.items() if name != "inside"}
    finding = Finding(item.name, str(item.source), **known)
    start, end = item.start or 0, item.end
    if finding.seconds and start and start >= finding.seconds:
        text = f"the clip begins at {start:g} s, the video ends at {finding.seconds:.2f} s"
        return _problem(finding, "mismatch", text)
    if finding.seconds and end is not None and end > finding.seconds + _slack(end - start):
        text = f"the clip ends at {end:g} s, the video at {finding.seconds:.2f} s"
        return _problem(finding, "mismatch", text)
    if measured["inside"] < min_frames:
        text = f"expected at least {min_frames} frames, got {measured['inside']}"
        return _problem(finding, "too_short", text)
    return finding


def _mismatch(finding: Finding, record: Record) -> str:
    """What the annotation of a whole video says that is not so; empty if it agrees."""
    folder, path = not finding.seconds, PurePosixPath(record.path)
    extracted = folder and Path(finding.source).parts[-len(path.parts) :] != path.parts
    if record.start is not None or extracted:  # from the record's video, at any rate
        return ""
    what = "folder" if folder else "video"
    # Without the video's own rate, the annotation counts frames extracted at another rate.
    if (folder or record.fps) and record.frames not in (None, finding.frames):
        return f"the annotation has {record.frames} frames, the {what} {finding.frames}"
    seconds = finding.seconds
    if folder and record.fps:
        seconds = finding.frames / record.fps
    stated = record.duration
    if not seconds or stated is None or abs(stated - seconds) <= _slack(stated):
        return ""
    how = f" ({finding.frames} frames at {record.fps:g} a second)" if folder else ""
    return f"the annotation has {stated:g} s, the {what} {seconds:.2f} s{how}"


def _coverage(findings: Iterable[Finding], annotations: Annotations) -> dict[str, dict[str, int]]:
    """By class, the number of clips expected and the number that are good."""
    problems = {finding.name: finding.problem for finding in findings}
    expected: Counter[int] = Counter()
    good: Counter[int] = Counter()
    for record in annotations.records:
        if record.name in problems:  # the others are beyond --limit
            expected.update(record.labels)
            good.update(() if problems[record.name] else record.labels)
    classes = annotations.classes
    names = {label: classes[label] if classes else str(label) for label in expected}
    return {
        names[label]: {"expected": expected[label], "good": good[label]}
        for label in sorted(expected)
    }


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*(f"  {escape(line)}" for line in lines[:_SHOWN]), *more]


def _most_common(counts: Counter[str]) -> str:
    rows = [f"{name} ({count})" for name, count in counts.most_common(_SHOWN)]
    more = len(counts) - _SHOWN
    return ", ".join(rows) + (f" and {more} more" if more > 0 else "") if rows else "none"


def _problem(finding: Finding, kind: str, reason: str) -> Finding:
    return dataclasses.replace(finding, problem=kind, reason=" ".join(reason.split()))


def _slack(seconds: float) -> float:
    return max(_SLACK, seconds / 10)
