"""Frame labels from the labelled time spans of a clip.

A frame at time t belongs to a span from `start` to `end` by one of three rules:

- "half_open": start <= t < end. VidOR, whose spans are frame numbers.
- "strict": start < t < end. piergiaj/pytorch-i3d on Charades.
- "inclusive": start <= t <= end. The official localisation metric of Charades.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.annotations import Record

RULES = ("half_open", "strict", "inclusive")


def frame_labels(
    record: Record,
    num_classes: int,
    frames: int | None = None,
    fps: float | Fraction | None = None,
    rule: str = "half_open",
    subject: int | None = None,
) -> NDArray[np.uint8]:
    """Returns the classes of each frame, where frame k is at k / fps seconds.

    Times are compared as the decimal numbers in the annotations, so that no rounding decides about
    a frame on the edge of a span. Spans may leave the clip, and overlap.

    Args:
        record: The clip with its spans; the clip-level labels are ignored.
        num_classes: Number of classes of the data set.
        frames: Number of frames to label; None is `record.frames`.
        fps: Rate of these frames; None is `record.fps`, if these are the record's frames. Frames
            at another rate need both. pytorch-i3d uses `frames / record.duration`.
        rule: One of `RULES`.
        subject: Only the actions of this tracklet; None is everybody's.

    Returns:
        [frames, num_classes], 0 or 1.

    Raises:
        ValueError: The rule is unknown, a label is outside the classes, or a frame count or rate
            is missing, out of range or contradicts the record.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; expected one of {', '.join(RULES)}.")
    scale = _frames_per_unit(record, frames, fps)
    frames = record.frames if frames is None else frames
    if frames is None or frames < 0:
        raise ValueError(f"{record.name}: expected a number of frames to label, got {frames}.")
    labels = np.zeros((frames, num_classes), np.uint8)
    for action in record.actions:
        if not 0 <= action.label < num_classes:
            raise ValueError(
                f"{record.name}: label {action.label} is outside the {num_classes} classes, "
                "which are counted from 0."
            )
        if subject is not None and action.subject != subject:
            continue
        start, end = (as_written(time) * scale for time in (action.start, action.end))
        first = math.floor(start) + 1 if rule == "strict" else math.ceil(start)
        stop = math.floor(end) + 1 if rule == "inclusive" else math.ceil(end)
        labels[max(first, 0) : max(stop, 0), action.label] = 1
    return labels


def rule_of(record: Record) -> str:
    """Returns the rule for training and evaluation.

    Spans in seconds are those of Charades, and follow pytorch-i3d; spans in frames are VidOR's.
    """
    return "strict" if record.unit == "seconds" else "half_open"


def as_written(value: float | Fraction) -> Fraction:
    """Returns the decimal number written in a file, not the nearest binary fraction."""
    return Fraction(str(value))


def _frames_per_unit(record: Record, frames: int | None, fps: float | Fraction | None) -> Fraction:
    """Returns the number of frames to label in a second, or in an annotated frame."""
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"{record.name}: expected a frame rate above 0, got {fps}.")
    own = None if record.fps is None else as_written(record.fps)
    rate = own if fps is None else as_written(fps)
    if fps is None and record.frames is not None and frames not in (None, record.frames):
        raise ValueError(
            f"{record.name}: the record has {record.frames} frames, so labelling {frames} needs "
            "their rate. Pass fps."
        )
    if frames is None and own is not None and rate != own:
        raise ValueError(
            f"{record.name}: the record has {record.fps:g} frames a second, so labelling at "
            f"{float(fps or 0):g} needs the number of frames. Pass frames."
        )
    if record.unit == "seconds":
        if rate is None:
            raise ValueError(
                f"{record.name}: its spans are in seconds and its frame rate is unknown. Pass fps."
            )
        return rate
    if rate is None:
        return Fraction(1)
    if own is None:
        raise ValueError(
            f"{record.name}: its spans are in frames of an unknown rate, so frames at "
            f"{float(rate):g} a second cannot be labelled. Omit fps if they are the same frames."
        )
    return rate / own
