"""Targets: the class of each video, or the classes that apply to each of its moments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.annotations import Record
from common.annotations.frame_labels import as_written, frame_labels, rule_of
from common.io import listing
from common.preprocessing import clips

POINTS = 25
"""Moments of a video at which the localisation metric of Charades is measured."""


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


def moments(total: int, points: int | None) -> list[int]:
    """The frames of `total` that are scored; None scores every one."""
    return list(range(total)) if points is None else clips.localisation_frames(total, points)


def of_points(record: Record, num_classes: int, points: int) -> NDArray[np.uint8]:
    """The classes that apply at moments k / points of the way through the video.

    Both ends belong to a span, as in the official localisation metric of Charades.

    Returns:
        [points, K], 0 or 1.
    """
    rate = points / as_written(record.duration or 0)
    return frame_labels(record, num_classes, points, rate, rule="inclusive")


def of_frames(
    record: Record, num_classes: int, total: int, rate: float | None
) -> NDArray[np.uint8]:
    """The classes that apply to each of `total` frames, by the rule of training.

    Args:
        record: The video.
        num_classes: The number of classes.
        total: The number of frames.
        rate: Frames a second; None is the annotation's.

    Returns:
        [total, K], 0 or 1.
    """
    return frame_labels(record, num_classes, total, rate, rule_of(record))


def of_video(record: Record, num_classes: int) -> NDArray[np.uint8]:
    """The classes that apply anywhere in the video: [K], 0 or 1."""
    found = np.zeros(num_classes, np.uint8)
    found[[*record.labels, *(action.label for action in record.actions)]] = 1
    return found


def _check_range(records: Sequence[Record], num_classes: int) -> None:
    wrong = [
        record.name
        for record in records
        if any(
            not 0 <= label < num_classes
            for label in (*record.labels, *(action.label for action in record.actions))
        )
    ]
    if wrong:
        raise ValueError(
            f"the network has {num_classes} classes, and there are others in the labels of "
            f"{listing(wrong)}. Use the annotations it was trained with."
        )
