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
    """The classes of each frame, where frame k is at k / fps seconds.

    Times are compared as the decimal numbers in the annotations, so that no rounding decides about
    a frame on the edge of a span. Spans may leave the clip, and overlap.

    Args:
        record: The clip with its spans.
        num_classes: Number of classes of the data set.
        frames: Number of frames to label; None is `record.frames`.
        fps: Rate of these frames; None is `record.fps`, if these are the record's frames. Frames
            at another rate need both. pytorch-i3d uses `frames / record.duration`.
        rule: One of `RULES`.
        subject: Only the actions of this tracklet; None is everybody's.

    Returns [frames, num_classes], 0 or 1. Raises `ValueError` for a frame count or rate that is
    missing, out of range or contradicts the record.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; expected one of {', '.join(RULES)}.")
    scale = _frames_per_unit(record, frames, fps)
    frames = record.frames if frames is None else frames
    if frames is None or frames < 0:
        raise ValueError(f"{record.name}: expected a number of frames to label, got {frames}.")
    labels = np.zeros((frames, num_classes), np.uint8)
    for action in record.actions:
        if subject is not None and action.subject != subject:
            continue
        start, end = (as_written(time) * scale for time in (action.start, action.end))
        first = math.floor(start) + 1 if rule == "strict" else math.ceil(start)
        stop = math.floor(end) + 1 if rule == "inclusive" else math.ceil(end)
        labels[max(first, 0) : max(stop, 0), action.label] = 1
    return labels


def rule_of(record: Record) -> str:
    """The rule for training: pytorch-i3d's for spans in seconds (Charades), else VidOR's."""
    return "strict" if record.unit == "seconds" else "half_open"


def as_written(value: float | Fraction) -> Fraction:
    """The decimal number written in a file, not the nearest binary fraction."""
    return Fraction(str(value))


def _frames_per_unit(record: Record, frames: int | None, fps: float | Fraction | None) -> Fraction:
    """The number of frames to label in a second, or in an annotated frame."""
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"{record.name}: expected a frame rate above 0, got {fps}.")
    own = None if record.fps is None else as_written(record.fps)
    rate = own if fps is None else as_written(fps)
    known = record.frames is not None
    if (fps is None and known and frames not in (None, record.frames)) or (
        frames is None and own is not None and rate != own
    ):
        raise ValueError(
            f"{record.name}: frames other than the record's ({record.frames} at "
            f"{record.fps} a second) need their number and their rate. Received: {frames} at {fps}."
        )
    if record.unit == "seconds" and rate is not None:
        return rate
    if record.unit == "frames" and (rate is None or own is not None):
        return Fraction(1) if rate is None or own is None else rate / own
    raise ValueError(
        f"{record.name}: its spans are in {record.unit}, and the rate of "
        f"{'the frames' if record.unit == 'seconds' else 'its own frames'} is unknown."
    )
