"""What is found in files, folders, lists and records, and under which name."""

import os
from pathlib import Path

import pytest

from common.annotations import Record
from common.prepare import inputs
from common.prepare.task import Item


@pytest.fixture
def tree(tmp_path):
    """A folder of videos, and what is none."""
    for name in ("b/two.AVI", "a.b.mp4", "b/c/été [1] %d.webm", "notes.txt", ".hidden/x.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "videos/._a.mp4").write_text("what a Mac leaves behind")
    return tmp_path / "videos"


def test_a_folder(tree):
    found = inputs.items(tree)
    assert [item.name for item in found] == ["a.b", "b/c/été [1] %d", "b/two"]
    assert [item.source for item in found] == [
        tree / "a.b.mp4", tree / "b/c/été [1] %d.webm", tree / "b/two.AVI",
    ]  # fmt: skip
    assert inputs.items(str(tree), limit=1) == found[:1]


def test_links_are_followed_and_loops_end(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.mkv").touch()
    (tree / "linked").symlink_to(tmp_path / "elsewhere")
    (tree / "b/up").symlink_to(tree)
    (tree / "b/self").symlink_to(tree / "b/self")
    (tree / "gone.mp4").symlink_to(tmp_path / "not there")
    names = [item.name for item in inputs.items(tree)]
    assert names == ["a.b", "b/c/été [1] %d", "b/two", "gone", "linked/far"]


def test_one_video(tree):
    assert inputs.items(tree / "b/two.AVI") == (Item("two", tree / "b/two.AVI"),)


def test_a_list(tree):
    outside = tree.parent / "x.mp4"
    text = (
        f"\ufeffvideos/b/two.AVI\r\n\n# a comment\n  ./videos/gone.mp4 \nvideos/v_1.5\n{outside}\n"
    )
    (tree.parent / "list.txt").write_text(text)
    folder = tree.parent
    assert inputs.items(folder / "list.txt") == (
        Item("videos/b/two", tree / "b/two.AVI"),
        Item("videos/gone", tree / "gone.mp4"),
        Item("videos/v_1.5", tree / "v_1.5"),
        Item("x", outside),
    )
    (tree / "up.txt").write_text("../x.mp4")
    assert inputs.items(tree / "up.txt") == (Item("x", tree / "../x.mp4"),)


def test_a_list_may_have_a_line_separator_in_a_name(tmp_path):
    (tmp_path / "list.txt").write_text("a\u2028b.mp4\n")
    assert [item.name for item in inputs.items(tmp_path / "list.txt")] == ["a\u2028b"]


def test_records(tree):
    records = [
        Record("z/clip_1", "b/two.AVI", "training", start=1.0, end=2.5),
        Record("a/clip_2", "missing.mp4", "testing"),
    ]
    assert inputs.items(tree, records) == (
        Item("z/clip_1", tree / "b/two.AVI", 1.0, 2.5),
        Item("a/clip_2", tree / "missing.mp4"),
    )
    assert len(inputs.items(tree, iter(records), limit=1)) == 1
    with pytest.raises(ValueError, match="the annotations have no clip"):
        inputs.items(tree, [])


def test_prepared_frames_stand_in_for_a_video(tree):
    records = [
        Record("clip 1", "b/gone.mp4", "training", start=1.0, end=2.5),
        Record("b", "b/two.AVI", "training"),
    ]
    (tree / "clip 1").mkdir()
    assert inputs.items(tree, records) == (
        Item("clip 1", tree / "clip 1"),  # of the clip alone: no span
        Item("b", tree / "b/two.AVI"),  # though there is a folder `b`
    )
    with pytest.raises(NotADirectoryError, match="expected the folder of the data set"):
        inputs.items(tree / "b/two.AVI", records)


def test_a_folder_of_videos_and_of_frames(tree):
    for name in (
        "b/c/thumb_1.jpg",  # beside a video
        "x/clip/image_00001.jpg",
        "x/clip/image_00002.jpg",
        "x/clip.old/1.png",
        "flow/clip/image_00001x.jpg",
        "flow/clip/flow_x_00001.jpg",
        "pictures/cover.jpg",
        "pictures/cover_1.bmp",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    found = inputs.items(tree)
    names = ["a.b", "b/c/été [1] %d", "b/two", "x/clip", "x/clip.old"]
    assert [item.name for item in found] == names
    assert [item.source for item in found[3:]] == [tree / "x/clip", tree / "x/clip.old"]
    assert inputs.items(tree / "x/clip") == (Item("clip", tree / "x/clip"),)


def test_folders_of_frames(tmp_path):
    for name in ("b/clip/image_00001.jpg", "a/clip/000.PNG", "a/clip/.done", "b/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert inputs.frame_folders(tmp_path) == (
        Item("a/clip", tmp_path / "a/clip"), Item("b/clip", tmp_path / "b/clip"),
    )  # fmt: skip
    assert inputs.frame_folders(tmp_path / "a/clip") == (Item("clip", tmp_path / "a/clip"),)
    assert len(inputs.frame_folders(tmp_path, limit=1)) == 1


def test_nothing_found_is_said(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"0 videos found under .*, looked for .*\.avi, .*image_00001\.jpg"
    ):
        inputs.items(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"0 images found under .*, looked for \.bmp"):
        inputs.frame_folders(tmp_path)
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(FileNotFoundError, match=r"0 videos found in .*list\.txt"):
        inputs.items(tmp_path / "list.txt")


@pytest.mark.parametrize("find", [inputs.items, inputs.frame_folders])
def test_what_is_refused(find, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        find(tmp_path / "nothing")
    with pytest.raises(ValueError, match="a limit must be at least 1"):
        find(tmp_path, limit=0)


def test_frames_in_a_file_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder of frames"):
        inputs.frame_folders(tmp_path / "a.mp4")


def test_names_that_are_no_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes Unicode only")
    assert inputs.items(tmp_path) == (Item(name[:-4], tmp_path / name),)
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.mp4\n")
    assert inputs.items(tmp_path / "list.txt") == (Item(name[:-4], Path(tmp_path / name)),)
