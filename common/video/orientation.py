"""The orientation in which a picture is shown, read from its file and applied."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from common.video.timestamps import VideoError

if TYPE_CHECKING:
    import av

_MOST_TILT = 0.02  # tangent of about a degree, as FFmpeg allows


class Orientation(NamedTuple):
    """One of the eight orientations.

    Attributes:
        transposed: Rows become columns, before anything is flipped.
        upside_down: Then the order of rows is reversed.
        mirrored: Then the order of columns is reversed.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the picture [H, W, C] as it is shown, [W, H, C] if it is transposed."""
        if not any(self):
            return picture
        turned = picture.transpose(1, 0, 2) if self.transposed else picture
        return np.ascontiguousarray(
            turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        )


def of(path: Path, frame: "av.VideoFrame") -> Orientation:
    """Reads the orientation from the frame's display matrix; without one it is shown as stored.

    Raises:
        VideoError: It is turned by something else than quarter turns.
    """
    matrix = cast("bytes | None", frame.side_data.get("DISPLAYMATRIX"))  # PyAV's types lack it
    if matrix is None:
        return Orientation()
    # (x, y) is shown at (a x + c y, b x + d y), y pointing down, and then shifted.
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if min(straight, crossed) > _MOST_TILT * max(straight, crossed):
        raise VideoError(
            f"{path}: is to be shown turned by {float(np.rad2deg(np.arctan2(b, a))):.0f} degrees. "
            "Expected quarter turns. Re-encode it."
        )
    if crossed > straight:
        return Orientation(True, upside_down=b < 0, mirrored=c < 0)
    return Orientation(False, upside_down=d < 0, mirrored=a < 0)
