"""Counting what other tools left, in their layouts, and the files `n_frames`."""

import pytest

from common.prepare import count_frames


def _touch(folder, pattern, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / (pattern % number)).touch()
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "patterns",
    [
        ["image_%05d.jpg"],
        ["img_%05d.jpg"],
        ["frame%06d.jpg"],
        ["%05d.jpg"],
        ["a-b 1-%06d.jpg"],
        ["image_%05dx.jpg", "image_%05dy.jpg"],
        ["flow_x_%05d.jpg", "flow_y_%05d.jpg"],
        ["a-b 1-%06dx.jpg", "a-b 1-%06dy.jpg"],
    ],
)
def test_layouts(tmp_path, patterns, first):
    for pattern in patterns:
        _touch(tmp_path / "a-b 1", pattern, range(first, first + 12))
    for name in ("n_frames", "flow.json", ".done", "thumb.jpg"):
        (tmp_path / "a-b 1" / name).touch()
    assert count_frames.recount(tmp_path / "a-b 1", dry_run=True)[0] == 12


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"image_%05d.jpg": [1, 2, 4]}, "image_00003.jpg is missing"),
        ({"image_%05d.jpg": [2, 3]}, "image_00001.jpg is missing"),
        ({"image_%05dx.jpg": [1, 2], "image_%05dy.jpg": [1]}, "image_00002y.jpg is missing"),
        ({"image_%05d.jpg": [1], "img_%05d.jpg": [1]}, "in the layouts image, img"),
        ({"image_%05d.jpg": [1], "image_%05dx.jpg": [1]}, "in the layouts image, image_xy"),
        ({"page%d.png": [1]}, "has nothing of the clip clip. Looked for clip/image_00001.jpg"),
    ],
)
def test_what_cannot_be_counted_is_named_and_keeps_its_number(tmp_path, files, text):
    for pattern, numbers in files.items():
        folder = _touch(tmp_path / "clip", pattern, numbers)
    (folder / "n_frames").write_text("7")
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        count_frames.recount(folder)
    assert (folder / "n_frames").read_text() == "7"


@pytest.mark.parametrize(
    ("before", "changed"), [(None, True), ("4", True), ("many", True), ("", True), ("3\n", False)]
)
def test_n_frames(tmp_path, before, changed):
    folder = _touch(tmp_path / "clip", "image_%05d.jpg", [1, 2, 3])
    if before is not None:
        (folder / "n_frames").write_text(before)
    there = sorted(folder.iterdir())
    assert count_frames.recount(folder, dry_run=True) == (3, changed)
    assert sorted(folder.iterdir()) == there
    assert before is None or (folder / "n_frames").read_text() == before
    assert count_frames.recount(folder) == (3, changed)
    assert (folder / "n_frames").read_text() == ("3" if changed else before)
    assert count_frames.recount(folder) == (3, False)
