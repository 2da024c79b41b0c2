import struct

import cv2
import numpy as np
import pytest

from common import video
from common.video import frame_files, image_folders


def _write(path, level=0, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), level, np.uint8))


def _folder(folder, names, **image):
    for k, name in enumerate(names):
        _write(folder / name, level=10 * k, **image)
    return folder


def _levels(folder, **span):
    return [round(float(frame.mean()) / 10) for frame in video.read_frames(folder, **span)]


@pytest.mark.parametrize(
    "names",
    [
        [f"image_{k:05d}.jpg" for k in range(1, 13)],
        [f"{k:05d}.jpg" for k in range(12)],
        [f"frame{k:06d}.jpg" for k in range(1, 13)],
        [f"img_{k:05d}.png" for k in range(12)],
        [f"A1-B2%d-{k:06d}.JPG" for k in range(1, 13)],
        [f"{k}.jpeg" for k in range(1, 13)],
        [f"{k:01d}.jpg" for k in range(1, 13)],  # numbers grow past their padding
    ],
)
def test_frames_come_in_the_order_of_their_numbers(tmp_path, names):
    _folder(tmp_path, names)
    for other in ("n_frames", ".done", "flow.json", "._image_00001.jpg", "thumbnail.jpg"):
        (tmp_path / other).touch()
    for flow in ("image_00001x.jpg", "image_00001y.jpg", "flow_x_00001.jpg", "flow_y_00002.jpg"):
        (tmp_path / flow).touch()
    assert [path.name for path in image_folders.find(tmp_path)] == names
    assert _levels(tmp_path) == list(range(12))


def test_a_rate_resamples_by_time(tmp_path):
    _folder(tmp_path, [f"{k:05d}.jpg" for k in range(1, 13)])
    assert _levels(tmp_path, source_fps=12, fps=6) == list(range(0, 12, 2))
    assert _levels(tmp_path, source_fps=12, fps=24, max_frames=5) == [0, 0, 1, 1, 2]
    assert _levels(tmp_path, source_fps=12, start=0.5, end=0.75) == [6, 7, 8]
    timed = video.Video(tmp_path, source_fps=12, start=0.5, end=0.75).timed()
    assert [time for time, _ in timed] == pytest.approx([6 / 12, 7 / 12, 8 / 12])


@pytest.mark.parametrize("span", [{"fps": 25}, {"start": 1}, {"end": 1}])
def test_times_need_the_rate_of_a_folder(tmp_path, span):
    _folder(tmp_path, ["1.jpg", "2.jpg"])
    with pytest.raises(ValueError, match="need source_fps"):
        video.read_frames(tmp_path, **span)
    with pytest.raises(ValueError, match="source_fps must be above 0"):
        video.read_frames(tmp_path, source_fps=0)


def test_info(tmp_path):
    _folder(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    assert video.info(tmp_path) == video.VideoInfo(32, 24, None, 3, None)
    assert video.info(tmp_path, source_fps=12) == video.VideoInfo(32, 24, 12.0, 3, 0.25)


def test_every_image_is_measured(tmp_path):
    folder = _folder(tmp_path / "a", ["1.jpg", "2.jpg", "3.jpg"])
    assert video.measure(folder) == video.VideoInfo(32, 24, None, 3, None)
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-50])
    with pytest.raises(video.VideoError, match=r"2\.jpg: is a damaged image"):
        video.measure(folder)
    _write(folder / "2.jpg", size=(32, 24))
    with pytest.raises(video.VideoError, match=r"2\.jpg: is 24x32, 1\.jpg is 32x24"):
        video.measure(folder)
    with pytest.raises(video.VideoError, match=r"2\.jpg: is 24x32, 1\.jpg is 32x24"):
        list(video.read_frames(folder))


def test_names_that_are_no_frames_of_one_video(tmp_path):
    with pytest.raises(video.VideoError, match="folder without numbered frames"):
        image_folders.find(_folder(tmp_path / "none", ["image_00001x.jpg"]))
    gap = _folder(tmp_path / "gap", ["image_00001.jpg", "image_00002.jpg", "image_00005.jpg"])
    with pytest.raises(video.VideoError, match=r"gap: image_00003\.jpg is missing"):
        image_folders.find(gap)
    late = _folder(tmp_path / "late", ["00002.jpg", "00003.jpg"])
    with pytest.raises(video.VideoError, match=r"00001\.jpg is missing"):
        image_folders.find(late)
    for second in ("frame000001.jpg", "image_00001.png", "image_2.jpg", "image_1.jpg"):
        two = _folder(tmp_path / second, ["image_00001.jpg", second])
        with pytest.raises(video.VideoError, match="named in 2 ways") as error:
            image_folders.find(two)
        assert second in str(error.value)
        assert "image_0000" in str(error.value)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("part", [0, 1, 2, 300, -2])
def test_a_damaged_image_is_an_error(tmp_path, suffix, part):
    path = tmp_path / f"1.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(video.VideoError, match=rf"1\.{suffix}: is (a damaged|neither)"):
        list(video.read_frames(tmp_path))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_that_states_a_size_beyond_memory_is_not_decoded(tmp_path, suffix):
    content = bytearray(cv2.imencode(f".{suffix}", np.zeros((24, 32, 3), np.uint8))[1].tobytes())
    if suffix == "png":
        content[16:24] = struct.pack(">II", 30000, 32000)
    else:
        size = content.index(b"\xff\xc0") + 5
        content[size : size + 4] = struct.pack(">HH", 30000, 32000)
    (tmp_path / f"1.{suffix}").write_bytes(content)
    with pytest.raises(video.VideoError, match=rf"1\.{suffix}: states 960,000,000 pixels"):
        image_folders.read(tmp_path / f"1.{suffix}")


@pytest.mark.parametrize(
    ("suffix", "channels"), [("jpg", 1), ("jpg", 3), ("png", 1), ("png", 3), ("png", 4)]
)
def test_pixels(tmp_path, suffix, channels):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, channels)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 8)
    picture = cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    path = tmp_path / f"1.{suffix}"
    assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    picture = picture.reshape(64, 96, channels)
    rgb = picture[..., :3][..., ::-1] if channels > 1 else np.repeat(picture, 3, 2)
    bound = 4 if suffix == "jpg" else 0
    difference = image_folders.read(path).astype(int) - rgb
    assert np.abs(difference).max() <= bound
    assert abs(difference.mean()) <= 0.1
    if channels == 1:
        grey = image_folders.read(path, grey=True)
        assert np.abs(grey.astype(int) - picture[..., 0]).max() <= bound


def test_an_orientation_in_exif_is_not_applied(tmp_path):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20] = 255
    content = cv2.imencode(".jpg", picture)[1].tobytes()
    turned = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)  # orientation: clockwise
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + turned + bytes(4)
    header = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path = tmp_path / "c" / "image_00001.jpg"
    path.parent.mkdir()
    path.write_bytes(content[:2] + header + content[2:])
    assert cv2.imread(str(path)).shape == (60, 40, 3)  # there is something to ignore
    [frame] = video.read_frames(path.parent)
    np.testing.assert_allclose(frame, picture, atol=3)
    assert image_folders.read(path, grey=True).shape == (40, 60)
    np.testing.assert_array_equal(frame_files.read_rgb(tmp_path, "c", [0])[0], frame)
