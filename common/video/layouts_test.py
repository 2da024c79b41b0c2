from pathlib import Path

import pytest

from common.video import layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, detect

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
NAMES = ["Class Name/v_a.b_c01", f"soccer/{ODD}", f"{{name}}/{ODD}", "ü/-Ωß !(1)"]

# By layout, what others call the first files of the clip "c/v", by hand.
FILES = {
    "rgb image": ["c/v/image_00001.jpg"],
    "rgb img": ["c/v/img_00001.jpg"],
    "rgb frame": ["c/v/frame000001.jpg"],
    "rgb charades": ["c/v/v-000001.jpg"],
    "rgb something_v1": ["c/v/00001.jpg"],
    "flow image_xy": ["c/v/image_00001x.jpg", "c/v/image_00001y.jpg"],
    "flow flow_xy": ["c/v/flow_x_00001.jpg", "c/v/flow_y_00001.jpg"],
    "flow charades": ["c/v/v-000001x.jpg", "c/v/v-000001y.jpg"],
    "flow uv": ["u/c/v/frame000001.jpg", "v/c/v/frame000001.jpg"],
    "flow uv_inside": ["c/v/u/frame000001.jpg", "c/v/v/frame000001.jpg"],
    "flow xy": ["x/c/v/frame000001.jpg", "y/c/v/frame000001.jpg"],
    "flow npy": ["c/v_flow.npy"],
    "flow npz": ["c/v_flow.npz"],
}
TABLES = {"rgb": RGB_LAYOUTS, "flow": FLOW_LAYOUTS}
LAYOUTS = {f"{kind} {name}": table[name] for kind, table in TABLES.items() for name in table}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def put(root, table, layout, numbers, name="c"):
    for number in numbers:
        touch(*table[layout].paths(root, name, number, 0))


def test_paths_by_hand():
    assert list(FILES) == list(LAYOUTS)
    for key, layout in LAYOUTS.items():
        paths = layout.paths(Path("root"), "c/v")
        assert [path.relative_to("root").as_posix() for path in paths] == FILES[key]
        targets = sorted({path.rpartition("/")[0] for path in FILES[key]})
        if layout.is_array:
            targets = [*FILES[key], "c/v_flow.json"]
        assert sorted(layout.targets("c/v")) == sorted(targets)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", LAYOUTS)
def test_what_is_there_is_found(tmp_path, key, name):
    layout, table = LAYOUTS[key], TABLES[key.split()[0]]
    for first in (0, 1):
        root = tmp_path / str(first)
        assert not layout.present(root, name)
        for index in range(12):
            touch(*layout.paths(root, name, index, first))
        assert detect(root, name, table) is layout
        if not layout.is_array:
            for folder in layout.targets(name):
                touch(root / folder / "n_frames", root / folder / "flow.json")
            assert layout.numbers(root, name) == range(first, first + 12)
            assert layout.count(root, name) == 12


@pytest.mark.parametrize(
    ("rgb", "flow"), [("img", "flow_xy"), ("image", "image_xy"), ("charades", "charades")]
)
def test_detection_of_the_other_kind(tmp_path, rgb, flow):
    """Frames and flow in one folder, as dense_flow and MindSpore have them."""
    put(tmp_path, RGB_LAYOUTS, rgb, [1])
    with pytest.raises(FileNotFoundError, match="has nothing of the clip"):
        detect(tmp_path, "c", FLOW_LAYOUTS)
    put(tmp_path, FLOW_LAYOUTS, flow, [1])
    assert detect(tmp_path, "c", RGB_LAYOUTS).name == rgb
    assert detect(tmp_path, "c", FLOW_LAYOUTS).name == flow


