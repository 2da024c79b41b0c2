"""Labels of single frames from the labelled spans of a clip.

Three rules are in use for what belongs to a span from `start` to `end`, with t the time of a frame:

- "half_open": start <= t < end. VidOR's, whose spans are frame numbers.
- "strict": start < t < end. That of piergiaj/pytorch-i3d on Charades.
- "inclusive": start <= t <= end. That of the official localisation metric of Charades.
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
    """Which classes apply to each frame, where frame k is at k / fps seconds.

    Times are compared as the decimal numbers that the annotations hold, so that no rounding
    decides about a frame on the edge of a span. Spans may leave the clip, and overlap.

    Args:
        record: The clip with its spans; the labels of the clip as a whole play no part.
        num_classes: Of the data set.
        frames: How many frames to label; None is `record.frames`.
        fps: Rate of these frames; None is `record.fps`, where these frames are the record's. For
            frames at another rate both are needed. As pytorch-i3d has it, which knows no rate:
            `frames / record.duration`.
        rule: One of `RULES`.
        subject: Only what this tracklet does; None is what anybody does.

    Returns:
        [frames, num_classes], 0 or 1.

    Raises:
        ValueError: An unknown rule, a label outside the classes, a frame count or rate that is
            neither given nor in the record or is out of range, one of them given that does not
            fit the record's other, or an end that is no number.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r} for frames; expected one of {', '.join(RULES)}.")
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
    """The rule that networks are trained with, and judged by.

    Spans in seconds are Charades', for which it is pytorch-i3d's; those in frames are VidOR's.
    """
    return "strict" if record.unit == "seconds" else "half_open"


def as_written(value: float | Fraction) -> Fraction:
    """The number that a file's decimal digits say, not the binary one nearest to it.

    Raises:
        ValueError: Infinite, or not a number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}.")
    return Fraction(str(value))


def _frames_per_unit(record: Record, frames: int | None, fps: float | Fraction | None) -> Fraction:
    """How many of the frames to label there are in a second, or in an annotated frame."""
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"{record.name}: expected a frame rate above 0, got {fps}.")
    own = None if record.fps is None else as_written(record.fps)
    rate = own if fps is None else as_written(fps)
    if fps is None and record.frames is not None and frames not in (None, record.frames):
        raise ValueError(
            f"{record.name}: the record is of {record.frames} frames, so the rate of the {frames} "
            "to label is needed. Pass fps."
        )
    if frames is None and own is not None and rate != own:
        raise ValueError(
            f"{record.name}: the record's frames are at {record.fps:g} a second, so the number of "
            f"those at {float(fps or 0):g} is needed. Pass frames."
        )
    if record.unit == "seconds":
        if rate is None:
            raise ValueError(
                f"{record.name}: its spans are in seconds, so the rate of the frames is needed; "
                "the record has none. Pass fps."
            )
        return rate
    if rate is None:
        return Fraction(1)
    if own is None:
        raise ValueError(
            f"{record.name}: its spans are in frames of an unknown rate, so those at "
            f"{float(rate):g} a second cannot be labelled. Pass no fps where they are the same."
        )
    return rate / own
