"""What is found in files, folders, lists and records, and under which name."""

import json

import pytest

from common.annotations import Record
from common.jobs import inputs
from common.jobs.task import Item


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _frames(folder, command=""):
    _touch(folder, "image_00001.jpg", "image_00002.jpg")
    if command:
        (folder / ".done").write_text(json.dumps({"command": command}))


def _names(*arguments, **options):
    return [item.name for item in inputs.items(*arguments, **options)]


@pytest.fixture
def tree(tmp_path):
    """A folder of videos, and what is none."""
    names = ("b/two.AVI", "a.b.mp4", "b/c/été [1] %d.webm")
    return _touch(tmp_path / "videos", *names, "notes.txt", ".hidden/x.mp4", "._a.mp4")


def test_a_folder(tree):
    found = inputs.items(str(tree))
    assert found == (
        Item("a.b", tree / "a.b.mp4"),
        Item("b/c/été [1] %d", tree / "b/c/été [1] %d.webm"),
        Item("b/two", tree / "b/two.AVI"),
    )
    assert inputs.items(tree, limit=1) == found[:1]
    assert inputs.items(tree / "b/two.AVI") == (Item("two", tree / "b/two.AVI"),)


def test_links_are_followed_and_loops_end(tree, tmp_path):
    _touch(tmp_path / "elsewhere", "far.mkv")
    for link, target in (
        ("linked", "elsewhere"), ("b/up", tree), ("b/self", tree / "b/self"), ("gone.mp4", "none"),
    ):  # fmt: skip
        (tree / link).symlink_to(tmp_path / target)
    assert _names(tree) == ["a.b", "b/c/été [1] %d", "b/two", "gone", "linked/far"]


def test_a_folder_of_videos_and_of_frames(tree):
    _touch(
        tree, "b/c/thumb_1.jpg",  # beside a video
        "x/clip/image_00001.jpg", "x/clip/image_00002.jpg", "x/clip.old/1.png",
        "flow/clip/image_00001x.jpg", "flow/clip/flow_x_00001.jpg",
        "pictures/cover.jpg", "pictures/cover_1.bmp", "u/image_00001.jpg", "u/flow.json",
    )  # fmt: skip
    found = inputs.items(tree)
    names = ["a.b", "b/c/été [1] %d", "b/two", "x/clip", "x/clip.old"]
    assert [item.name for item in found] == names
    assert [item.source for item in found[3:]] == [tree / "x/clip", tree / "x/clip.old"]
    assert inputs.items(tree / "x/clip") == (Item("clip", tree / "x/clip"),)


def test_a_list(tree):
    folder, outside = tree.parent, tree.parent / "x.mp4"
    text = (
        f"\ufeffvideos/b/two.AVI\r\n\n# a comment\n  ./videos/gone.mp4 \nvideos/v_1.5\n{outside}\n"
    )
    (folder / "list.txt").write_text(text)
    assert inputs.items(folder / "list.txt") == (
        Item("videos/b/two", tree / "b/two.AVI"),
        Item("videos/gone", tree / "gone.mp4"),
        Item("videos/v_1.5", tree / "v_1.5"),
        Item("x", outside),
    )


def test_paths_of_a_list_keep_their_classes(tmp_path):
    paths = [f"{tmp_path}/data/{name}" for name in ("x/1.mp4", "y/1.mp4", "y/z/2.avi")]
    listed = _touch(tmp_path, "lists/list.txt") / "lists/list.txt"
    listed.write_text("\n".join([*paths, "../data/x/3.mp4", "4.mp4"]))
    assert _names(listed) == ["x/1", "y/1", "y/z/2", "x/3", "4"]
    listed.write_text("\n".join(paths[1:]))
    assert _names(listed) == ["1", "z/2"]


