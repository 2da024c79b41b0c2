"""What a frame says of the motion (nothing), what frames in any order say (nothing), and flow."""

import functools

import cv2
import numpy as np
import pytest

from common import flow, video
from common.annotations import annotation_files
from common.demo import motions
from common.demo.motions import MOTIONS, PICTURES
from common.prepare import make_annotations

CHANCE = 1 / len(MOTIONS)
DIRECTIONS = {  # x and y in shifts a frame; y is down
    "right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1),
    "right_down": (1, 1), "left_up": (-1, -1), "right_up": (1, -1), "left_down": (-1, 1),
}  # fmt: skip


def _clip(scene, motion):
    return motions.scene_pictures(scene)[motions.order(scene, motion)]


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_scene_moves_in_its_direction(motion):
    x, y = (motions.SHIFT * each for each in DIRECTIONS[motion])
    clip = _clip(3, motion).astype(int)
    height, width = clip.shape[1:3]
    before = clip[:-1, max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    after = clip[1:, max(y, 0) : height - max(-y, 0), max(x, 0) : width - max(-x, 0)]
    assert np.abs(after - before).max() <= 1  # rounded at either place
    assert np.abs(clip[1:] - clip[:-1]).mean() > 10  # and it does move


def test_any_17_frames_are_the_same_pictures_in_every_class():
    for motion in MOTIONS:
        order = motions.order(0, motion)
        for start in range(len(order) - PICTURES + 1):
            assert sorted(order[start : start + PICTURES]) == list(range(PICTURES))


def test_videos_begin_anywhere_in_every_class():
    for motion in MOTIONS:
        starts = [motions.order(scene, motion)[0] for scene in range(200)]
        assert set(starts) == set(range(PICTURES))


@functools.cache
def _clips(scenes):
    """A clip of 16 frames of each scene in each motion, [N, 16, levels of 8x10], and labels."""
    rng = np.random.default_rng(scenes[0])
    clips, labels = [], []
    for scene in scenes:
        pictures = motions.scene_pictures(scene)
        small = [cv2.resize(each, (10, 8), interpolation=cv2.INTER_AREA) for each in pictures]
        for label, motion in enumerate(MOTIONS):
            order = motions.order(scene, motion)
            start = rng.integers(len(order) - 15)
            clips.append(np.stack(small)[order[start : start + 16]].reshape(16, -1) / 255)
            labels.append(label)
    return np.stack(clips), np.array(labels)


def _accuracy(features):
    """Of a linear classifier of the features of a clip, on scenes that it has not seen."""
    (train, labels), (test, test_labels) = _clips(range(50)), _clips(range(50, 100))
    rows = np.stack([[*features(clip), 1] for clip in train])
    ridge = rows.T @ rows + 1e-3 * len(rows) * np.eye(rows.shape[1])
    weights = np.linalg.solve(ridge, rows.T @ np.eye(len(MOTIONS))[labels])
    scores = np.stack([[*features(clip), 1] for clip in test]) @ weights
    return (scores.argmax(1) == test_labels).mean()


def test_frames_say_something_in_their_order_alone():
    """To a linear classifier: of what changes from frame to frame, where it was what."""
    for features in (
        lambda clip: clip[0],
        lambda clip: np.concatenate([clip.mean(0), clip.var(0)]),
        lambda clip: np.sort(clip, 0)[::5].ravel(),
    ):
        # 400 clips: four standard deviations are 6.6 %.
        assert abs(_accuracy(features) - CHANCE) < 0.066
    assert _accuracy(_moved) > 0.9


def _moved(clip):
    """Products of neighbours in space and time, as far as motion goes, averaged over all places."""
    before, after = clip[:-1].reshape(15, 8, 10, 3), clip[1:].reshape(15, 8, 10, 3)
    before, after = (each - each.mean((1, 2), keepdims=True) for each in (before, after))
    spread = before.var()
    return [
        (np.roll(before, (y, x), (1, 2)) * after)[:, 1:-1, 1:-1].mean() / spread
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    ]


def test_flow_says_all():
    right = []
    for scene in range(3):
        for motion in MOTIONS:
            greys = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in _clip(scene, motion)[:2])
            found = np.median(flow.tvl1(*greys, engine="numba"), (0, 1)) / motions.SHIFT
            distance = {name: np.hypot(*(found - each)) for name, each in DIRECTIONS.items()}
            right.append(min(distance, key=distance.__getitem__) == motion)
            assert distance[motion] < 0.1
    assert all(right)


def test_the_videos_and_their_lists(tmp_path):
    motions.render(tmp_path / "a", train=2, test=1)
    make_annotations.run(
        make_annotations.Settings(
            dataset="own",
            input=tmp_path / "a/lists",
            output=tmp_path / "own.json",
            videos=tmp_path / "a/videos",
        )
    )
    annotations = annotation_files.read(tmp_path / "own.json")
    assert annotations.classes == tuple(MOTIONS)
    names = [(record.subset, record.id) for record in annotations.records]
    assert sorted(names) == sorted(
        (subset, f"v_{motion}_g{group:02d}_c01")
        for group, subset in ((1, "training"), (2, "training"), (3, "validation"))
        for motion in MOTIONS
    )
    motions.render(tmp_path / "b", train=2, test=1)
    (tmp_path / "b/videos/left/v_left_g02_c01.avi").unlink()  # as if it had been killed there
    motions.render(tmp_path / "b", train=2, test=1)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_coding_adds_nothing_that_tells_the_order(tmp_path):
    source = motions.scene_pictures(0)
    by_order = {}
    for motion in MOTIONS:
        path = tmp_path / f"{motion}.avi"
        order = motions.order(0, motion)
        motions.write_video(path, source[order])
        frames = np.stack(list(video.read_frames(path)))
        grey = frames.mean(-1) - source[order].mean(-1)  # colours are stored coarsely
        assert np.abs(grey).mean() < 6
        by_order[motion] = frames[np.argsort(order[:PICTURES])]
        np.testing.assert_array_equal(frames[:PICTURES], frames[PICTURES:])
    for motion in MOTIONS:
        np.testing.assert_array_equal(by_order[motion], by_order["right"])
