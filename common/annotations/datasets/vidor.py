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
from common.annotations.datasets.dataset import Dataset, Slip
from common.io import check_json, json_field, load_json

# Left, upper, right, lower in pixels; right and lower are exclusive.
Box = tuple[float, float, float, float]

_MAPS = {"actions": label_maps.VIDOR_ACTIONS, "predicates": label_maps.VIDOR_PREDICATES}

_VERSION = "VERSION 1.0"
_SUBSETS = ("training", "validation")

_MOST_ERRORS = 10

_COUNTS = {"training": (7_000,), "validation": (835,)}


def records(annotations: Path, variant: str) -> list[Record]:
    """Returns the videos of both subsets, training first, sorted by group and video.

    An action towards two objects becomes two equal spans. Spans that leave the video, or end before
    they start, are kept; they match no frame there.

    Raises:
        FileNotFoundError: The folder does not exist, or has no annotations.
        ValueError: Files are malformed; the text names ten and how many more there are.
    """
    num_classes = len(classes(annotations, variant))
    paths = [
        (subset, path)
        for subset in _SUBSETS
        for path in sorted((annotations / subset).glob("*/*.json"))
    ]
    if not paths:
        readers.missing(annotations, [f"{subset}/<group>/<video>.json" for subset in _SUBSETS])
    found, wrong = [], []
    for subset, path in paths:
        try:
            found.append(_record(path, subset, num_classes))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"{len(wrong) - _MOST_ERRORS:,} more files are malformed."]
        raise ValueError("\n".join(wrong[:_MOST_ERRORS] + more * (len(wrong) > _MOST_ERRORS)))
    return found


def classes(annotations: Path, variant: str) -> tuple[str, ...]:
    """Returns the 42 actions or the 50 predicates; the annotations do not list them."""
    return label_maps.load(_MAPS[variant])


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
    content = _load(path)
    found: dict[int, dict[int, Box]] = {tid: {} for tid in _objects(content, path)}
    for frame, boxes in enumerate(_field(content, "trajectories", list, path)):
        for number, entry in enumerate(check_json(boxes, list, f"{path}: frame {frame}")):
            where = f"{path}: frame {frame}, box {number}"
            tid = json_field(check_json(entry, dict, where), "tid", int, where)
            if tid not in found:
                raise ValueError(f"{where}: no object has the tid {tid}.")
            if frame in found[tid]:
                raise ValueError(f"{where}: the object with tid {tid} has a box there already.")
            found[tid][frame] = _box(json_field(entry, "bbox", dict, where), where)
    return found


def _record(path: Path, subset: str, num_classes: int) -> Record:
    content = _load(path)
    predicates = label_maps.load(label_maps.VIDOR_PREDICATES)  # the actions first
    name = f"{path.parent.name}/{path.stem}"
    if _field(content, "video_path", str, path) != f"{name}.mp4":
        raise ValueError(
            f"{path}: describes the video {content['video_path']!r}, expected {f'{name}.mp4'!r}. "
            "Move the file to the group of its video."
        )
    frames = _field(content, "frame_count", int, path)
    fps = _field(content, "fps", float, path)
    if frames < 1 or fps <= 0:
        raise ValueError(
            f"{path}: expected a frame_count and an fps above 0, got {frames} and {fps}."
        )
    tids = _objects(content, path)
    actions = []
    for number, entry in enumerate(_field(content, "relation_instances", list, path)):
        where = f"{path}: relation {number}"
        check_json(entry, dict, where)
        predicate = json_field(entry, "predicate", str, where)
        if predicate not in predicates:
            raise ValueError(f"{where}: {predicate!r} is none of the 50 predicates of VidOR.")
        subject, towards, begin, end = (
            json_field(entry, key, int, where)
            for key in ("subject_tid", "object_tid", "begin_fid", "end_fid")
        )
        if not {subject, towards} <= tids.keys():
            raise ValueError(f"{where}: no object has the tid {subject}, or {towards}.")
        if begin < 0:
            raise ValueError(f"{where}: expected frames from 0 on, got begin_fid {begin}.")
        if (label := predicates.index(predicate)) < num_classes:
            actions.append(Action(label, begin, end, subject))
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


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = check_json(load_json(path), dict, str(path))
    if content.get("version") != _VERSION:
        raise ValueError(
            f"{path}: expected version {_VERSION!r}, got {content.get('version')!r}. "
            "Files of VidVRD, which look alike, have none."
        )
    return content


def _objects(content: dict[str, Any], path: Path) -> dict[int, str]:
    known = label_maps.load(label_maps.VIDOR_OBJECTS)
    found: dict[int, str] = {}
    for number, entry in enumerate(_field(content, "subject/objects", list, path)):
        where = f"{path}: object {number}"
        tid = json_field(check_json(entry, dict, where), "tid", int, where)
        category = json_field(entry, "category", str, where)
        if tid in found or category not in known:
            raise ValueError(
                f"{where}: expected a tid of its own and one of the {len(known)} categories of "
                f"VidOR, got {tid} and {category!r}."
            )
        found[tid] = category
    return found


def _box(entry: dict[str, Any], where: str) -> Box:
    left, upper, right, lower = (
        float(json_field(entry, key, float, where)) for key in ("xmin", "ymin", "xmax", "ymax")
    )
    if right < left or lower < upper:
        raise ValueError(f"{where}: expected xmin <= xmax, ymin <= ymax, got {entry}.")
    return left, upper, right + 1, lower + 1


def _field(content: dict[str, Any], key: str, kind: type, path: Path) -> Any:
    return json_field(content, key, kind, str(path))


DATASET = Dataset(
    name="vidor",
    title="VidOR",
    variant="labels",
    variants=("actions", "predicates"),
    records=records,
    classes=classes,
    class_counts={"actions": 42, "predicates": 50},
    counts={"actions": _COUNTS, "predicates": _COUNTS},
    slips=(
        Slip("videos without any action", lambda record: not record.actions),
        Slip(
            "spans end after the last frame: the excess has no effect",
            lambda record: any(action.end > (record.frames or 0) for action in record.actions),
        ),
        Slip(
            "spans of no length, or less: they match no frame, but their class counts",
            lambda record: any(action.end <= action.start for action in record.actions),
        ),
    ),
    candidates=candidates,
)
