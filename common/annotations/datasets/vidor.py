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
from common.annotations.datasets import dataset
from common.annotations.datasets.dataset import Dataset
from common.io import check_shape, listing, load_json

# Left, upper, right, lower in pixels; right and lower are exclusive.
Box = tuple[float, float, float, float]

_MAPS = {"actions": label_maps.VIDOR_ACTIONS, "predicates": label_maps.VIDOR_PREDICATES}

_SUBSETS = ("training", "validation")

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
    """The classes, and the videos of both subsets sorted by group and video.

    An action towards two objects becomes two equal spans. Spans that leave the video, or end before
    they start, are kept; they match no frame there.
    """
    classes = label_maps.load(_MAPS[variant])
    predicates = label_maps.load(label_maps.VIDOR_PREDICATES)  # actions first
    records = [
        _record(path, subset, predicates, len(classes))
        for subset in _SUBSETS
        for path in sorted((folder / subset).glob("*/*.json"))
    ]
    if not records:
        dataset.missing(folder, [f"{subset}/<group>/<video>.json" for subset in _SUBSETS])
    return classes, records


def candidates(record: Record) -> Iterator[Record]:
    """Yields videos, then frame folders, with and without `video/` and the subset's folder."""
    places = dataset.below("", "video/", "{subset}/", "video/{subset}/")
    yield from places(record)
    yield from places(dataclasses.replace(record, path=record.name))


def tracklets(path: Path) -> dict[int, dict[int, Box]]:
    """Maps tracklets and 0-based frames, with gaps, to half-open boxes: the file's maximum plus 1.

    `path` is the annotation file of a video: `record.boxes` in the annotation folder.
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


def _record(path: Path, subset: str, predicates: tuple[str, ...], num_classes: int) -> Record:
    content = _load(path, _VIDEO)
    name = f"{path.parent.name}/{path.stem}"
    video, frames, fps = content["video_path"], content["frame_count"], content["fps"]
    if video != f"{name}.mp4" or frames < 1 or fps <= 0:
        raise ValueError(
            f"{path}: expected the video {name}.mp4, with a frame_count and an fps above 0. "
            f"Received: {video}, {frames} and {fps}."
        )
    tids = {entry["tid"] for entry in content["subject/objects"]}
    actions = []
    for entry in content["relation_instances"]:
        predicate, begin, subject = entry["predicate"], entry["begin_fid"], entry["subject_tid"]
        if predicate not in predicates or not {subject, entry["object_tid"]} <= tids or begin < 0:
            raise ValueError(
                f"{path}: expected relations with one of the 50 predicates of VidOR, between tids "
                f"of the video, in frames from 0 on. Received: {entry}."
            )
        label = predicates.index(predicate)
        if label < num_classes:
            actions.append(Action(label, begin, entry["end_fid"], subject))
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
    # Files of VidVRD, which look alike, have no version.
    content: dict[str, Any] = check_shape(load_json(path), {"version": str, **shape}, f"{path}: $")
    return content


DATASET = Dataset(
    name="vidor",
    title="VidOR",
    variant="labels",
    variants=tuple(_MAPS),
    read=read,
    counts=dict.fromkeys(_MAPS, ((7_000,), (835,))),
    candidates=candidates,
)
