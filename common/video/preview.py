"""Clips as animated GIFs, as the release's README shows its sample, and as contact sheets."""

import contextlib
import os
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.io import replacing

_NO_FLOW = 127  # the level of the third channel in the published GIF of the flow


def write_gif(path: str | os.PathLike[str], clip: NDArray[np.float32], fps: float = 25) -> None:
    """Writes a clip as a GIF that repeats for ever, atomically.

    `clip` is [T, H, W, C] float32 in [-1, 1]; C is 3 for RGB, 2 for flow in units of 20 pixels.
    """
    import av
    from av.filter import Graph

    pictures, rate = to_pictures(clip), Fraction(fps).limit_denominator(1000)
    _, height, width, _ = pictures.shape
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="gif", options={"loop": "0"}) as out,
    ):
        stream = out.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        graph = Graph()
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate
        )
        # A palette for each frame: flow has few colours, and they drift.
        split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
        graph.link_nodes(source, split, use, sink)
        split.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        graph.configure()
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, 1 / rate
            graph.push(frame)
        graph.push(None)
        with contextlib.suppress(av.EOFError):
            while True:
                out.mux(stream.encode(graph.vpull()))
        out.mux(stream.encode(None))


def write_sheet(path: str | os.PathLike[str], clips: Sequence[NDArray[np.float32]]) -> None:
    """Writes a contact sheet as a PNG: eight moments of clips, one row per clip.

    The clips, as for `write_gif`, have one length and size; short ones have fewer columns.
    """
    import cv2

    count = len(clips[0])
    moments = np.linspace(0, count - 1, min(8, count)).round().astype(int)
    rows = [np.concatenate(list(to_pictures(clip[moments])), axis=1) for clip in clips]
    sheet = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def to_pictures(clip: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Converts a clip to pictures [T, H, W, 3] uint8.

    Flow is shown with x in red and y in green, each at level 0.5 + value, and an even blue: no
    motion is grey, and motion of half the range (10 pixels) is full colour.
    """
    levels = (clip + 1) / 2 if clip.shape[3] == 3 else clip + 0.5
    pictures = np.full((*clip.shape[:3], 3), _NO_FLOW, np.uint8)
    pictures[..., : clip.shape[3]] = np.rint(np.clip(levels, 0, 1) * 255)
    return pictures
