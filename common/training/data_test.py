"""Examples and batches: what is cut out, what is refused, and chance as a function of a key."""

import dataclasses
import os
import pickle
import signal

import cv2
import numpy as np
import pytest

from common import arch
from common.annotations import Action, Annotations, Record, annotation_files
from common.annotations.frame_labels import frame_labels
from common.preprocessing import contracts, crops, frames
from common.testing import data as testing
from common.testing.data import SIZE, STAMP
from common.testing.films import Film
from common.training import recipes
from common.training.data import Batch, Example, TrainingSet, batches, dropout, order
from common.video import frame_files
from common.video.clip_reader import ClipReader, Source

SMALL = ["sample_duration=4", "sample_rate=2", "short_side=20,28", "crop=16", "num_classes=3"]
RECIPE = recipes.changed(recipes.RECIPES["finetune"], SMALL)
FLOW = recipes.changed(RECIPE, ["stream=flow"])
NAMES = ("dark/training_0", "light/training_1", "striped/training_2")
HEIGHT, WIDTH = SIZE


def put(root, frames=12):
    """Three records; returns annotations and source."""
    path, source = testing.put(root, training=3, validation=0, frames=frames)
    return annotation_files.read(path), source


def _set(annotations, source, recipe, subset="training"):
    contract = dataclasses.replace(
        contracts.of_stream(recipe.architecture, recipe.stream), short_side=recipe.short_side[1]
    )
    return TrainingSet(annotations, ClipReader(source, contract), recipe, subset)


def drawn(recipe, total, *numbers):
    """Window, short side, corner and flip, drawn as `TrainingSet.example` says."""
    rng = np.random.default_rng(numbers)
    window = crops.random_window(total, recipe.sample_duration, recipe.sample_rate, rng)
    low, high = recipe.short_side
    side = crops.random_short_side(rng, low, high) if low < high else low
    corner = crops.random_corner(*crops.resized_size(*SIZE, side), recipe.crop, rng)
    return window, side, corner, recipe.flip and crops.random_flip(rng)


@pytest.mark.parametrize("changes", [[], ["short_side=24,24", "flip=false"]])
def test_rgb_is_what_the_reference_makes(tmp_path, changes):
    recipe = recipes.changed(RECIPE, changes)
    annotations, source = put(tmp_path)
    training = _set(annotations, source, recipe)
    flips = set()
    for epoch in range(8):
        window, side, corner, flipped = drawn(recipe, 12, 5, epoch, 1)
        flips.add(flipped)
        stored = np.stack(
            [cv2.imread(str(source.rgb / NAMES[1] / f"image_{k + 1:05d}.jpg")) for k in window]
        )[..., ::-1]
        expected = np.rint(frames.resize_short_side(stored, side)).astype(np.uint8)
        expected = crops.crop(expected, corner, 16)
        expected = crops.flip(expected) if flipped else expected
        example = training.example((5, epoch, 1))
        assert (example.name, example.target) == (NAMES[1], 1)
        np.testing.assert_array_equal(example.clip, expected, strict=True)
    assert flips == ({False} if changes else {False, True})


def test_flow_flips_and_resizes_with_its_vectors(tmp_path):
    annotations, source = put(tmp_path)
    training = _set(annotations, source, FLOW)
    assert training.stamp.engine == "numba"
    whole = np.load(source.flow / f"{NAMES[0]}_flow.npy")[0]
    flips = set()
    for epoch in range(20):
        window, side, (top, left), flipped = drawn(FLOW, len(whole), 5, epoch, 0)
        flips.add(flipped)
        height, width = crops.resized_size(*SIZE, side)
        expected = frames.resize(whole[window], height, width)
        expected *= np.float32([width / WIDTH, height / HEIGHT])
        expected = expected.clip(-1, 1)[:, top : top + 16, left : left + 16]
        expected = expected[:, :, ::-1] * [-1, 1] if flipped else expected
        found = training.example((5, epoch, 0)).clip
        assert (found.dtype, found.shape) == (np.float32, (4, 16, 16, 2))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert flips == {False, True}


def test_rgb_and_flow_are_cut_at_the_same_place(tmp_path):
    """Both encode where they are: red and x the column, green and y the row."""
    rows, columns = np.mgrid[:24, :32].astype(np.float32)
    rgb = np.stack([columns, rows, rows], -1) * 8 / 255 * 2 - 1
    frame_files.write_npy(tmp_path / "a_rgb.npy", [rgb] * 9)
    targets = [tmp_path / "a_flow.npy", tmp_path / "a_flow.json"]
    moved = np.stack([columns, rows], -1) / 2
    frame_files.write_flow(targets, "a", [moved] * 8, STAMP, "npy")
    annotations = Annotations(("x",), (Record("a", "a.avi", "training", (0,)),))
    source = Source(tmp_path, tmp_path)
    sets = [
        _set(annotations, source, recipes.changed(r, ["short_side=24,24"])) for r in (RECIPE, FLOW)
    ]
    signs = set()
    for epoch in range(9):
        rgb, flow = (each.example((1, epoch, 0)).clip for each in sets)
        signs.add(float(np.sign(flow.sum(axis=(0, 1, 2)))[0]))
        np.testing.assert_allclose(rgb[..., 0] / 8, np.abs(flow[..., 0]) * 40, atol=0.1)
        np.testing.assert_allclose(rgb[..., 1] / 8, flow[..., 1] * 40, atol=0.1)
    assert signs == {-1, 1}


