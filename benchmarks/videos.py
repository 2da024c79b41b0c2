"""Videos for the benchmarks: generated ones, and samples in I3D_DATA."""

from pathlib import Path

import av
import cv2
import numpy as np

from convert import download


def write(path: Path, width: int, height: int, fps: int, count: int) -> None:
    """Writes an H.264 video with B-frames of a coloured texture that rotates and drifts."""
    noise = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    smooth = sum(
        cv2.GaussianBlur(noise, (0, 0), sigma * height / 256) * sigma for sigma in (1, 2, 4, 8)
    )
    texture = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(count):
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), k, 1)  # a degree a frame
            matrix[0, 2] += k * height / 256
            size = (width, height)
            frame = cv2.warpAffine(texture, matrix, size, borderMode=cv2.BORDER_REFLECT)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


def samples(*names: str) -> dict[str, Path]:
    """Returns the samples of these names that exist."""
    found = {}
    for name in names:
        paths = [folder / "samples" / name for folder in download.local_folders()]
        if path := next((path for path in paths if path.exists()), None):
            found[name] = path
    return found
