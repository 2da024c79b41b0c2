"""Makes the videos that the benchmarks of preparation read."""

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray


def write(path: Path, width: int, height: int, fps: int, count: int) -> None:
    """Writes h264 with B-frames in which a coloured texture turns and drifts."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in _pictures(width, height, count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def repeat(source: Path, target: Path, times: int) -> None:
    """Writes the same pictures so often one after the other, without encoding them again."""
    offset = 0
    with av.open(str(target), "w") as out:
        stream = None
        for _ in range(times):
            with av.open(str(source)) as file:
                video = file.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                length = video.duration
                for packet in file.demux(video):
                    if packet.dts is None:  # the empty one at the end
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    out.mux(packet)
            offset += length


def _pictures(width: int, height: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """Frames [height, width, 3]: a degree from one to the next, and a 256th of the height."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    smooth = sum(
        cv2.GaussianBlur(noise, (0, 0), sigma * height / 256) * sigma for sigma in (1, 2, 4, 8)
    )
    texture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for k in range(count):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), k, 1)
        matrix[0, 2] += k * height / 256
        yield cv2.warpAffine(texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
