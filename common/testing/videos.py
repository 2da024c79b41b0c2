"""Videos by PyAV, of which every frame is one grey level that says which frame came out."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from common import video

_MILLISECOND = Fraction(1, 1000)


def encoded(
    path: Path,
    pts: Iterable[int],
    tick: Fraction,
    codec: str,
    rate: int,
    size: tuple[int, int],
    level: Callable[[int], int],
    options: dict[str, str] | None,
    muxing: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> None:
    """Writes a video with a frame at each of `pts`; `level` makes its grey of its number."""
    with av.open(str(path), "w", options=muxing or {}) as out:
        stream = cast("av.VideoStream", out.add_stream(codec, rate=rate, options=options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.time_base = tick
        for k, time in enumerate(pts):
            picture = np.full((size[1], size[0], 3), level(k), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def make(
    path: Path,
    pts: Iterable[int],
    tick: Fraction = _MILLISECOND,
    codec: str = "ffv1",
    rate: int = 25,
    size: tuple[int, int] = (32, 24),
    level: Callable[[int], int] = lambda k: 10 * k,
    options: dict[str, str] | None = None,
) -> Path:
    """As `encoded`, lossless unless told otherwise; returns the path."""
    encoded(path, list(pts), tick, codec, rate, size, level, options)
    return path


def levels(path: Path, **span: Any) -> list[int]:
    """The numbers of the frames that are read of a video by `make`."""
    return [round(float(frame.mean()) / 10) for frame in video.read_frames(path, **span)]
