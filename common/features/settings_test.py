"""Flags to settings: presets, contradictions, what is taken from the network, and the items."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from common import arch, settings
from common.annotations import Action, Annotations, Record, annotation_files
from common.features import presets
from common.features.command import find_items
from common.features.settings import MODES, Settings, complete
from common.jobs import markers
from common.jobs.task import Item
from common.preprocessing.contracts import usual

VIDEO = Record("a/one", "a/one.mp4", "training", fps=10.0, unit="frames")
ACTIONS = (Action(1, 0, 20), Action(0, 20, 25))


def parse(*flags):
    return settings.parse(Settings, flags, "extract_features")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_are_flags_that_others_override(name):
    found = parse("--crop_size=100", f"--preset={name}", "--window=5")
    assert found.extraction.mode in MODES
    assert (found.extraction.crop_size, found.extraction.window) == (100, 5)
    assert name in presets.text() and presets.PRESETS[name].differs
    assert parse("--preset", name) == parse(f"--preset={name}")


def test_flags_that_replace_several_of_a_preset():
    found = parse("--preset=resnet50_8").extraction
    assert found.frame_size == (340, 256)
    assert (found.crops, found.rgb_range) == ("ten", (-1.0, 1.0))
    assert parse("--preset=resnet50_8", "--short_side=99").extraction.frame_size == ()
    tracked = parse("--preset=resnet50_8", "--tracking_folder=tracks").extraction
    assert (tracked.crops, tracked.frame_size, tracked.window) == ("center", (), 8)
    tracked = parse("--preset=resnet50_8", "--tracking_folder=tracks", "--crops=ten").extraction
    assert tracked.crops == "ten"
    both = parse("--preset=ms_tcn", "--rgb_checkpoint=a", "--flow_checkpoint=b")
    assert both.checkpoints() == {"rgb": "a", "flow": "b"} and both.join


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--video_w=40", "--video_w and --video_h go together"),
        ("--mode=dense --stride=3", "--stride is for --mode=segment"),
        ("--chunk=3", "--chunk is for --mode=dense"),
        ("--margin=0.1", "--margin is for --tracking_folder"),
        ("--tracking_folder=t --fps=25", "--fps and --short_side do not go with --tracking"),
        ("--flow=flow", "--flow is for --streams with flow"),
        ("--streams=flow --flow=f --start=1", "the flow of --flow is whole"),
        ("--streams=rgb,rgb", "--streams must be rgb, flow or rgb,flow"),
        ("--frame_size=340", "--frame_size must be a width and a height"),
        ("--rgb_range=1,-1", "--rgb_range must be a low and a high number"),
        ("--streams=rgb", "--rgb_checkpoint is needed"),
        ("--streams=rgb,flow --checkpoint=a", "--checkpoint is for one stream"),
        ("--checkpoint=a --flow_checkpoint=a", "--flow_checkpoint does not go with"),
        ("--flow_checkpoint=a", "--flow_checkpoint does not go with"),
    ],
)
def test_flags_that_make_no_sense(flags, text):
    with pytest.raises(settings.UsageError) as caught:
        parse(*flags.split()).checkpoints()
    assert text in str(caught.value)


def test_what_is_open_is_taken_from_the_network():
    net = arch.make("i3d_resnet50_32x2")
    model = SimpleNamespace(net=net, contract=usual(net.name))
    found = complete(parse(), model).extraction
    assert (found.window, found.rate, found.stride, found.span) == (32, 2, 63, 63)
    assert (found.fps, found.short_side, found.crop_size) == (30.0, 256, 224)
    given = parse("--window=8", "--stride=2", "--fps=0", "--crop_size=112")
    kept = complete(given, model).extraction
    assert (kept.window, kept.stride, kept.fps, kept.crop_size) == (8, 2, 0, 112)
    tracked = complete(parse("--tracking_folder=t"), model).extraction
    assert (tracked.fps, tracked.short_side) == (0, 0)


@pytest.fixture
def videos(tmp_path):
    """A video in a folder, and arrays beside it."""
    folder = tmp_path / "videos"
    (folder / "a").mkdir(parents=True)
    (folder / "a/one.mp4").touch()
    for name in ("two_rgb", "two_flow", "three"):
        np.save(folder / f"a/{name}.npy", np.zeros((1, 2, 2, 2, 3), np.float32))
    return folder


def items(folder, *flags, known=None):
    if known:
        annotation_files.write(folder.parent / "known.json", known)
        flags = (*flags, f"--annotations={folder.parent / 'known.json'}")
    return find_items(parse(f"--input={folder}", f"--output={folder.parent / 'out'}", *flags))


def test_videos_and_arrays_but_not_flow_or_our_features(videos):
    assert [item.name for item in items(videos)] == ["a/one", "a/three", "a/two_rgb"]
    assert items(videos / "a/three.npy") == (Item("three", videos / "a/three.npy"),)
    marker = json.dumps({"command": "extract_features"})
    markers.beside(videos / "a/three.npy").write_text(marker)
    assert [item.name for item in items(videos)] == ["a/one", "a/two_rgb"]
    found = items(videos, "--start=1.5", "--end=4")
    assert {(item.start, item.end) for item in found} == {(1.5, 4.0)}


def test_labelled_spans(videos):
    """In frames they begin and end half a frame early, where no rounding can decide."""
    known = Annotations(("sit (down)", "run"), (dataclasses.replace(VIDEO, actions=ACTIONS),))
    found = items(videos, "--spans", known=known)
    assert [item.name for item in found] == ["a/one/000_run", "a/one/001_sit__down_"]
    assert [(item.start, item.end) for item in found] == [(0.0, 1.95), (1.95, 2.45)]
    assert {item.source for item in found} == {videos / "a/one.mp4"}
    in_seconds = dataclasses.replace(VIDEO, actions=ACTIONS, unit="seconds", start=3.0, end=90.0)
    found = items(videos, "--spans", known=dataclasses.replace(known, records=(in_seconds,)))
    assert [(item.start, item.end) for item in found] == [(3.0, 23.0), (23.0, 28.0)]


@pytest.mark.parametrize(
    ("changed", "flags", "text"),
    [
        (None, "--spans", "labelled spans are those of annotations"),
        ({}, "--spans", "have no labelled spans"),
        ({"actions": ACTIONS, "fps": None}, "--spans", "spans are frames, and their rate is unk"),
        ({"start": 1.0}, "--start=1", "a/one: the annotations say where these begin and end"),
        ({"start": 1.0}, "--tracking_folder=t", "a/one: expected whole videos with --tracking_f"),
        (None, "--start=1 --tracking_folder=t", "--start, --end: expected whole videos with --tr"),
        (None, "--start=4 --end=4", r"end must be after the start, 4\.0"),
    ],
)
def test_spans_that_make_no_sense(videos, changed, flags, text):
    known = None
    if changed is not None:
        known = Annotations(("a", "b"), (dataclasses.replace(VIDEO, **changed),))
    with pytest.raises(ValueError, match=text):
        items(videos, *flags.split(), known=known)
