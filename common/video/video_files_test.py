"""Which files are found, and which are called as videos are."""

import pytest

from common.video import video_files


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.mp4", True), ("a.b.WEBM", True), ("a.3gp", True), ("a.txt", False), ("mp4", False),
     (".mp4", False), ("a.mp4.part", False)],
)  # fmt: skip
def test_videos_by_name(tmp_path, name, expected):
    assert video_files.is_video(name) is video_files.is_video(tmp_path / name) is expected


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
    assert found(tmp_path / "nowhere") == found(tmp_path) == found()
