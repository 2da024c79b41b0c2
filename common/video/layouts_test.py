from pathlib import Path

import pytest

from common.video import layouts
from common.video.layouts import FLOW_LAYOUTS, RGB_LAYOUTS, detect

ODD = "Goal_1_&_2_[x]_%05d_{id};-)"
NAMES = ["clip", "Class Name/v_a.b_c01", f"soccer/{ODD}", f"{{name}}/{ODD}", "ü/-Ωß !(1)"]

# By layout, what others call the first two files of the clip "c/v", by hand.
FILES = {
    "rgb image": ["c/v/image_00001.jpg", "c/v/image_00002.jpg"],
    "rgb img": ["c/v/img_00001.jpg", "c/v/img_00002.jpg"],
    "rgb frame": ["c/v/frame000001.jpg", "c/v/frame000002.jpg"],
    "rgb charades": ["c/v/v-000001.jpg", "c/v/v-000002.jpg"],
    "rgb something_v1": ["c/v/00001.jpg", "c/v/00002.jpg"],
    "flow image_xy": ["c/v/image_00001x.jpg", "c/v/image_00001y.jpg",
                      "c/v/image_00002x.jpg", "c/v/image_00002y.jpg"],
    "flow flow_xy": ["c/v/flow_x_00001.jpg", "c/v/flow_y_00001.jpg",
                     "c/v/flow_x_00002.jpg", "c/v/flow_y_00002.jpg"],
    "flow charades": ["c/v/v-000001x.jpg", "c/v/v-000001y.jpg",
                      "c/v/v-000002x.jpg", "c/v/v-000002y.jpg"],
    "flow uv": ["u/c/v/frame000001.jpg", "v/c/v/frame000001.jpg",
                "u/c/v/frame000002.jpg", "v/c/v/frame000002.jpg"],
    "flow uv_inside": ["c/v/u/frame000001.jpg", "c/v/v/frame000001.jpg",
                       "c/v/u/frame000002.jpg", "c/v/v/frame000002.jpg"],
    "flow xy": ["x/c/v/frame000001.jpg", "y/c/v/frame000001.jpg",
                "x/c/v/frame000002.jpg", "y/c/v/frame000002.jpg"],
}  # fmt: skip

IMAGE_LAYOUTS = {
    **{f"rgb {name}": layout for name, layout in RGB_LAYOUTS.items()},
    **{f"flow {name}": each for name, each in FLOW_LAYOUTS.items() if not each.is_array},
}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def registry(key):
    return RGB_LAYOUTS if key.startswith("rgb") else FLOW_LAYOUTS


@pytest.fixture(params=IMAGE_LAYOUTS)
def key(request):
    return request.param


def test_every_layout_is_here():
    assert list(FILES) == list(IMAGE_LAYOUTS)
    assert set(FLOW_LAYOUTS) - {key.split()[1] for key in FILES} == {"npy", "npz"}


def test_paths_by_hand(key):
    layout = IMAGE_LAYOUTS[key]
    paths = [layout.paths(Path("root"), "c/v", index) for index in (0, 1)]
    assert [path.relative_to("root").as_posix() for pair in paths for path in pair] == FILES[key]
    folders = sorted({path.rpartition("/")[0] for path in FILES[key]})
    assert sorted(layout.targets("c/v")) == folders


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [0, 1])
def test_what_is_there_is_found(tmp_path, key, name, first):
    layout = IMAGE_LAYOUTS[key]
    assert not layout.present(tmp_path, name)
    for index in range(12):
        touch(*layout.paths(tmp_path, name, index, first))
    for folder in layout.targets(name):
        touch(tmp_path / folder / "n_frames", tmp_path / folder / "flow.json")
    assert layout.present(tmp_path, name)
    assert layout.numbers(tmp_path, name) == range(first, first + 12)
    assert layout.count(tmp_path, name) == 12
    assert detect(tmp_path, name, registry(key)) is layout


def test_detection_of_the_other_kind(tmp_path):
    """Frames and flow in one folder, as dense_flow and MindSpore have them."""
    for rgb, flow in (("img", "flow_xy"), ("image", "image_xy"), ("charades", "charades")):
        touch(*RGB_LAYOUTS[rgb].paths(tmp_path, f"{rgb}/clip", 0))
        with pytest.raises(FileNotFoundError, match="has nothing of the clip"):
            detect(tmp_path, f"{rgb}/clip", FLOW_LAYOUTS)
        touch(*FLOW_LAYOUTS[flow].paths(tmp_path, f"{rgb}/clip", 0))
        assert detect(tmp_path, f"{rgb}/clip", RGB_LAYOUTS).name == rgb
        assert detect(tmp_path, f"{rgb}/clip", FLOW_LAYOUTS).name == flow


