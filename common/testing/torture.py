"""Videos of one grey level a frame, with any times; and damage to files."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np


def video(
    path: Path,
    times: Iterable[int] = range(0, 200, 40),
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    turn: int = 0,
    noise: bool = False,
    **muxing: str,
) -> Path:
    """A video whose frames have these times in milliseconds; level / 10 is a frame's number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    tick = Fraction(1, 25) if path.suffix == ".avi" else Fraction(1, 1000)
    with av.open(f"file:{path}", "w", options=muxing) as out:
        stream = cast(av.VideoStream, out.add_stream(codec, rate=25))
        stream.width, stream.height = size
        stream.pix_fmt = "gray" if codec == "ffv1" else "yuv420p"
        stream.codec_context.time_base = tick
        if turn:
            stream.set_display_rotation(turn)
        for k, time in enumerate(times):
            picture = np.full((size[1], size[0], 3), 10 * k % 250, np.uint8)
            if noise:  # large enough for half of the file to have some frames
                picture = rng.integers(0, 256, picture.shape, np.uint8)
            if turn:
                picture[: size[1] // 2, : size[0] // 2] = 255  # top left
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(time / 1000 / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def cut(path: Path) -> None:
    """Cuts off the last third of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
