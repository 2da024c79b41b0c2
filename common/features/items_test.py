"""What features are extracted of: files, spans of time, labelled spans, arrays."""

import dataclasses
import json

import numpy as np
import pytest

from common.annotations import Action, Annotations, Record
from common.features import items
from common.jobs import markers
from common.jobs.task import Item

VIDEO = Record("a/one", "a/one.mp4", "training", fps=10.0, unit="frames")
ACTIONS = (Action(1, 0, 20), Action(0, 20, 25))


@pytest.fixture
def videos(tmp_path):
    """A video in a folder, an array beside it, and what others have made of it."""
    folder = tmp_path / "videos"
    (folder / "a").mkdir(parents=True)
    (folder / "a/one.mp4").touch()
    for name in ("two_rgb", "two_flow", "three"):
        np.save(folder / f"a/{name}.npy", np.zeros((1, 2, 2, 2, 3), np.float32))
    return folder


def names(found):
    return [item.name for item in found]


def test_videos_and_arrays_but_not_flow(videos):
    found = items.found(videos)
    assert names(found) == ["a/one", "a/three", "a/two_rgb"]
    assert items.found(videos / "a/three.npy") == (Item("three", videos / "a/three.npy"),)


@pytest.mark.parametrize(("command", "taken"), [("extract_features", False), ("to_numpy", True)])
def test_our_own_features_are_no_input(videos, command, taken):
    """Where the output is the input, they lie beside the videos."""
    markers.beside(videos / "a/three.npy").write_text(json.dumps({"command": command}))
    assert ("a/three" in names(items.found(videos))) == taken


def test_a_span_of_time_is_every_items(videos):
    found = items.found(videos, start=1.5, end=4.0)
    assert {(item.start, item.end) for item in found} == {(1.5, 4.0)}
    with pytest.raises(ValueError, match=r"end must be after the start, 4\.0"):
        items.found(videos, start=4.0, end=4.0)


def test_labelled_spans(videos):
    """In frames they begin and end half a frame early, where no rounding can decide."""
    known = Annotations(("sit (down)", "run"), (dataclasses.replace(VIDEO, actions=ACTIONS),))
    found = items.found(videos, known, spans=True)
    assert names(found) == ["a/one/000_run", "a/one/001_sit__down_"]
    assert [(item.start, item.end) for item in found] == [(0.0, 1.95), (1.95, 2.45)]
    assert {item.source for item in found} == {videos / "a/one.mp4"}
    in_seconds = dataclasses.replace(VIDEO, actions=ACTIONS, unit="seconds", start=3.0, end=90.0)
    found = items.found(videos, Annotations((), (in_seconds,)), spans=True)
    assert names(found) == ["a/one/000_1", "a/one/001_0"]
    assert [(item.start, item.end) for item in found] == [(3.0, 23.0), (23.0, 28.0)]


@pytest.mark.parametrize(
    ("known", "text", "more"),
    [
        (None, "labelled spans are those of annotations", {"spans": True}),
        (Annotations((), (VIDEO,)), "have no labelled spans", {"spans": True}),
        (
            Annotations((), (dataclasses.replace(VIDEO, actions=ACTIONS, fps=None),)),
            "a/one: its spans are frames, and their rate is not known",
            {"spans": True},
        ),
        (
            Annotations((), (dataclasses.replace(VIDEO, start=1.0, end=2.0),)),
            "a/one: the annotations say where these begin and end",
            {"start": 1.0},
        ),
    ],
)
def test_what_makes_no_sense(videos, known, text, more):
    with pytest.raises(ValueError, match=text):
        items.found(videos, known, **more)