def test_records(tree):
    """Frames stand in for a video that is not there; a video's rate is not that of frames of it."""
    records = [
        Record("z/clip_1", "b/two.AVI", "training", start=1.0, end=2.5, fps=30.0),
        Record("missing", "missing.mp4", "testing"),
        Record("clip 1", "b/gone.mp4", "training", start=1.0, end=2.5, fps=30.0),
        Record("b", "b/two.AVI", "training"),  # though there is a folder `b`
        Record("clip 2", "gone/clip 2", "training", fps=12.0),
        Record("6", "b/c", "training", fps=12.0),
        Record("7", "b", "training", fps=0.0),
    ]
    for name in ("clip 1", "clip 2"):
        (tree / name).mkdir()
    assert inputs.items(tree, iter(records)) == (
        Item("z/clip_1", tree / "b/two.AVI", 1.0, 2.5),
        Item("missing", tree / "missing.mp4"),
        Item("clip 1", tree / "clip 1"),  # of the clip alone: no span
        Item("b", tree / "b/two.AVI"),
        Item("clip 2", tree / "clip 2", fps=12.0),
        Item("6", tree / "b/c", fps=12.0),
        Item("7", tree / "b"),
    )
    assert len(inputs.items(tree, records, limit=1)) == 1


def test_a_folder_with_nothing_of_the_data_set_is_wrong(tree):
    records = [Record(f"x/{k}", f"x/{k}.mp4", "training") for k in range(9)]
    looked_for = r"videos has none of the 9 clips .*looked for x/0\.mp4, .* 6 more"
    with pytest.raises(FileNotFoundError, match=looked_for):
        inputs.items(tree, records, limit=1)
    _touch(tree, "x/8.mp4")
    assert _names(tree, records, limit=1) == ["x/0"]
    with pytest.raises(ValueError, match="the annotations have no clip"):
        inputs.items(tree, [])
    with pytest.raises(NotADirectoryError, match="expected the folder of the data set"):
        inputs.items(tree / "b/two.AVI", records)


def test_the_output_in_the_input_is_passed_over(tmp_path):
    _touch(tmp_path / "in", "a.mp4")
    _frames(tmp_path / "in/c0")
    output = tmp_path / "in/out/frames"
    _frames(output / "a")
    _frames(output / "c0")
    (tmp_path / "link").symlink_to(output)
    for each in (output, tmp_path / "link", f"{output}/../frames/"):
        assert _names(tmp_path / "in", output=each) == ["a", "c0"]
    assert len(_names(tmp_path / "in", output=tmp_path / "elsewhere")) == 4
    assert len(_names(output, output=tmp_path / "in")) == 2  # what is above is not met


def test_results_in_an_input_that_is_the_output_are_no_sources(tmp_path):
    _touch(tmp_path, "a.mp4")
    _frames(tmp_path / "a", "extract_frames")
    _frames(tmp_path / "c0", "other")
    _frames(tmp_path / "c1")
    for output, command, names in (
        (tmp_path, "extract_frames", ["a", "c0", "c1"]),
        (tmp_path, "extract_flow", ["a", "a", "c0", "c1"]),  # which takes frames, too
        (tmp_path / "c0", "extract_frames", ["a", "a", "c1"]),
    ):
        assert _names(tmp_path, output=output, command=command) == names


def test_folders_of_frames(tmp_path):
    _touch(tmp_path, "b/image_00001.jpg", "b/flow.json", "a/clip/000.PNG", "c/note.txt")
    assert inputs.frame_folders(tmp_path) == (
        Item("a/clip", tmp_path / "a/clip"), Item("b", tmp_path / "b"),
    )  # fmt: skip
    assert inputs.frame_folders(tmp_path / "a/clip") == (Item("clip", tmp_path / "a/clip"),)
    assert len(inputs.frame_folders(tmp_path, limit=1)) == 1
    with pytest.raises(NotADirectoryError, match="expected a folder of frames"):
        inputs.frame_folders(tmp_path / "c/note.txt")


@pytest.mark.parametrize(
    ("find", "path", "text"),
    [
        (inputs.items, "", r"0 videos found under .*, looked for .*\.avi, .*image_00001\.jpg"),
        (inputs.frame_folders, "", r"0 images found under .*, looked for \.bmp"),
        (inputs.items, "list.txt", r"0 videos found in .*list\.txt"),
        (inputs.items, "nothing", "there is no such file or folder"),
        (inputs.frame_folders, "nothing", "there is no such file or folder"),
    ],
)
def test_nothing_found_is_said(tmp_path, find, path, text):
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(FileNotFoundError, match=text):
        find(tmp_path / path)
