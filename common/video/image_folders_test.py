import struct

import cv2
import numpy as np
import pytest

from common import video
from common.video import image_folders

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def _folder(folder, names, size=(24, 32)):
    """Images whose grey level is ten times their place."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full((*size, 3), 10 * k, np.uint8))
    return folder


def _levels(folder, **span):
    return [round(float(frame.mean()) / 10) for frame in video.read_frames(folder, **span)]


@pytest.mark.parametrize(
    "names",
    [
        [f"image_{k:05d}.jpg" for k in range(1, 13)],
        [f"{k:05d}.jpg" for k in range(12)],
        [f"img_{k:05d}.png" for k in range(12)],
        [f"A1-B2%d-{k:06d}.JPG" for k in range(1, 13)],
        [f"{k}.jpeg" for k in range(1, 13)],  # numbers grow past their padding
    ],
)
def test_frames_come_in_the_order_of_their_numbers(tmp_path, names):
    _folder(tmp_path, names)
    others = "n_frames .done flow.json ._image_00001.jpg thumbnail.jpg image_00001x.jpg"
    for other in (*others.split(), "image_00001y.jpg", "flow_x_00001.jpg", "flow_y_00002.jpg"):
        (tmp_path / other).touch()
    assert [path.name for path in image_folders.find(tmp_path)] == names
    assert _levels(tmp_path) == list(range(12))


def test_times_and_sizes(tmp_path):
    _folder(tmp_path, [f"{k:05d}.jpg" for k in range(1, 13)])
    assert _levels(tmp_path, source_fps=12, fps=6) == list(range(0, 12, 2))
    assert _levels(tmp_path, source_fps=12, fps=24, max_frames=5) == [0, 0, 1, 1, 2]
    timed = video.Video(tmp_path, source_fps=12, start=0.5, end=0.75).timed()
    assert [time for time, _ in timed] == pytest.approx([6 / 12, 7 / 12, 8 / 12])
    for span in ({"fps": 25}, {"start": 1}, {"end": 1}):
        with pytest.raises(ValueError, match="need source_fps"):
            video.read_frames(tmp_path, **span)
    for about in (video.info(tmp_path), video.measure(tmp_path)):
        assert about == video.VideoInfo(32, 24, None, 12, None)
    assert video.info(tmp_path, source_fps=12) == video.VideoInfo(32, 24, 12.0, 12, 1.0)


def test_every_image_is_checked(tmp_path):
    _folder(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    whole = (tmp_path / "2.jpg").read_bytes()
    _folder(tmp_path / "other", ["2.jpg"], size=(32, 24))
    other = (tmp_path / "other" / "2.jpg").read_bytes()
    for content, text in (
        (whole[:-50], r"2\.jpg: is a damaged image"),
        (other, r"2\.jpg: is 24x32, 1\.jpg is 32x24"),
    ):
        (tmp_path / "2.jpg").write_bytes(content)
        for read in (video.measure, lambda path: list(video.read_frames(path))):
            with pytest.raises(video.VideoError, match=text):
                read(tmp_path)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["image_00001x.jpg"], "folder without numbered frames"),
        (["image_00001.jpg", "image_00002.jpg", "image_00005.jpg"], r"image_00003\.jpg is missing"),
        (["00002.jpg", "00003.jpg"], r"00001\.jpg is missing"),
        (["image_00001.jpg", "frame000001.jpg"], "2 ways: image_00001.jpg, frame000001.jpg"),
        (["image_00001.jpg", "image_00001.png"], "2 ways: image_00001.jpg, image_00001.png"),
        (["image_00001.jpg", "image_2.jpg"], "2 ways: image_2.jpg, image_00001.jpg"),
        (["image_00001.jpg", "image_1.jpg"], "2 ways: image_1.jpg, image_00001.jpg"),
    ],
)
def test_names_that_are_no_frames_of_one_video(tmp_path, names, text):
    with pytest.raises(video.VideoError, match=text):
        image_folders.find(_folder(tmp_path, names))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_and_huge_images_are_errors(tmp_path, suffix):
    path = tmp_path / f"1.{suffix}"
    content = cv2.imencode(f".{suffix}", NOISE)[1].tobytes()
    for bad in (*(content[:part] for part in (0, 1, 2, 300, -2)), b"text", content[100:]):
        path.write_bytes(bad)
        with pytest.raises(video.VideoError, match=rf"1\.{suffix}: is (a damaged|neither)"):
            image_folders.read(path)
    huge = bytearray(content)
    at = 16 if suffix == "png" else huge.index(b"\xff\xc0") + 5
    huge[at : at + (8 if suffix == "png" else 4)] = struct.pack(
        ">II" if suffix == "png" else ">HH", 30000, 32000
    )
    path.write_bytes(huge)
    with pytest.raises(video.VideoError, match=rf"1\.{suffix}: states 960,000,000 pixels"):
        image_folders.read(path)


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
    path = tmp_path / "1.jpg"
    path.write_bytes(content[:2] + header + content[2:])
    assert cv2.imread(str(path)).shape == (60, 40, 3)  # there is something to ignore
    np.testing.assert_allclose(image_folders.read(path), picture, atol=3)
    assert image_folders.read(path, grey=True).shape == (40, 60)
