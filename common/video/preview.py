"""Clips as animated GIFs, as the release's README shows its sample, and as contact sheets."""

import os
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.io import replacing

_NO_FLOW = 127  # the level of the third channel in the published GIF of the flow


def write_gif(path: str | os.PathLike[str], clip: NDArray[np.float32], fps: float = 25) -> None:
    """Writes a clip as a GIF that repeats for ever, atomically.

    Args:
        path: The file to write.
        clip: [T, H, W, C] float32 in [-1, 1]; C is 3 for RGB, 2 for flow in units of 20 pixels.
        fps: Frames per second, up to 100; a GIF counts in hundredths of a second.
    """
    if not 0 < fps <= 100:
        raise ValueError(f"a GIF holds up to 100 frames a second. Received: {fps}.")
    pictures = to_pictures(clip)
    with replacing(path) as temporary:
        _encode(str(temporary), pictures, Fraction(fps).limit_denominator(1000))


def write_sheet(
    path: str | os.PathLike[str], clips: Sequence[NDArray[np.float32]], columns: int = 8
) -> None:
    """Writes a contact sheet as a PNG: evenly spaced moments of clips, one row per clip.

    Args:
        path: The file to write.
        clips: Each [T, H, W, C] as for `write_gif`, all of the same T, H and W.
        columns: Moments, the first and the last among them; fewer if a clip is shorter.
    """
    import cv2

    if len({clip.shape[:3] for clip in clips}) != 1:
        raise ValueError(
            "expected clips of the same length and size. "
            f"Received: {[list(clip.shape) for clip in clips]}."
        )
    count = len(clips[0])
    moments = np.linspace(0, count - 1, min(columns, count)).round().astype(int)
    rows = [np.concatenate(list(to_pictures(clip[moments])), axis=1) for clip in clips]
    sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def to_pictures(clip: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Converts a clip to pictures [T, H, W, 3] uint8.

    Flow is shown with x in red and y in green, each at level 0.5 + value, and an even blue: no
    motion is grey, and motion of half the range (10 pixels) is full colour.
    """
    if clip.ndim != 4 or clip.shape[3] not in (2, 3) or 0 in clip.shape:
        raise ValueError(
            "expected a clip [T, H, W, C] with 3 channels (RGB) or 2 (flow). "
            f"Received: {list(clip.shape)}."
        )
    levels = (clip + 1) / 2 if clip.shape[3] == 3 else clip + 0.5
    pictures = np.full((*clip.shape[:3], 3), _NO_FLOW, np.uint8)
    pictures[..., : clip.shape[3]] = np.rint(np.clip(levels, 0, 1) * 255)
    return pictures


def _encode(path: str, pictures: NDArray[np.uint8], rate: Fraction) -> None:
    """Encodes with a palette for each frame: flow has few colours, and they drift."""
    import av
    from av.filter import Graph

    _, height, width, _ = pictures.shape
    with av.open(path, "w", format="gif", options={"loop": "0"}) as out:
        stream = out.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        graph = Graph()
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate
        )
        split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        frames = [av.VideoFrame.from_ndarray(each, format="rgb24") for each in pictures]
        for k, frame in enumerate([*frames, None]):
            if frame is not None:
                frame.pts, frame.time_base = k, 1 / rate
            graph.push(frame)
            try:
                while True:
                    out.mux(stream.encode(graph.vpull()))
            except (av.BlockingIOError, av.EOFError):
                pass  # the graph needs the next frame
        out.mux(stream.encode(None))
