"""Films for the tests of whole data sets: pictures that move in a known way, in real codecs."""

import dataclasses
import functools
import zlib
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

SIZE = (48, 64)
"""Height and width of the pictures, pixels."""

# By suffix; the options make the pictures come back almost as they were.
_CODECS = {
    ".mp4": ("libx264", {"crf": "12"}),
    ".avi": ("mpeg4", {"flags": "qscale", "global_quality": "236"}),  # 2 * FF_QP2LAMBDA
    ".webm": ("libvpx-vp9", {"crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
}
_TINT = (1.0, 0.8, 0.6)  # of red, green, blue: mixed up, they show


@dataclasses.dataclass(frozen=True)
class Film:
    """A textured picture, its own for each path, that moves by the same way from frame to frame.

    Attributes:
        path: Relative to the data set's folder; one without a suffix is a folder of images.
        count: Frames.
        motion: x and y, whole pixels a frame.
        fps: Frames a second; a folder has none.
        zoom: How much larger than `SIZE` it is written.
    """

    path: str
    count: int
    motion: tuple[int, int]
    fps: int | Fraction = 25
    zoom: int = 1

    def pictures(self) -> NDArray[np.uint8]:
        """The frames [T, H, W, 3], RGB, of `SIZE`."""
        (height, width), (x, y) = SIZE, self.motion
        canvas = _texture(self.path, height + abs(y) * self.count, width + abs(x) * self.count)
        left, upper = max(x, 0) * self.count, max(y, 0) * self.count
        corners = [(upper - y * k, left - x * k) for k in range(self.count)]
        grey = np.stack([canvas[top : top + height, at : at + width] for top, at in corners])
        return np.asarray(np.rint(grey[..., None] * np.array(_TINT)), np.uint8)

    def write(self, root: Path) -> None:
        """Writes it at its path below `root`."""
        import cv2

        path = root / self.path
        size = (SIZE[1] * self.zoom, SIZE[0] * self.zoom)
        pictures = [cv2.resize(each, size) for each in self.pictures()]
        if path.suffix not in _CODECS:
            path.mkdir(parents=True)
            for number, picture in enumerate(pictures, 1):
                data = cv2.imencode(".jpg", picture[..., ::-1])[1]
                (path / f"{number:05d}.jpg").write_bytes(data.tobytes())
            return
        self._encode(path, pictures)

    def _encode(self, path: Path, pictures: list[NDArray[np.uint8]]) -> None:
        import av

        codec, options = _CODECS[path.suffix]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:  # av would take a % in a name for a pattern
            container = path.suffix.removeprefix(".")
            with av.open(file, "w", format=container) as out:
                stream = out.add_stream(codec, rate=self.fps, options=options)
                stream = cast("av.VideoStream", stream)
                stream.height, stream.width = pictures[0].shape[:2]
                stream.pix_fmt = "yuv420p"
                for picture in pictures:
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                out.mux(stream.encode(None))


@functools.cache
def _texture(name: str, height: int, width: int) -> NDArray[np.float32]:
    """Smooth noise [height, width] around 128, the same for the same name."""
    import cv2

    noise = np.random.default_rng(zlib.crc32(name.encode())).random((height, width))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2.5)
    return np.asarray(np.clip(128 + 40 * (smooth - smooth.mean()) / smooth.std(), 8, 248))
