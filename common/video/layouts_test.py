"""Names of files that other tools wrote are found; gaps and mixtures are said."""

from pathlib import Path

import pytest

from common.video import layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, detect

NAMES = ["Class Name/v_a.b_c01", "{name}/Goal_1_&_2_[x]_%05d_{id};-)", "ü/-Ωß !(1)"]

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


def put(root, layout, numbers, name="c"):
    for number in numbers:
        touch(*LAYOUTS[layout].paths(root, name, number, 0))


def test_paths_by_hand():
    assert list(FILES) == list(LAYOUTS)
    for key, layout in LAYOUTS.items():
        paths = layout.paths(Path("root"), "c/v")
        assert [path.relative_to("root").as_posix() for path in paths] == FILES[key]
        targets = sorted({path.rpartition("/")[0] for path in FILES[key]})
        if layout.is_array:
            targets = [*FILES[key], "c/v_flow.json"]
        assert sorted(layout.targets("c/v")) == sorted(targets)


@pytest.mark.parametrize("key", LAYOUTS)
def test_what_is_there_is_found(tmp_path, key):
    layout, table = LAYOUTS[key], TABLES[key.split()[0]]
    for first, name in enumerate([*NAMES[:1], *NAMES]):
        root = tmp_path / str(first)
        assert layout.count(root, name) == 0
        put(root, key, range(min(first, 1), 12), name)
        assert detect(root, name, table) is layout
        assert layout.count(root, name) == (1 if layout.is_array else 12 - min(first, 1))
        assert layout.find(root, name)[-1][0] == layout.paths(root, name, 0, min(first, 1))[-1]


@pytest.mark.parametrize(
    ("rgb", "flow"), [("img", "flow_xy"), ("image", "image_xy"), ("charades", "charades")]
)
def test_detection_of_the_other_kind(tmp_path, rgb, flow):
    """Frames and flow in one folder, as dense_flow and MindSpore have them."""
    put(tmp_path, f"rgb {rgb}", [1])
    with pytest.raises(FileNotFoundError, match="has nothing of the clip"):
        detect(tmp_path, "c", FLOW_LAYOUTS)
    put(tmp_path, f"flow {flow}", [1])
    assert detect(tmp_path, "c", RGB_LAYOUTS).name == rgb
    assert detect(tmp_path, "c", FLOW_LAYOUTS).name == flow


def test_several_layouts_and_none_are_errors(tmp_path):
    put(tmp_path, "flow image_xy", [1])
    put(tmp_path, "flow npy", [0])
    with pytest.raises(ValueError, match=r"clip c in the layouts image_xy, npy\. Move all"):
        detect(tmp_path, "c", FLOW_LAYOUTS)
    touch(tmp_path / "c" / "image_00001.png", tmp_path / "c" / "image_1.jpg")
    with pytest.raises(FileNotFoundError, match=r"nothing of the clip c\. Looked for c/image_0000"):
        detect(tmp_path, "c", RGB_LAYOUTS)
    for name in ("", ".", "/etc", "../c", "a/../../c"):
        with pytest.raises(ValueError, match=r"relative and without '\.\.'"):
            detect(tmp_path, name, FLOW_LAYOUTS)


def test_x_without_y_is_an_error(tmp_path):
    put(tmp_path, "flow uv", range(1, 11))
    (tmp_path / "v/c/frame000010.jpg").unlink()
    with pytest.raises(ValueError, match="10 files of x and 9 of y"):
        FLOW_LAYOUTS["uv"].count(tmp_path, "c")


def test_what_only_looks_alike_is_not_counted(tmp_path):
    put(tmp_path, "rgb image", [1])
    for other in ("image_000002.jpg", "image_00002.jpeg", "image_2.jpg", "image_00002x.jpg",
                  "image_٠٠٠٠٢.jpg", "Image_00002.jpg", ".image_00002.jpg.tmp"):  # fmt: skip
        touch(tmp_path / "c" / other)
    assert RGB_LAYOUTS["image"].count(tmp_path, "c") == 1
    touch(tmp_path / "d" / "image_100000.jpg")  # more digits than five, as printf writes it
    with pytest.raises(ValueError, match="1 to 100000"):
        RGB_LAYOUTS["image"].count(tmp_path, "d")


def test_n_frames(tmp_path):
    layouts.write_n_frames(tmp_path / "c", 250)
    assert (tmp_path / "c/n_frames").read_bytes() == b"250"
    assert layouts.read_n_frames(tmp_path / "c", 250) == layouts.read_n_frames(tmp_path / "c")
    with pytest.raises(ValueError, match="n_frames: says 250, and there are 249"):
        layouts.read_n_frames(tmp_path / "c", 249)
    for text in ("", "-1", "1_0", "12 13", "٣", "1.0"):
        (tmp_path / "n_frames").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="expected a number"):
            layouts.read_n_frames(tmp_path)
