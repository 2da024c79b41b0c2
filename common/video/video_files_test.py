"""Which files are videos and frames, and what an image decodes to."""

import struct

import cv2
import numpy as np
import pytest

from common.video import VideoError, video_files

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def test_videos_by_name(tmp_path):
    names = ("a.mp4", "a.b.WEBM", "a.txt", ".mp4", "a.mp4.part")
    assert [name for name in names if video_files.is_video(tmp_path / name)] == [
        "a.mp4",
        "a.b.WEBM",
    ]


def test_files_under_a_folder(tmp_path):
    root = tmp_path / "root"
    for name in ("root/b/2", "root/b/1", "root/a/1", "root/.a/1", "root/.b", "other/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (root / "b/up").symlink_to(root)
    (root / "b/self").symlink_to("self")
    (root / "c").symlink_to(tmp_path / "other")

    def found(skip=None):
        paths = video_files.files_under(root, skip)
        return [path.relative_to(root).as_posix() for path in paths]

    assert found() == ["a/1", "b/1", "b/2", "b/self", "c/1"]
    assert found(root / "b") == ["a/1", "c/1"]
    assert found(tmp_path / "other") == ["a/1", "b/1", "b/2", "b/self"]  # a link leads there
    assert found(tmp_path / "nowhere") == found()


@pytest.mark.parametrize(
    "names",
    [
        [f"image_{k:05d}.jpg" for k in range(1, 13)],
        [f"img_{k:05d}.png" for k in range(12)],
        [f"A1-B2%d-{k:06d}.JPG" for k in range(1, 13)],
        [f"{k}.jpeg" for k in range(1, 13)],  # numbers grow past their padding
    ],
)
def test_frames_come_in_the_order_of_their_numbers(tmp_path, names):
    others = "n_frames .done ._image_00001.jpg thumbnail.jpg image_00001x.jpg flow_x_00001.jpg"
    for name in (*names, *others.split()):
        (tmp_path / name).touch()
        assert video_files.is_frame(name) is (name in names)
    assert [path.name for path in video_files.find(tmp_path)] == names


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["image_00001x.jpg"], "folder without numbered frames"),
        (["0.jpg", "1.jpg", "99999999.jpg"], r"2\.jpg is missing\. .*0 to 99999999\. Received: 3"),
        (["00002.jpg", "00003.jpg"], r"00001\.jpg is missing\. .*1 to 3\. Received: 2"),
        (["image_00001.jpg", "frame000001.jpg"], "2 ways: image_00001.jpg, frame000001.jpg"),
        (["image_00001.jpg", "image_1.jpg"], "2 ways: image_1.jpg, image_00001.jpg"),
    ],
)
def test_names_that_are_no_frames_of_one_video(tmp_path, names, text):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(VideoError, match=text):
        video_files.find(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_images_are_errors(tmp_path, suffix):
    path = tmp_path / f"1.{suffix}"
    content = cv2.imencode(f".{suffix}", NOISE)[1].tobytes()
    for bad in (*(content[:part] for part in (0, 1, 2, 300, -2)), b"text", content[100:]):
        path.write_bytes(bad)
        with pytest.raises(VideoError, match=rf"1\.{suffix}: the image is damaged"):
            video_files.read_image(path)
    huge = np.zeros((2**14, 2**13 + 1), np.uint8)  # 2**27 pixels and some
    path.write_bytes(cv2.imencode(f".{suffix}", huge)[1].tobytes())
    with pytest.raises(VideoError, match=r"or has more than 2\*\*27 pixels"):
        video_files.read_image(path)
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"1\.{suffix}: expected 24x32 .* Received: 32x24"):
        video_files.read_image(path, size=(32, 24))


@pytest.mark.parametrize(("suffix", "channels"), [("jpg", 1), ("jpg", 3), ("png", 1), ("png", 4)])
def test_pixels(tmp_path, suffix, channels):
    blurred = cv2.GaussianBlur(np.random.default_rng(0).random((64, 96, channels)), (0, 0), 8)
    picture = cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    path = tmp_path / f"1.{suffix}"
    assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    picture = picture.reshape(64, 96, channels)
    rgb = picture[..., :3][..., ::-1] if channels > 1 else np.repeat(picture, 3, 2)
    bound = 6 if suffix == "jpg" else 0
    difference = video_files.read_image(path).astype(int) - rgb
    assert np.abs(difference).max() <= bound
    assert abs(difference.mean()) <= 0.1
    if channels == 1:
        grey = video_files.read_image(path, grey=True)
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
    np.testing.assert_allclose(video_files.read_image(path), picture, atol=3)
    assert video_files.read_image(path, grey=True).shape == (40, 60)
