"""The tracklets of a video whose features are extracted: found, read, checked."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from absl import logging

from common.features import boxes, tracklets
from common.features.tracklets import Tracklet
from common.io import escape, listing


def place(folder: str | os.PathLike[str], suffix: str, name: str) -> Path:
    """Where the file with the tracklets of a video is, if there is one; see `find`."""
    video = Path(name)
    return Path(folder) / video.parent / (video.name.partition(".")[0] + suffix)


def find(folder: str | os.PathLike[str], suffix: str, name: str) -> Path:
    """The file with the tracklets of a video: the folder's `a/b.json` of "a/b.cut.mp4".

    Args:
        folder: That has the files of all videos, in the folders that the videos are in.
        suffix: What stands in place of all from the first dot of a video's name on, such as
            ".json" or "_tracks.pkl".
        name: The video's, relative to the folder of the videos.

    Raises:
        FileNotFoundError: There is no such file; the text names it.
    """
    path = place(folder, suffix, name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file with the tracklets of {escape(name)!r}. Its "
            f"name is the video's up to the first dot, and then {suffix!r}."
        )
    return path


def of(
    path: str | os.PathLike[str],
    frames: int | None,
    height: int,
    width: int,
    min_frames: int = 1,
    interpolate: bool = False,
    one_based: bool = True,
) -> tuple[Tracklet, ...]:
    """Reads the tracklets of a video that are long enough; how many are not is logged.

    Args:
        path: See `tracklets.read`.
        frames: Of the video; None where that is not known yet: see `check_frames`.
        height: Of the picture that the boxes are in, pixels.
        width: Of the picture that the boxes are in, pixels.
        min_frames: Tracklets of fewer frames are left out.
        interpolate: See `tracklets.read`.
        one_based: See `tracklets.read`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See `tracklets.read`; no tracklet is long enough; or one that is has frames that
            the video has not, or a box that lies wholly outside the picture.
    """
    found = tracklets.read(path, interpolate, one_based)
    kept = tuple(tracklet for tracklet in found if len(tracklet.frames) >= min_frames)
    few = len(found) - len(kept)
    text = f"{path}: {few:,} of {len(found):,} tracklets have fewer than {min_frames} frames"
    if not kept:
        raise ValueError(f"{text}, and none is left. Lower min_frames or leave the video out.")
    if few:
        short = (escape(t.individual) for t in found if len(t.frames) < min_frames)
        logging.warning("%s and are left out: %s.", text, listing(short))
    if frames is not None:
        check_frames(kept, frames, path)
    for tracklet in kept:
        try:
            boxes.check(tracklet.boxes, height, width, int(tracklet.frames[0]))
        except ValueError as error:
            raise ValueError(
                f"{path}: tracklet {escape(tracklet.individual)!r}, {error}"
            ) from error
    return kept


def check_frames(found: Iterable[Tracklet], frames: int, path: str | os.PathLike[str]) -> None:
    """Raises `ValueError` where a tracklet ends after the last of a video's frames.

    Args:
        found: Of that video.
        frames: How many the video has.
        path: The file that the tracklets are from, for the text.
    """
    for tracklet in found:
        if tracklet.frames[-1] >= frames:
            raise ValueError(
                f"{path}: tracklet {escape(tracklet.individual)!r} is on frame "
                f"{tracklet.frames[-1]} (0-based), and the video has {frames:,} frames. Are the "
                "tracklets of this video, and of every frame of it?"
            )


def resized(tracklet: Tracklet, before: tuple[int, int], after: tuple[int, int]) -> Tracklet:
    """The tracklet in pictures of another size.

    Args:
        tracklet: Its boxes are in pictures of the size `before`.
        before: Width and height, pixels.
        after: Width and height, pixels.

    Raises:
        ValueError: A side is below 1 pixel.
    """
    if min(*before, *after) < 1:
        raise ValueError(f"expected sides from 1 pixel on, got {before} and {after}.")
    scale = np.array(after, np.float64) / before
    values = (tracklet.boxes * np.tile(scale, 2)).astype(np.float32)
    return dataclasses.replace(tracklet, boxes=values)
