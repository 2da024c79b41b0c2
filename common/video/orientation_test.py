import struct

import av
import numpy as np
import pytest

from common import video

WIDTH, HEIGHT = 64, 32
# Four levels, all different, so that no two ways round look alike.
PICTURE = np.kron([[250, 20], [90, 160]], np.ones((HEIGHT // 2, WIDTH // 2)))
PICTURE = np.repeat(PICTURE[..., None], 3, 2).astype(np.uint8)

# a, b, c, d of the matrix: (x, y) is shown at (a x + c y, b x + d y), y pointing down.
WAYS_ROUND = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "upside down, mirrored": ((1, 0, 0, -1), np.flipud),
    "upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "counter-clockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "transposed the other way": ((0, -1, -1, 0), lambda p: np.rot90(p.transpose(1, 0, 2), 2)),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An MP4 that is shown as it is stored."""
    path = tmp_path_factory.mktemp("plain") / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(30):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURE, format="rgb24")))
        out.mux(stream.encode(None))
    return path.read_bytes()


def _with_matrix(content, a, b, c, d):
    """The same MP4 with another matrix in its track header."""

    def matrix(a, b, c, d):
        return struct.pack(">9i", *(round(n * 2**16) for n in (a, b, 0, c, d, 0, 0, 0)), 2**30)

    track = content.index(b"tkhd")
    at = content.index(matrix(1, 0, 0, 1), track)
    return content[:at] + matrix(a, b, c, d) + content[at + 36 :]


@pytest.mark.parametrize("name", WAYS_ROUND)
def test_eight_ways_round(tmp_path, plain, name):
    numbers, turn = WAYS_ROUND[name]
    path = tmp_path / "a.mp4"
    path.write_bytes(_with_matrix(plain, *numbers))
    expected = turn(PICTURE).astype(int)
    for start in (0, 1.1):
        frame = next(video.read_frames(path, start=start))
        assert frame.shape == expected.shape
        assert frame.flags.c_contiguous
        assert np.abs(frame - expected).max() < 8
    for about in (video.info(path), video.measure(path)):
        assert (about.height, about.width) == expected.shape[:2]


@pytest.mark.parametrize("degrees", [-90.5, 0.5, 180.5])
def test_almost_a_quarter_turn_is_one(tmp_path, plain, degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    path = tmp_path / "a.mp4"
    path.write_bytes(_with_matrix(plain, cos, sin, -sin, cos))
    expected = np.rot90(PICTURE, -round(degrees / 90)).astype(int)
    assert np.abs(next(video.read_frames(path)) - expected).max() < 8


@pytest.mark.parametrize("degrees", [30, -45, 93])
def test_askew_is_an_error(tmp_path, plain, degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    path = tmp_path / "a.mp4"
    path.write_bytes(_with_matrix(plain, cos, sin, -sin, cos))
    with pytest.raises(video.VideoError, match=rf"a\.mp4: .* turned by {degrees} degrees"):
        next(video.read_frames(path))


def test_a_matrix_of_zeros_says_nothing(tmp_path, plain):
    path = tmp_path / "a.mp4"
    path.write_bytes(_with_matrix(plain, 0, 0, 0, 0))
    assert np.abs(next(video.read_frames(path)) - PICTURE.astype(int)).max() < 8