def test_short_videos_loop_in_every_process_alike(tmp_path):
    recipe = recipes.changed(RECIPE, ["sample_duration=7", "sample_rate=1"])
    training = _set(*put(tmp_path, frames=3), recipe)
    clip = training.example((3, 2, 1)).clip
    np.testing.assert_array_equal(clip[[3, 4, 5, 6]], clip[[0, 1, 2, 0]])
    again = pickle.loads(pickle.dumps(training))  # noqa: S301  # as a worker gets it
    assert again.example((3, 2, 1)).clip.tobytes() == clip.tobytes()
    assert again.example((4, 2, 1)).clip.tobytes() != clip.tobytes()


@pytest.mark.parametrize("unit", ["seconds", "frames"])
def test_labels_of_exactly_the_frames_that_are_shown(tmp_path, unit):
    _, source = put(tmp_path)
    scale = 0.1 if unit == "seconds" else 1
    spans = (Action(0, 2 * scale, 5 * scale), Action(2, 4 * scale, 99 * scale))
    fields = {"fps": 10.0, "frames": 12} if unit == "seconds" else {"frames": 12}
    record = Record(NAMES[0], "a.avi", "training", (0, 2), actions=spans, unit=unit, **fields)
    free = Record(NAMES[1], "b.avi", "training", unit=unit, **fields)
    recipe = recipes.changed(RECIPE, ["task=frames"])
    training = _set(Annotations(("x", "y", "z"), (record, free)), source, recipe)
    # Frame 2 is at the very start of a span in seconds: not in it, by pytorch-i3d's rule.
    rule = "strict" if unit == "seconds" else "half_open"
    labels = frame_labels(record, 3, rule=rule)
    assert labels[:, 0].tolist() == [0, 0, int(unit == "frames"), 1, 1, 0, 0, 0, 0, 0, 0, 0]
    for epoch in range(5):
        window, *_ = drawn(recipe, 12, 0, epoch, 0)
        target = training.example((0, epoch, 0)).target
        np.testing.assert_array_equal(target, labels[window].astype(np.float32), strict=True)
    assert not training.example((0, 0, 1)).target.any()


def test_what_cannot_be_read_is_named(tmp_path):
    """Files that are missing before training begins, damaged ones at their turn."""
    annotations, source = put(tmp_path)
    training = _set(annotations, source, recipes.changed(RECIPE, ["sample_duration=6"]))
    for path in (source.rgb / NAMES[1]).glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"^light/training_1 \(.*avi\): .*\d\.jpg.*damaged"):
        training.example((0, 0, 1))
    (source.rgb / NAMES[1] / "image_00004.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 records cannot be read: light.*00004\.jpg is"):
        _set(annotations, source, RECIPE)
    with pytest.raises(ValueError, match=r"3 of 3 records.*: no folder with the flow"):
        _set(annotations, Source(source.rgb), FLOW)


def test_flow_of_two_kinds_is_refused(tmp_path):
    annotations, source = put(tmp_path)
    other = source.flow / f"{NAMES[1]}_flow.npy"
    dataclasses.replace(STAMP, engine="opencv", form="npy").write(other)
    with pytest.raises(ValueError, match=r"engine is 'numba' in dark.*, 'opencv' in light"):
        _set(annotations, source, FLOW)
    other.unlink()  # flow of frames is computed
    frame_files.write_rgb(source.flow / NAMES[1], NAMES[1], np.zeros((12, *SIZE, 3), np.uint8))
    with pytest.raises(ValueError, match="not all made in the same way"):
        _set(annotations, source, FLOW)


def test_labels_that_do_not_fit(tmp_path):
    annotations, source = put(tmp_path)
    with pytest.raises(ValueError, match=r"has 2 classes, and there are others in .* of striped"):
        _set(annotations, source, recipes.changed(RECIPE, ["num_classes=2"]))
    both = Record("d", "d.avi", "training", (0, 1))
    with pytest.raises(ValueError, match=r"expected one class a video\. .* for d\."):
        _set(Annotations((), (*annotations.records, both)), source, RECIPE)
    with pytest.raises(ValueError, match=r"no records for validation\. .* 3 for training\."):
        _set(annotations, source, RECIPE, "validation")


