"""What is found in files, folders, lists and records, and under which name."""

import json

import pytest

from common.annotations import Record
from common.jobs import inputs
from common.jobs.task import Item


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


def test_absolute_paths_of_a_list_keep_their_classes(tmp_path):
    paths = [tmp_path / name for name in ("data/x/1.mp4", "data/y/1.mp4", "data/y/z/2.avi")]
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists/list.txt"
    listed.write_text("\n".join([*map(str, paths), "../data/x/3.mp4", "4.mp4"]))
    assert [item.name for item in inputs.items(listed)] == ["x/1", "y/1", "y/z/2", "x/3", "4"]
    listed.write_text("\n".join(map(str, paths[1:])))
    assert [item.name for item in inputs.items(listed)] == ["1", "z/2"]


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


def test_the_rate_of_frames_is_that_of_the_annotation(tree):
    records = [
        Record("1", "b/c", "training", fps=12.0),
        Record("clip 1", "gone/clip 1", "training", fps=12.0),
        Record("clip 2", "gone.mp4", "training", fps=30.0),
        Record("b", "b/two.AVI", "training", fps=30.0),
        Record("5", "b", "training", fps=0.0),
    ]
    for name in ("clip 1", "clip 2"):
        (tree / name).mkdir()
    # Frames of a video may have been extracted at any rate, and a video has its own.
    assert [item.fps for item in inputs.items(tree, records)] == [12, 12, None, None, None]


def test_a_folder_with_nothing_of_the_data_set_is_wrong(tree):
    records = [Record(f"x/{k}", f"x/{k}.mp4", "training") for k in range(9)]
    with pytest.raises(
        FileNotFoundError, match=r"videos has none of the 9 clips .*looked for x/0\.mp4, .* 6 more"
    ):
        inputs.items(tree, records, limit=1)
    (tree / "x").mkdir()
    (tree / "x/8.mp4").touch()
    assert [item.name for item in inputs.items(tree, records, limit=1)] == ["x/0"]


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


def _frames(folder, count=2, command=""):
    folder.mkdir(parents=True)
    for k in range(1, count + 1):
        (folder / f"image_{k:05d}.jpg").touch()
    if command:
        (folder / ".done").write_text(json.dumps({"command": command}))


def test_the_output_in_the_input_is_passed_over(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").touch()
    _frames(tmp_path / "in/c0")
    before = inputs.items(tmp_path / "in")
    output = tmp_path / "in/out/frames"
    _frames(output / "a")
    _frames(output / "c0")
    (tmp_path / "link").symlink_to(output)
    for each in (output, tmp_path / "link", f"{output}/../frames/"):
        assert inputs.items(tmp_path / "in", output=each) == before
    assert len(inputs.items(tmp_path / "in", output=tmp_path / "elsewhere")) == 4
    assert len(inputs.items(output, output=tmp_path / "in")) == 2  # what is above is not met


def test_results_in_an_input_that_is_the_output_are_no_sources(tmp_path):
    (tmp_path / "a.mp4").touch()
    _frames(tmp_path / "a", command="extract_frames")
    _frames(tmp_path / "c0", command="other")
    _frames(tmp_path / "c1")

    def names(output, command):
        return [item.name for item in inputs.items(tmp_path, output=output, command=command)]

    assert names(tmp_path, "extract_frames") == ["a", "c0", "c1"]
    assert inputs.items(tmp_path, output=tmp_path, command="extract_frames")[0].source.is_file()
    # Frames that were extracted are sources for everything else.
    assert names(tmp_path, "extract_flow") == ["a", "a", "c0", "c1"]
    assert names(tmp_path / "c0", "extract_frames") == ["a", "a", "c1"]


def test_stamped_flow_is_no_folder_of_frames(tmp_path):
    for name in ("frames/a", "u/a", "v/a"):
        _frames(tmp_path / name)
    for name in ("u/a", "v/a"):
        (tmp_path / name / "flow.json").write_text("{}")
    assert inputs.items(tmp_path) == (Item("frames/a", tmp_path / "frames/a"),)
    assert len(inputs.frame_folders(tmp_path)) == 3  # they are counted as others are


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


def test_frames_in_a_file_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder of frames"):
        inputs.frame_folders(tmp_path / "a.mp4")