def test_arrays(tmp_path):
    for name in ("npy", "npz"):
        layout = FLOW_LAYOUTS[name]
        assert layout.targets("c/v.a") == (f"c/v.a_flow.{name}", "c/v.a_flow.json")
        assert layout.paths(tmp_path, ODD) == [tmp_path / f"{ODD}_flow.{name}"]
        touch(*layout.paths(tmp_path, f"{name}/{ODD}"))
        assert detect(tmp_path, f"{name}/{ODD}", FLOW_LAYOUTS) is layout


def test_several_layouts_are_an_error(tmp_path):
    touch(*FLOW_LAYOUTS["image_xy"].paths(tmp_path, "c", 0))
    touch(*FLOW_LAYOUTS["npy"].paths(tmp_path, "c"))
    with pytest.raises(ValueError, match=r"clip c in the layouts image_xy, npy\. Name the one"):
        detect(tmp_path, "c", FLOW_LAYOUTS)


def test_no_layout_is_an_error(tmp_path):
    touch(tmp_path / "c" / "image_00001.png", tmp_path / "c" / "image_1.jpg")
    with pytest.raises(FileNotFoundError, match=r"nothing of the clip c\. Looked for c/image_0000"):
        detect(tmp_path, "c", RGB_LAYOUTS)
    with pytest.raises(FileNotFoundError, match="expected files of the layout image, such as c/"):
        RGB_LAYOUTS["image"].numbers(tmp_path, "c")


@pytest.mark.parametrize(
    ("numbers", "missing", "counts"),
    [((2, 3), 1, "1 to 3. Received: 2"), ((0, 1, 3, 5), 2, "0 to 5. Received: 4"),
     ((1, 2, 4), 3, "1 to 4. Received: 3"), ((1, 99_999_999), 2, "1 to 99999999. Received: 2")],
)  # fmt: skip
def test_gaps_are_named(tmp_path, numbers, missing, counts):
    for number in numbers:
        touch(*RGB_LAYOUTS["image"].paths(tmp_path, "c", number, 0))
    with pytest.raises(ValueError, match=rf"image_{missing:05d}\.jpg is missing") as error:
        RGB_LAYOUTS["image"].count(tmp_path, "c")
    assert f"Expected files {counts} files." in str(error.value)


def test_x_without_y_is_named(tmp_path):
    layout = FLOW_LAYOUTS["uv"]
    for index in range(10):
        touch(*layout.paths(tmp_path, "c", index))
    layout.paths(tmp_path, "c", 9)[1].unlink()
    with pytest.raises(ValueError, match=r"v/c/frame000010\.jpg is missing.* 10 and 9 files"):
        layout.numbers(tmp_path, "c")
    layout.paths(tmp_path, "c", 4)[0].unlink()  # as many of both now
    with pytest.raises(ValueError, match=r"u/c/frame000005\.jpg is missing.* 9 and 9 files"):
        layout.numbers(tmp_path, "c")
    for index in range(10):
        layout.paths(tmp_path, "c", index)[1].unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"v/c/frame000001\.jpg is missing.* 9 and 0 files"):
        layout.numbers(tmp_path, "c")


def test_what_only_looks_alike_is_not_counted(tmp_path):
    touch(*RGB_LAYOUTS["image"].paths(tmp_path, "c", 0))
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
        RGB_LAYOUTS["image"].paths(tmp_path, name, 0)
    with pytest.raises(ValueError, match=r"relative and without '\.\.'"):
        detect(tmp_path, name, FLOW_LAYOUTS)


def test_n_frames(tmp_path):
    folder = tmp_path / ODD
    layouts.write_n_frames(folder, 250)
    assert (folder / "n_frames").read_bytes() == b"250"
    assert layouts.read_n_frames(folder) == 250
    assert layouts.read_n_frames(folder, 250) == 250
    with pytest.raises(ValueError, match="says 250, and there are 249"):
        layouts.read_n_frames(folder, 249)
    (folder / "n_frames").write_text("12\n")  # with an end of line, as an editor leaves it
    assert layouts.read_n_frames(folder) == 12
    with pytest.raises(FileNotFoundError, match="count_frames"):
        layouts.read_n_frames(tmp_path)


@pytest.mark.parametrize("text", ["", "-1", "1_0", "12 13", "٣", "1.0", "ten"])
def test_n_frames_that_is_no_number(tmp_path, text):
    (tmp_path / "n_frames").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="expected a number"):
        layouts.read_n_frames(tmp_path)
