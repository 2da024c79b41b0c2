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


def test_a_list(tree, tmp_path):
    """Paths outside of the list's folder keep their classes."""
    folder, outside = tree.parent, [tmp_path.parent / name for name in ("x/1.mp4", "y/1.mp4")]
    lines = [
        "\ufeffvideos/b/two.AVI\r\n", "# a comment", "  ./videos/gone.mp4 ", "videos/v_1.5",
        str(outside[0]), f"../{outside[1].relative_to(tmp_path.parent)}",
    ]  # fmt: skip
    (folder / "list.txt").write_text("\n".join(lines))
    assert inputs.items(folder / "list.txt") == (
        Item("videos/b/two", tree / "b/two.AVI"),
        Item("videos/gone", tree / "gone.mp4"),
        Item("videos/v_1.5", tree / "v_1.5"),
        Item("x/1", outside[0]),
        Item("y/1", outside[1]),
    )


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


def test_results_are_no_sources(tmp_path):
    """Those of an output in the input, and those of the same command in an input that is it."""
    _touch(tmp_path, "a.mp4", *(f"{name}/image_00001.jpg" for name in ("a", "b", "out/a")))
    (tmp_path / "a/.done").write_text(json.dumps({"command": "extract_frames"}))
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for output, command, names in (
        (tmp_path / "out", "extract_frames", ["a", "a", "b"]),
        (tmp_path / "link", "extract_frames", ["a", "a", "b"]),
        (tmp_path, "extract_frames", ["a", "b", "link/a", "out/a"]),
        (tmp_path, "extract_flow", ["a", "a", "b", "link/a", "out/a"]),  # which takes frames, too
    ):
        assert _names(tmp_path, output=output, command=command) == names


@pytest.mark.parametrize(
    ("path", "records", "error", "text"),
    [
        ("empty", None, FileNotFoundError, r"0 videos found under .*, looked for .*\.avi, .*image"),
        ("list.txt", None, FileNotFoundError, r"0 videos found in .*list\.txt"),
        ("nothing", None, FileNotFoundError, "there is no such file or folder"),
        ("videos", 9, FileNotFoundError, r"none of the 9 clips .*looked for x/0\.mp4, .* 6 more"),
        ("videos", 0, ValueError, "the annotations have no clip"),
        ("list.txt", 1, NotADirectoryError, "expected the folder of the data set"),
    ],
)
def test_nothing_found_is_said(tree, tmp_path, path, records, error, text):
    (tmp_path / "list.txt").write_text("# nothing\n")
    (tmp_path / "empty").mkdir()
    if records is not None:
        records = [Record(f"x/{k}", f"x/{k}.mp4", "training") for k in range(records)]
    with pytest.raises(error, match=text):
        inputs.items(tmp_path / path, records, limit=1)