def test_several_layouts_and_none_are_errors(tmp_path):
    put(tmp_path, FLOW_LAYOUTS, "image_xy", [1])
    put(tmp_path, FLOW_LAYOUTS, "npy", [0])
    with pytest.raises(ValueError, match=r"clip c in the layouts image_xy, npy\. Move all"):
        detect(tmp_path, "c", FLOW_LAYOUTS)
    touch(tmp_path / "c" / "image_00001.png", tmp_path / "c" / "image_1.jpg")
    with pytest.raises(FileNotFoundError, match=r"nothing of the clip c\. Looked for c/image_0000"):
        detect(tmp_path, "c", RGB_LAYOUTS)
    with pytest.raises(ValueError, match=r"no such layout\. Expected one of charades, "):
        layouts.get("png", RGB_LAYOUTS)


@pytest.mark.parametrize(
    ("numbers", "missing", "counts"),
    [((2, 3), 1, "1 to 3. Received: 2"), ((0, 1, 3, 5), 2, "0 to 5. Received: 4"),
     ((1, 2, 4), 3, "1 to 4. Received: 3"), ((1, 99_999_999), 2, "1 to 99999999. Received: 2")],
)  # fmt: skip
def test_gaps_are_named(tmp_path, numbers, missing, counts):
    put(tmp_path, RGB_LAYOUTS, "image", numbers)
    with pytest.raises(ValueError, match=rf"image_{missing:05d}\.jpg is missing") as error:
        RGB_LAYOUTS["image"].count(tmp_path, "c")
    assert f"Expected files {counts} files." in str(error.value)


def test_x_without_y_is_named(tmp_path):
    layout = FLOW_LAYOUTS["uv"]
    put(tmp_path, FLOW_LAYOUTS, "uv", range(1, 11))
    for removed, text in (
        (["v/c/frame000010.jpg"], r"v/c/frame000010\.jpg is missing.* 10 and 9 files"),
        (["u/c/frame000005.jpg"], r"u/c/frame000005\.jpg is missing.* 9 and 9 files"),
        ([f"v/c/frame{k:06d}.jpg" for k in range(1, 10)], r"v/c/frame000001\.jpg .* 9 and 0 files"),
    ):
        for path in removed:
            (tmp_path / path).unlink()
        with pytest.raises(ValueError, match=text):
            layout.numbers(tmp_path, "c")


def test_what_only_looks_alike_is_not_counted(tmp_path):
    put(tmp_path, RGB_LAYOUTS, "image", [1])
    for other in ("image_000002.jpg", "image_00002.jpeg", "image_2.jpg", "image_00002x.jpg",
                  "image_٠٠٠٠٢.jpg", "Image_00002.jpg", "image_.jpg", ".image_00002.jpg.tmp",
                  "image_-0002.jpg", "image_00002.jpg.bak", "image_00002 .jpg"):  # fmt: skip
        touch(tmp_path / "c" / other)
    assert RGB_LAYOUTS["image"].numbers(tmp_path, "c") == range(1, 2)
    touch(tmp_path / "d" / "image_100000.jpg")  # more digits than five, as printf writes it
    with pytest.raises(ValueError, match="1 to 100000"):
        RGB_LAYOUTS["image"].numbers(tmp_path, "d")


@pytest.mark.parametrize("name", ["", ".", "/etc", "../c", "a/../../c"])
def test_names_that_lead_out_of_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"relative and without '\.\.'"):
        detect(tmp_path, name, FLOW_LAYOUTS)


def test_n_frames(tmp_path):
    layouts.write_n_frames(tmp_path / ODD, 250)
    assert (tmp_path / ODD / "n_frames").read_bytes() == b"250"
    assert layouts.read_n_frames(tmp_path / ODD, 250) == 250
    with pytest.raises(ValueError, match="says 250, and there are 249"):
        layouts.read_n_frames(tmp_path / ODD, 249)
    with pytest.raises(FileNotFoundError, match="count_frames"):
        layouts.read_n_frames(tmp_path)
    (tmp_path / "n_frames").write_text("12\n")  # with an end of line, as an editor leaves it
    assert layouts.read_n_frames(tmp_path) == 12
    for text in ("", "-1", "1_0", "12 13", "٣", "1.0", "ten"):
        (tmp_path / "n_frames").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="expected a number"):
            layouts.read_n_frames(tmp_path)