def test_videos_directly(tmp_path):
    """RGB from the video, and its flow with a short side of the recipe's; of other lengths too."""
    films = (Film("x/a.avi", 15, (2, 0)), Film("x/b.mp4", 4, (0, 1), fps=12))
    for film in films:
        film.write(tmp_path)
    records = [Record(f.path[:3], f.path, "training", (k,)) for k, f in enumerate(films)]
    annotations, source = Annotations(("x", "y", "z"), tuple(records)), Source(tmp_path, tmp_path)
    rgb = _set(annotations, source, RECIPE)
    flow = _set(annotations, source, recipes.changed(FLOW, ["sample_duration=2"]))
    assert (flow.stamp.engine, flow.stamp.short_side, flow.stamp.fps) == ("numba", 28, 25)
    for index in range(2):
        assert rgb.example((0, 0, index)).clip.std() > 10
        assert flow.example((0, 0, index)).clip.shape == (2, 16, 16, 2)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Small clips of noise; `log` gets a byte for each call, and index 3 fails as `bad` says."""

    count: int
    bad: str = ""
    log: str = os.devnull

    def __len__(self):
        return self.count

    def example(self, key):
        with open(self.log, "ab") as file:
            file.write(b"x")
        index = key[2]
        if index == 3 and self.bad == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(key)
        return Example(f"{index}", rng.integers(0, 256, (2, 20, 31, 3), np.uint8), index % 5)


STEPS = recipes.changed(recipes.RECIPES["finetune"], ["steps=8", "batch=4", "seed=7"])


def run(count, recipe=STEPS, **settings):
    return list(batches(Noise(count), recipe, **settings))


def same(one, other):
    return (
        (one.names, one.keys) == (other.names, other.keys)
        and one.targets.tobytes() == other.targets.tobytes()
        and one.clips.tobytes() == other.clips.tobytes()
    )


@pytest.mark.parametrize(("workers", "first"), [(0, 5), (1, 2)])
def test_the_same_batches_whoever_makes_them_and_wherever_it_begins(workers, first):
    alone, found = run(11), run(11, first_step=first, workers=workers)
    assert (len(alone), len(found)) == (8, 8 - first)
    assert all(same(a, b) for [a], [b] in zip(alone[first:], found, strict=True))


def test_workers_read_a_step_ahead_and_one_that_dies_is_an_error_at_its_turn(tmp_path):
    log = tmp_path / "log"
    found = batches(Noise(11, "kill", str(log)), STEPS, workers=2)
    before = list(order(7, 0, 11)).index(3) // 4
    assert before > 0
    for step in range(before):
        next(found)
        assert log.stat().st_size <= 4 * (step + 2)
    with pytest.raises(ChildProcessError, match=r"\(signal 9\) while it read .*fewer"):
        next(found)


def test_epochs_follow_each_other_without_a_break():
    """11 items and batches of 4: every item once in items 0 to 10, in 11 to 21, and so on."""
    found = [batch for [batch] in run(11)]
    keys = [key for batch in found for key in batch.keys]
    assert [epoch for _, epoch, _ in keys] == [0] * 11 + [1] * 11 + [2] * 10
    first, second = ([index for _, epoch, index in keys if epoch == e] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second
    assert order(7, 0, 11).tolist() == first != order(8, 0, 11).tolist()
    assert found[0].targets.tolist() == [index % 5 for index in first[:4]]
    assert (found[0].targets.dtype, found[0].clips.dtype) == (np.int64, np.uint8)
    np.testing.assert_array_equal(found[0].clips[2], Noise(11).example((7, 0, first[2])).clip)
    [[batch]] = run(3, recipes.changed(STEPS, ["steps=1", "batch=8"]))  # more than an epoch
    assert [epoch for _, epoch, _ in batch.keys] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_micro_batches_and_replicas_divide_the_batch():
    recipe = recipes.changed(STEPS, ["batch=12", "steps=2"])
    parts = recipes.changed(recipe, ["accumulate=3"])
    ranks = [run(10, parts, rank=rank, replicas=2) for rank in range(2)]
    for step, [whole] in enumerate(run(10, recipe)):
        pieces = [ranks[rank][step][part] for part in range(3) for rank in range(2)]
        assert all(len(piece.names) == 2 for piece in pieces)
        joined = Batch(
            sum((piece.names for piece in pieces), ()),
            np.concatenate([piece.clips for piece in pieces]),
            np.concatenate([piece.targets for piece in pieces]),
            sum((piece.keys for piece in pieces), ()),
        )
        assert same(joined, whole)
    with pytest.raises(ValueError, match=r"5 replicas x 3 micro-batches.* batch 12"):
        run(10, parts, replicas=5)


def test_dropout_belongs_to_the_item():
    net = arch.with_dropout(arch.make("r2plus1d_18", 5), 0.25)
    shape = arch.endpoint_shapes(net, (16, 64, 64))["Features"]

    def masks(*keys):
        return dropout(net, Batch((), np.zeros((1, 16, 64, 64, 3)), np.zeros(1), keys))

    found = masks((7, 0, 0), (7, 0, 1))
    assert (found.shape, found.dtype) == ((2, *shape), np.float32)
    assert set(np.unique(found)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((found == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(masks((7, 0, 1))[0], found[1])
    assert (found[0] != found[1]).any() and (masks((7, 1, 1))[0] != found[1]).any()
    assert dropout(arch.with_dropout(net, 0.0), None) is None
