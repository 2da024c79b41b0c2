"""The command with a predictor of NumPy: what it writes, leaves alone, and says.

`parity_tests/features_test.py` compares the numbers that the frameworks compute.
"""

import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch, command
from common.annotations import Action, Annotations, Record, annotation_files
from common.features.command import run, write
from common.features.compare import read
from common.features.settings import FORMATS, Settings
from common.testing.films import Film
from common.testing.tasks import contents, failed
from convert import hub
from convert.conftest import thin as thin
from parity_tests import randomise

pytestmark = pytest.mark.usefixtures("thin")

TINY = ("--crop_size=32", "--short_side=40", "--window=9", "--batch_size=2")
TWO = (
    "--streams=rgb,flow", "--rgb_checkpoint=rgb.safetensors",
    "--flow_checkpoint=flow.safetensors", "--tvl1=warps=1",
)  # fmt: skip
WIDTH = 64  # numbers of a row


def make(model, **options):
    """A predictor whose numbers are the means of the clips."""

    def features(clips, endpoint):
        steps, *_, width = arch.endpoint_shapes(model.net, clips.shape[1:4])[endpoint]
        means = clips.mean(axis=(1, 2, 3, 4), dtype=np.float64).astype(np.float32)
        return np.broadcast_to(means[:, None, None], (len(clips), steps, width)).copy()

    return SimpleNamespace(features=features)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 20 and 33 frames, and 20 images."""
    folder = tmp_path_factory.mktemp("videos")
    for film in (Film("a.mp4", 20, (1, 0)), Film("b/c d.avi", 33, (1, 1)), Film("e", 20, (0, 1))):
        film.write(folder)
    return folder


@pytest.fixture
def data(tmp_path, videos, monkeypatch):
    """The current folder: weights and the videos."""
    for name, architecture, channels in (
        ("rgb", "inception_i3d_global", 3), ("flow", "inception_i3d_global", 2),
        ("pooled", "inception_i3d", 3),
    ):  # fmt: skip
        net = arch.make(architecture, 4, channels)
        hub.write(hub.Weights(net, randomise.arrays(net)), tmp_path / f"{name}.safetensors")
    (tmp_path / "videos").symlink_to(videos)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def extract(*flags):
    """The exit status, and what is printed on stdout and on stderr."""
    usual = ["--input=videos", "--output=out", *TINY]
    if not any("_checkpoint=" in flag for flag in flags):
        usual.append("--checkpoint=rgb.safetensors")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command.call(lambda given: run(given, make, "numpy"), Settings, [*usual, *flags])
    return status, out.getvalue(), err.getvalue()


def record(path):
    return json.loads(path.read_text())


# Flags, and of a.mp4 the frames of its rows, their shape, and which files.
SECOND = [[0, 16], [4, 20]]
WAYS = {
    "windows": ("--window=16 --stride=4", SECOND, [WIDTH], ["a.npy"]),
    "endpoint": (
        "--window=16 --stride=4 --endpoint=Conv3d_2c_3x3 --format=npz", SECOND, [12], ["a.npz"]
    ),
    "dense": ("--mode=dense --format=safetensors", [[0, 20]] * 3, [WIDTH], ["a.safetensors"]),
    "framewise": (
        "--mode=framewise --frequency=10 --crops=three", [[0, 5], [6, 15]], [3, WIDTH], ["a.npy"]
    ),
    "span": ("--start=0.2 --end=0.61", [[0, 9]], [WIDTH], ["a.npy"]),
    "streams": (" ".join(TWO), [[0, 9], [9, 18]], [WIDTH], ["a_rgb.npy", "a_flow.npy"]),
    "joined": (" ".join([*TWO, "--join"]), [[0, 9], [9, 18]], [2 * WIDTH], ["a.npy"]),
}  # fmt: skip


@pytest.mark.slow
def test_rows_files_and_records_of_every_way(data):
    """One after another in one folder; what was made before is made again."""
    (data / "list.txt").write_text("# one\nvideos/a.mp4\n")
    for number, (flags, spans, shape, names) in enumerate(WAYS.values()):
        _, out, errors = extract("--input=list.txt", *flags.split())
        replaced = " (1 in place of what was there)" * bool(number)
        assert out.startswith(f"extract_features: 1 done{replaced}, "), flags + errors
        found = record(data / "out/videos/a.json")
        for name in names:
            (array,) = read(data / "out/videos" / name).values()
            assert array.shape == (len(spans), *shape), flags
        for rows in found["arrays"].values():
            assert [*map(list, zip(rows[""]["first"], rows[""]["last"], strict=True))] == spans
            start = found["start"] or 0
            assert rows[""]["end"] == [round(start + end / 25, 6) for _, end in spans]
    assert [*found["arrays"]] == ["rgb+flow"]
    assert found["flow"]["parameters"]["warps"] == 1


def test_a_folder_of_videos_and_again(data):
    done = "0 failed, 73 frames, 7 rows\n"
    assert extract()[:2] == (0, f"extract_features: 3 done, 0 skipped, {done}")
    before = contents(data / "out")
    names = ("a.npy", "a.json", "b/c d.npy", "b/c d.json", "e.npy", "e.json")
    markers = [f".{name}.done".replace(".b/", "b/.") for name in names]
    assert {*before} == {"b", *names, *markers}
    found = record(data / "out/e.json")["arrays"]["rgb"][""]
    assert [found[key] for key in ("fps", "start", "end")] == [None] * 3  # of images
    assert extract()[:2] == (0, f"extract_features: 0 done, 3 skipped, {done}")
    assert contents(data / "out") == before


def test_a_data_set(data):
    """Clips and labelled spans; of a clip that is missing, the others are done."""
    actions = (Action(1, 0.0, 0.4), Action(0, 0.4, 1.2))
    frames = (Action(1, 0, 9), Action(0, 9, 20))  # half a frame earlier, where nothing is rounded
    records = (
        Record("b/c d", "b/c d.avi", "training", (0, 1), actions=actions),
        Record("a", "a.mp4", "training", actions=frames, fps=25.0, unit="frames"),
        Record("cut", "b/c d.avi", "training", start=0.4, end=1.0),
        Record("gone", "gone.mp4", "training"),
    )
    annotation_files.write(data / "clips.json", Annotations(("sit", "stand up"), records))
    status, out, _ = extract("--annotations=clips.json")
    assert status == 1 and out.startswith("extract_features: 3 done, 0 skipped, 1 failed")
    (entry,) = failed(data / "out")
    assert (entry["item"], "there is no such file" in entry["reason"]) == ("gone", True)
    assert record(data / "out/cut.json")["arrays"]["rgb"][""]["start"] == [0.4]
    assert extract("--annotations=clips.json", "--spans", "--output=spans")[0] == 0
    for name, start, rows in (
        ("b/c d/000_stand_up", 0.0, 1), ("b/c d/001_sit", 0.4, 2), ("a/001_sit", 0.34, 1),
    ):  # fmt: skip
        found = record(data / f"spans/{name}.json")
        assert (found["start"], found["arrays"]["rgb"][""]["shape"][0]) == (start, rows)
    for flag in ("--start=1", "--tracking_folder=tracks"):
        _, _, errors = extract("--annotations=clips.json", flag, "--short_side=0")
        assert "cut: expected whole videos for --start, --end and --tracking_folder" in errors
    for path in (data / "unlabelled.json", data / "unknown.json"):
        changed = Record("a", "a.mp4", "training", actions=frames, unit="frames")
        known = records[2:3] if path.stem == "unlabelled" else (changed,)
        annotation_files.write(path, Annotations(("sit", "stand up"), known))
        _, _, errors = extract(f"--annotations={path}", "--spans")
        assert ("annotations have no clip" in errors) or ("their rate is unknown" in errors)


def test_arrays_and_tracklets_are_items(data):
    """But neither flow nor our features; items are made again when their tracklets change."""
    mixed = data / "mixed"
    Film("a.mp4", 9, (1, 0)).write(mixed)
    for name in ("b_rgb", "b_flow"):
        np.save(mixed / f"{name}.npy", np.zeros((1, 9, 40, 40, 3), np.float32))
    assert extract("--input=mixed")[1].startswith("extract_features: 2 done, ")
    (data / "a.json").write_text(json.dumps({"x": {str(k): [1, 1, 9, 9] for k in range(9)}}))
    flags = ("--input=mixed/a.mp4", f"--tracking_folder={data}", "--fps=0", "--short_side=0")
    for expected in ("1 done (1 in place", "1 done (1 in place"):
        assert extract(*flags)[1].startswith(f"extract_features: {expected}")
        assert list(read(data / "out/a.npy")) == ["x"]
        (data / "a.json").write_text((data / "a.json").read_text() + " ")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            "--checkpoint=pooled.safetensors --window=4 --crop_size=224",
            "inception_i3d: the clip is too small. Expected at least 9x193x193",
        ),
        ("--input=empty", "0 videos found under empty, looked for .3gp, .asf, .avi"),
        ("--input=gone.mp4", "gone.mp4: there is no such file or folder"),
        ("--checkpoint=flow.safetensors", "are for another stream. Expected rgb, 3 channels"),
        ("--endpoint=Mixed_9z", "no such endpoint. Expected one of Conv"),
    ],
)
def test_what_is_wrong_is_one_line(data, flags, text):
    status, out, errors = extract(*flags.split())
    assert (status, out) == (1, "")
    (error,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert text in error
    assert not (data / "out").exists()


def test_what_fails_does_so_alone(data):
    """Too short, an array with a span, a crop too large."""
    mixed = data / "mixed"
    Film("short.mp4", 5, (1, 0)).write(mixed)
    Film("whole.mp4", 20, (1, 0)).write(mixed)
    np.save(mixed / "array.npy", np.zeros((1, 20, 40, 40, 3), np.float32))
    status, out, _ = extract("--input=mixed", "--short=error", "--start=0", "--end=0.6")
    assert (status, "1 done, 0 skipped, 2 failed" in out) == (1, True), out
    reasons = {entry["item"]: entry["reason"] for entry in failed(data / "out")}
    assert "array.npy: an array is taken as a whole" in reasons["array"]
    assert "has 5 frames, and 9 are needed" in reasons["short"]
    names = ("whole.npy", "whole.json", ".whole.npy.done", ".whole.json.done", "failed.jsonl")
    assert {*contents(data / "out")} == {*names}
    status, out, _ = extract("--input=mixed", "--crop_size=64", "--allow_failures=3")
    assert status == 0 and "cannot cut 64x64 out of frames of 40x53" in out
    assert record(data / "out/whole.json")["extraction"]["crop_size"] == 32  # of before


def arrays(**counts):
    """Of individuals, with so many rows each; [N, 4], and from the second on [N, 10, 4]."""
    random = np.random.default_rng(3)
    shapes = [(count, 10, 4)[:: 1 if k else 2] for k, count in enumerate(counts.values())]
    values = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    return dict(zip(counts, values, strict=True))


@pytest.mark.parametrize("suffix", FORMATS.values())
@pytest.mark.parametrize(
    "given", [arrays(**{"": 0}), arrays(**{"": 5}), arrays(**{"7": 3, "Зебра 2": 2, "a/b.npy": 1})]
)
def test_what_is_written_comes_back_and_has_the_same_bytes(tmp_path, suffix, given):
    one, two, tracked = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}", len(given) > 1
    if suffix == ".h5":
        pytest.importorskip("h5py")
    write(one, given, tracked)
    got, single = read(one), "" if suffix == ".npy" else "features"
    assert sorted(got) == (sorted(given) if tracked else [single])
    for name, array in given.items():
        np.testing.assert_array_equal(got[name or single], array, strict=True)
    write(two, {name: np.asfortranarray(array) for name, array in given.items()}, tracked)
    assert one.read_bytes() == two.read_bytes()
    if suffix == ".npy" and tracked:  # as NumPy opens it
        assert list(np.load(one, allow_pickle=True).item()) == [*given]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/.", "a\0b", "file"])
def test_a_name_that_a_format_cannot_hold_is_an_error(tmp_path, name):
    for suffix in (".npz", ".h5"):
        with pytest.raises(ValueError, match=f"{suffix} cannot hold .*; choose npy or safetensors"):
            write(tmp_path / f"t{suffix}", arrays(**{name: 2}), tracked=True)
    for suffix in (".npy", ".safetensors"):
        write(tmp_path / f"t{suffix}", arrays(**{name: 2}), tracked=True)
        assert list(read(tmp_path / f"t{suffix}")) == [name]
