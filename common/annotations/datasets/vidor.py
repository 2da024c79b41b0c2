"""VidOR: relations between the objects of 10,000 everyday videos, with boxes on every frame.

X. Shang et al., Annotating Objects and Relations in User-Generated Videos, ICMR 2019.
https://xdshang.github.io/docs/vidor.html

The annotation folder holds `{training,validation}/<group>/<video>.json`; the 2,165 test videos have
no annotations. Videos are `<group>/<video>.mp4`. An action is a span of frames, 0-based as decoded,
end exclusive: label row f belongs to the f-th decoded frame, which is image f + 1 if images are
numbered from 1. Boxes are inclusive pixels in the file, and half-open here.

The classes are the 42 actions, or, with the variant "predicates", these and the 8 spatial
relations, in the fixed order of the I3D ports. (VidVRD-helper sorts the names it has seen.)
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.annotations import Action, Record, label_maps
from common.annotations.datasets import readers
from common.annotations.datasets.dataset import Dataset
from common.io import check_json, check_shape, listing, load_json

# Left, upper, right, lower in pixels; right and lower are exclusive.
Box = tuple[float, float, float, float]

_MAPS = {"actions": label_maps.VIDOR_ACTIONS, "predicates": label_maps.VIDOR_PREDICATES}

_VERSION = "VERSION 1.0"
_SUBSETS = ("training", "validation")

_MOST_ERRORS = 10

# Shapes for `common.io.check_shape`.
_RELATION = {
    "predicate": str,
    **dict.fromkeys(("subject_tid", "object_tid", "begin_fid", "end_fid"), int),
}
_VIDEO = {
    "video_path": str,
    "frame_count": int,
    "fps": float,
    "subject/objects": [{"tid": int}],
    "relation_instances": [_RELATION],
}
_BOX = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), float)
_TRACKLETS = {"subject/objects": [{"tid": int}], "trajectories": [[{"tid": int, "bbox": _BOX}]]}


def read(folder: Path, variant: str) -> tuple[tuple[str, ...], list[Record]]:
    """Returns the classes, and the videos of both subsets sorted by group and video.

    An action towards two objects becomes two equal spans. Spans that leave the video, or end before
    they start, are kept; they match no frame there.

    Raises:
        FileNotFoundError: The folder does not exist, or has no annotations.
        ValueError: Files are malformed; the text names ten and how many more there are.
    """
    classes = label_maps.load(_MAPS[variant])
    paths = [
        (subset, path) for subset in _SUBSETS for path in sorted((folder / subset).glob("*/*.json"))
    ]
    if not paths:
        readers.missing(folder, [f"{subset}/<group>/<video>.json" for subset in _SUBSETS])
    records, errors = [], []
    for subset, path in paths:
        try:
            records.append(_record(path, subset, len(classes)))
        except ValueError as error:
            errors.append(str(error))
    if errors:
        more = len(errors) - _MOST_ERRORS
        last = [f"{more:,} more files are malformed."] if more > 0 else []
        raise ValueError("\n".join(errors[:_MOST_ERRORS] + last))
    return classes, records


def candidates(record: Record) -> Iterator[Record]:
    """Yields videos, then frame folders, with and without `video/` and the subset's folder."""
    folders = ("", "video/", f"{record.subset}/", f"video/{record.subset}/")
    for suffix in (".mp4", ""):
        for folder in folders:
            yield dataclasses.replace(record, path=f"{folder}{record.name}{suffix}")


def tracklets(path: Path) -> dict[int, dict[int, Box]]:
    """Maps tracklets and 0-based frames to half-open boxes: the file's maximum plus 1.

    An object that leaves the picture has gaps.

    Args:
        path: The annotation file of a video: `record.boxes` in the annotation folder.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is malformed.
    """
    content = _load(path, _TRACKLETS)
    found: dict[int, dict[int, Box]] = {entry["tid"]: {} for entry in content["subject/objects"]}
    for frame, entries in enumerate(content["trajectories"]):
        for entry in entries:
            tid, bbox = entry["tid"], entry["bbox"]
            left, upper, right, lower = (float(bbox[key]) for key in _BOX)
            if tid not in found or frame in found[tid] or right < left or lower < upper:
                raise ValueError(
                    f"{path}: frame {frame}: expected one box for each of the objects "
                    f"{listing(map(str, found))}, with xmin <= xmax and ymin <= ymax. Received: "
                    f"object {tid} at {bbox}."
                )
            found[tid][frame] = (left, upper, right + 1, lower + 1)
    return found


def _record(path: Path, subset: str, num_classes: int) -> Record:
    content = _load(path, _VIDEO)
    predicates = readers.indexed(label_maps.load(label_maps.VIDOR_PREDICATES))  # actions first
    name = f"{path.parent.name}/{path.stem}"
    frames, fps = content["frame_count"], content["fps"]
    if content["video_path"] != f"{name}.mp4":
        raise ValueError(
            f"{path}: describes the video {content['video_path']!r}, expected {f'{name}.mp4'!r}. "
            "Move the file to the group of its video."
        )
    if frames < 1 or fps <= 0:
        raise ValueError(
            f"{path}: expected a frame_count and an fps above 0, got {frames} and {fps}."
        )
    tids = {entry["tid"] for entry in content["subject/objects"]}
    actions = []
    for number, entry in enumerate(content["relation_instances"]):
        where = f"{path}: relation {number}"
        predicate, begin, subject = entry["predicate"], entry["begin_fid"], entry["subject_tid"]
        if predicate not in predicates:
            raise ValueError(f"{where}: {predicate!r} is none of the 50 predicates of VidOR.")
        if not {subject, entry["object_tid"]} <= tids:
            raise ValueError(f"{where}: no object has the tid {subject}, or {entry['object_tid']}.")
        if begin < 0:
            raise ValueError(f"{where}: expected frames from 0 on, got begin_fid {begin}.")
        if predicates[predicate] < num_classes:
            actions.append(Action(predicates[predicate], begin, entry["end_fid"], subject))
    return Record(
        name=name,
        path=f"{name}.mp4",
        subset=subset,
        labels=tuple(sorted({action.label for action in actions})),
        actions=tuple(actions),
        unit="frames",
        duration=frames / fps,
        fps=float(fps),
        frames=frames,
        boxes=f"{subset}/{name}.json",
    )


def _load(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = check_json(load_json(path), dict, str(path))
    if content.get("version") != _VERSION:
        raise ValueError(
            f"{path}: expected version {_VERSION!r}, got {content.get('version')!r}. "
            "Files of VidVRD, which look alike, have none."
        )
    check_shape(content, shape, f"{path}: $")
    return content


DATASET = Dataset(
    name="vidor",
    title="VidOR",
    variant="labels",
    variants=tuple(_MAPS),
    read=read,
    counts={labels: {"training": (7_000,), "validation": (835,)} for labels in _MAPS},
    oddities={
        "videos without any action": lambda record: not record.actions,
        "spans end after the last frame: the excess has no effect": lambda record: any(
            action.end > (record.frames or 0) for action in record.actions
        ),
        "spans of no length, or less: they match no frame, but their class counts": lambda record: (
            any(action.end <= action.start for action in record.actions)
        ),
    },
    candidates=candidates,
)
