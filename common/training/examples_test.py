"""Examples: what is cut out, what is refused, and that chance is a function of three numbers."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from common.annotations import Action, Annotations, Record
from common.annotations.frame_labels import frame_labels
from common.flow.stamp import FlowStamp
from common.preprocessing import clips, contracts, crops, frames
from common.testing.films import Film
from common.training import recipes
from common.training.examples import ItemError, TrainingSet
from common.video import storing
from common.video.clip_reader import Source

SMALL = ["sample_duration=4", "sample_rate=2", "short_side=20,28", "crop=16", "num_classes=3"]
RECIPE = recipes.changed(recipes.get("finetune"), SMALL)
FLOW = recipes.changed(RECIPE, ["stream=flow"])
STAMP = FlowStamp("numba", {"warps": 5})
SIZE = (24, 32)


def texture(count, seed=0):
    """Frames [T, H, W, 3] that jpg hardly changes."""
    coarse = np.random.default_rng(seed).integers(30, 220, (count, 3, 4, 3), np.uint8)
    return np.stack([cv2.resize(each, SIZE[::-1]) for each in coarse])


def put(root, names, count=12):
    """Frames and flow of each record: (records, source)."""
    for k, name in enumerate(names):
        storing.write_rgb(root / "rgb" / name, name, texture(count, k))
        moved = np.random.default_rng(k).uniform(-18, 18, (count - 1, *SIZE, 2)).astype(np.float32)
        targets = [root / f"flow/{name}_flow.npy", root / f"flow/{name}_flow.json"]
        storing.write_flow(targets, name, moved, STAMP, "npy")
    records = tuple(
        Record(name, f"{name}.avi", "training", (k % 3,)) for k, name in enumerate(names)
    )
    return Annotations(("x", "y", "z"), records), Source(root / "rgb", root / "flow")


def _set(annotations, source, recipe, subset="training"):
    contract = dataclasses.replace(
        contracts.of_stream(recipe.architecture, recipe.stream), short_side=recipe.short_side[1]
    )
    return TrainingSet(annotations, source, recipe, contract, subset)


def drawn(recipe, total, height, width, *numbers):
    """Window, short side, corner and flip, drawn as `TrainingSet.example` says."""
    rng = np.random.default_rng(numbers)
    window = clips.random_window(total, recipe.sample_duration, recipe.sample_rate, rng)
    low, high = recipe.short_side
    side = crops.random_short_side(rng, low, high) if low < high else low
    size = crops.resized_size(height, width, side)
    corner = crops.random_corner(*size, recipe.crop, rng)
    return window, side, corner, recipe.flip and crops.random_flip(rng)


@pytest.mark.parametrize("changes", [[], ["short_side=24,24"], ["flip=false"]])
def test_rgb_is_what_the_reference_makes(tmp_path, changes):
    recipe = recipes.changed(RECIPE, changes)
    annotations, source = put(tmp_path, ["a/one", "b/two"])
    training = _set(annotations, source, recipe)
    assert (len(training), training.num_classes, training.stamp) == (2, 3, None)
    flips = set()
    for epoch in range(8):
        window, side, corner, flipped = drawn(recipe, 12, *SIZE, 5, epoch, 1)
        flips.add(flipped)
        stored = np.stack(
            [cv2.imread(str(source.rgb / f"b/two/image_{k + 1:05d}.jpg")) for k in window]
        )[..., ::-1]
        expected = np.rint(frames.resize_short_side(stored, side)).astype(np.uint8)
        expected = crops.crop(expected, corner, 16)
        expected = crops.flip(expected) if flipped else expected
        example = training.example(epoch, 1, 5)
        assert (example.name, example.target) == ("b/two", 1)
        assert (example.clip.dtype, example.clip.shape) == (np.uint8, (4, 16, 16, 3))
        np.testing.assert_array_equal(example.clip, expected)
    assert flips == ({False} if changes == ["flip=false"] else {False, True})


def test_flow_flips_and_resizes_with_its_vectors(tmp_path):
    annotations, source = put(tmp_path, ["a"])
    training = _set(annotations, source, FLOW)
    assert training.stamp.engine == "numba"
    whole = np.load(source.flow / "a_flow.npy")[0]
    flips = set()
    for epoch in range(20):
        window, side, (top, left), flipped = drawn(FLOW, 12, *SIZE, 5, epoch, 0)
        flips.add(flipped)
        height, width = crops.resized_size(*SIZE, side)
        expected = frames.resize(whole[window], height, width)
        expected *= np.float32([width / 32, height / 24])
        expected = expected.clip(-1, 1)[:, top : top + 16, left : left + 16]
        expected = expected[:, :, ::-1] * [-1, 1] if flipped else expected
        found = training.example(epoch, 0, 5).clip
        assert (found.dtype, found.shape) == (np.float32, (4, 16, 16, 2))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert flips == {False, True}


def test_rgb_and_flow_are_cut_at_the_same_place(tmp_path):
    """Both encode where they are: red and x the column, green and y the row."""
    rows, columns = np.mgrid[:24, :32].astype(np.float32)
    rgb = np.stack([columns, rows, rows], -1) * 8 / 255 * 2 - 1
    storing.write_npy(tmp_path / "a_rgb.npy", [rgb] * 9)
    targets = [tmp_path / "a_flow.npy", tmp_path / "a_flow.json"]
    moved = np.stack([columns, rows], -1) / 2
    storing.write_flow(targets, "a", [moved] * 8, STAMP, "npy")
    annotations = Annotations(("x",), (Record("a", "a.avi", "training", (0,)),))
    same = ["short_side=24,24", "num_classes=none"]
    source = Source(tmp_path, tmp_path)
    sets = [_set(annotations, source, recipes.changed(r, same)) for r in (RECIPE, FLOW)]
    signs = set()
    for epoch in range(9):
        rgb, flow = (each.example(epoch, 0, 1).clip for each in sets)
        signs.add(float(np.sign(flow.sum(axis=(0, 1, 2)))[0]))
        np.testing.assert_allclose(rgb[..., 0] / 8, np.abs(flow[..., 0]) * 40, atol=0.1)
        np.testing.assert_allclose(rgb[..., 1] / 8, flow[..., 1] * 40, atol=0.1)
    assert signs == {-1, 1}


def test_chance_is_a_function_of_seed_epoch_and_index(tmp_path):
    annotations, source = put(tmp_path, ["a", "b"])
    training = _set(annotations, source, RECIPE)
    again = pickle.loads(pickle.dumps(training))  # noqa: S301  # as a worker gets it
    first = training.example(2, 1, 3)
    np.testing.assert_array_equal(again.example(2, 1, 3).clip, first.clip)
    for other in ((3, 1, 3), (2, 1, 4)):
        assert again.example(*other).clip.tobytes() != first.clip.tobytes()


def test_short_clips_loop(tmp_path):
    annotations, source = put(tmp_path, ["a"], count=3)
    recipe = recipes.changed(RECIPE, ["sample_duration=7", "sample_rate=1"])
    clip = _set(annotations, source, recipe).example(0, 0, 0).clip
    assert len({frame.tobytes() for frame in clip}) == 3
    np.testing.assert_array_equal(clip[3:6], clip[:3])
    np.testing.assert_array_equal(clip[6], clip[0])


@pytest.mark.parametrize("unit", ["seconds", "frames"])
def test_labels_of_exactly_the_frames_that_are_shown(tmp_path, unit):
    _, source = put(tmp_path, ["a"])
    scale = 0.1 if unit == "seconds" else 1
    spans = (Action(0, 2 * scale, 5 * scale), Action(2, 4 * scale, 99 * scale))
    fields = {"fps": 10.0, "frames": 12} if unit == "seconds" else {"frames": 12}
    record = Record("a", "a.avi", "training", (0, 2), actions=spans, unit=unit, **fields)
    free = Record("a", "a.avi", "training", unit=unit, **fields)
    recipe = recipes.changed(RECIPE, ["task=frames"])
    training = _set(Annotations(("x", "y", "z"), (record, free)), source, recipe)
    # Frame 2 is at the very start of a span in seconds: not in it, by pytorch-i3d's rule.
    rule = "strict" if unit == "seconds" else "half_open"
    labels = frame_labels(record, 3, rule=rule)
    assert labels[:, 0].tolist() == [0, 0, int(unit == "frames"), 1, 1, 0, 0, 0, 0, 0, 0, 0]
    for epoch in range(5):
        window, *_ = drawn(recipe, 12, *SIZE, 0, epoch, 0)
        target = training.example(epoch, 0, 0).target
        assert (target.dtype, target.shape) == (np.float32, (4, 3))
        np.testing.assert_array_equal(target, labels[window])
    assert not training.example(0, 1, 0).target.any()


def test_a_bad_item_is_named_at_its_turn(tmp_path):
    annotations, source = put(tmp_path, ["a", "b"])
    training = _set(annotations, source, recipes.changed(RECIPE, ["sample_duration=6"]))
    for path in (source.rgb / "b").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ItemError, match=r"^b \(b\.avi\): .*image_000\d\d\.jpg.*damaged"):
        training.example(0, 1, 0)
    (source.rgb / "b/image_00004.jpg").unlink()
    with pytest.raises(ItemError, match=r"^b \(b\.avi\): .*image_00004\.jpg is missing"):
        training.example(0, 1, 0)
    for path in (source.rgb / "b").iterdir():
        path.unlink()
    with pytest.raises(ItemError, match=r"^b \(b\.avi\): .*has nothing of the clip b\. Looked for"):
        training.example(0, 1, 0)
    assert training.example(0, 0, 0).name == "a"
    error = pickle.loads(pickle.dumps(ItemError("b (b.avi): gone")))  # noqa: S301
    assert str(error) == "b (b.avi): gone"


def test_records_without_files_are_named_before_it_begins(tmp_path):
    annotations, source = put(tmp_path, ["a", "b", "c"])
    (source.rgb / "b/image_00004.jpg").unlink()
    (source.flow / "c_flow.npy").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 records cannot be read: b\. b: .*00004\.jpg is"):
        _set(annotations, source, RECIPE)
    with pytest.raises(ValueError, match=r"1 of 3 records cannot be read: c\. c: .*has nothing of"):
        _set(annotations, source, FLOW)
    with pytest.raises(ValueError, match=r"3 of 3 records.*: a, b, c\. a: no folder with the flow"):
        _set(annotations, Source(source.rgb), FLOW)


def test_mixed_flow_is_refused(tmp_path):
    annotations, source = put(tmp_path, ["a", "b"])
    FlowStamp("opencv", {"warps": 5}, form="npy").write(source.flow / "b_flow.npy")
    with pytest.raises(ValueError, match="engine is 'numba' in a, 'opencv' in b"):
        _set(annotations, source, FLOW)


def test_stored_and_computed_flow_do_not_mix(tmp_path):
    annotations, source = put(tmp_path, ["a", "b"])
    (source.flow / "b_flow.npy").unlink()
    storing.write_rgb(source.flow / "b", "b", texture(12))
    with pytest.raises(ValueError, match="not all made in the same way"):
        _set(annotations, source, FLOW)


def test_labels_that_do_not_fit(tmp_path):
    annotations, source = put(tmp_path, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"labels below 2, .* up to 2, for 1 of 3 records: c\."):
        _set(annotations, source, recipes.changed(RECIPE, ["num_classes=2"]))
    a, b, _ = annotations.records
    unlabelled = Record("c", "c.avi", "training")
    both = Record("d", "d.avi", "training", (0, 1))
    wrong = Annotations(("x", "y", "z"), (a, b, unlabelled, both))
    with pytest.raises(ValueError, match=r"none or several for 2 of 4: c, d\."):
        _set(wrong, source, RECIPE)
    spans = Record("e", "e.avi", "training", actions=(Action(0, 0, 1), Action(5, 0, 1)))
    frames_recipe = recipes.changed(RECIPE, ["task=frames"])
    with pytest.raises(ValueError, match=r"labels below 3, .* up to 5, for 1 of 1 records: e\."):
        _set(Annotations(("x", "y", "z"), (spans,)), source, frames_recipe)
    with pytest.raises(ValueError, match=r"no records for validation\. .* 3 for training\."):
        _set(annotations, source, RECIPE, "validation")


def test_videos_directly(tmp_path):
    """RGB from the video, and its flow with a short side of the recipe's; of other lengths too."""
    Film("x/a.avi", 15, (2, 0)).write(tmp_path)
    Film("x/b.mp4", 4, (0, 1), fps=12).write(tmp_path)
    records = (
        Record("x/a", "x/a.avi", "training", (0,)),
        Record("x/b", "x/b.mp4", "training", (1,)),
    )
    annotations = Annotations(("x", "y", "z"), records)
    source = Source(tmp_path, tmp_path)
    rgb = _set(annotations, source, RECIPE)
    flow = _set(annotations, source, recipes.changed(FLOW, ["sample_duration=2"]))
    assert (flow.stamp.engine, flow.stamp.short_side, flow.stamp.fps) == ("numba", 28, 25)
    for index in range(2):
        assert rgb.example(0, index, 0).clip.std() > 10
        assert flow.example(0, index, 0).clip.shape == (2, 16, 16, 2)


def test_what_goes_to_a_worker_is_small(tmp_path):
    annotations, source = put(tmp_path, ["a"])
    records = annotations.records * 1000
    training = _set(Annotations(("x", "y", "z"), records), source, RECIPE)
    assert len(pickle.dumps(training)) < 20_000
