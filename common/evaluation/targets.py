"""Targets: the class of each video, or the classes that apply to each of its moments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.annotations import Record
from common.annotations.frame_labels import as_written, frame_labels, rule_of
from common.io import listing
from common.preprocessing import clips

Labels = NDArray[np.uint8]


def classes(records: Sequence[Record], num_classes: int) -> NDArray[np.int64]:
    """The class of each video, [N].

    Raises:
        ValueError: A video has no class, several, or one outside the classes.
    """
    _check_range(records, num_classes)
    wrong = [record.name for record in records if len(record.labels) != 1]
    if wrong:
        raise ValueError(
            f"expected one class a video. Received none or several for {listing(wrong)}. "
            "Choose a subset with labels, or the task for labels of frames."
        )
    return np.array([record.labels[0] for record in records], np.int64)


def check_frames(records: Sequence[Record], num_classes: int, points: int | None) -> None:
    """Raises `ValueError` for labels outside the classes, and durations that `points` need."""
    _check_range(records, num_classes)
    wrong = [record.name for record in records if points is not None and not record.duration]
    if wrong:
        raise ValueError(
            f"{points} moments of a video need its duration, which is not known of "
            f"{listing(wrong)}. Make the annotations again with --videos."
        )


def of_moments(
    record: Record, num_classes: int, total: int, rate: float | None, points: int | None
) -> tuple[list[int], Labels]:
    """The frames of a video that are scored, and the classes that apply to each: [P, K], 0 or 1.

    Args:
        record: The video.
        num_classes: K.
        total: The video's number of frames.
        rate: Their rate, a second; None is the annotation's.
        points: None takes every frame, with the rule of training (`frame_labels.rule_of`). A number
            takes moments k / points of the way through the video; both ends belong to a span, as
            in the official localisation metric of Charades, which has 25.
    """
    if points is None:
        labels = frame_labels(record, num_classes, total, rate, rule_of(record))
        return list(range(total)), labels
    every = points / as_written(record.duration or 0)
    labels = frame_labels(record, num_classes, points, every, rule="inclusive")
    return clips.localisation_frames(total, points), labels


def of_video(record: Record, num_classes: int) -> Labels:
    """The classes that apply anywhere in the video: [K], 0 or 1."""
    found = np.zeros(num_classes, np.uint8)
    found[_all_labels(record)] = 1
    return found


def _all_labels(record: Record) -> list[int]:
    return [*record.labels, *(action.label for action in record.actions)]


def _check_range(records: Sequence[Record], num_classes: int) -> None:
    known = range(num_classes)
    wrong = [each.name for each in records if not all(x in known for x in _all_labels(each))]
    if wrong:
        raise ValueError(
            f"the network has {num_classes} classes, and there are others in the labels of "
            f"{listing(wrong)}. Use the annotations it was trained with."
        )
