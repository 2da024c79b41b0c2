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
from common.features.settings import MODES, Settings, complete, find_endpoint
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
    found = parse("--preset=resnet50_8")
    assert found.extraction.frame_size == (340, 256)
    assert (found.extraction.crops, found.extraction.rgb_range) == ("ten", (-1.0, 1.0))
    assert parse("--preset=resnet50_8", "--short_side=99").extraction.frame_size == ()
    assert parse("--preset=pytorch_i3d", "--short_side=99").extraction.least_side == 0
    tracked = parse("--preset=resnet50_8", "--tracking_folder=tracks").extraction
    assert (tracked.crops, tracked.frame_size, tracked.window) == ("center", (), 8)
    tracked = parse("--preset=resnet50_8", "--tracking_folder=tracks", "--crops=ten").extraction
    assert tracked.crops == "ten"
    both = parse("--preset=ms_tcn", "--rgb_checkpoint=a", "--flow_checkpoint=b")
    assert both.checkpoints == {"rgb": "a", "flow": "b"} and both.join


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--video_w=40"], "--video_w and --video_h go together"),
        (["--mode=dense", "--stride=3"], "--stride is for --mode=segment"),
        (["--chunk=3"], "--chunk is for --mode=dense"),
        (["--margin=0.1"], "--margin is for --tracking_folder"),
        (["--tracking_folder=t", "--fps=25"], "--fps and --tracking_folder exclude each other"),
        (["--batch_size=0"], "flag --batch_size=0"),
        (["--flow=flow"], "--flow is for --streams with flow"),
        (["--streams=flow", "--flow=f", "--start=1"], "the flow of --flow is whole"),
        (["--streams=rgb,rgb"], "--streams must be rgb, flow or rgb,flow"),
        (["--frame_size=340"], "--frame_size must be a width and a height"),
        (["--rgb_range=1,-1"], "--rgb_range must be a low and a high number"),
        (["--mode=whole"], "--mode=whole"),
        (["--preset=none"], "--preset=none"),
        (["--fsp=25"], "Unknown command line flag 'fsp'"),
    ],
)
def test_flags_that_make_no_sense(flags, text):
    with pytest.raises(settings.UsageError) as caught:
        parse(*flags)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--rgb_checkpoint is needed"),
        (["--streams=rgb,flow", "--checkpoint=a"], "--checkpoint is for one stream"),
        (["--flow_checkpoint=a"], "--flow_checkpoint is given, and flow is not among --streams"),
        (["--checkpoint=a", "--rgb_checkpoint=b"], "exclude each other"),
    ],
)
def test_checkpoints_that_are_missing_or_too_many(flags, text):
    with pytest.raises(settings.UsageError, match=text):
        _ = parse(*flags).checkpoints


def test_what_is_open_is_taken_from_the_network():
    net = arch.make("i3d_resnet50_32x2")
    model = SimpleNamespace(net=net, contract=usual(net.name))
    found = complete(parse(), model)
    assert (found.window, found.rate, found.stride, found.span) == (32, 2, 63, 63)
    assert (found.fps, found.short_side, found.crop_size) == (30.0, 256, 224)
    kept = complete(parse("--window=8", "--stride=2", "--fps=0", "--crop_size=112"), model)
    assert (kept.window, kept.stride, kept.fps, kept.crop_size) == (8, 2, 0, 112)
    tracked = complete(parse("--tracking_folder=t"), model)
    assert (tracked.fps, tracked.short_side) == (0, 0)
    assert find_endpoint(net, found) == net.head.features
    whole = arch.make("inception_i3d_global")
    dense = parse("--mode=dense").extraction
    assert find_endpoint(whole, dense) == ("Features" if whole.head.pool else whole.nodes[-2].name)
    with pytest.raises(ValueError, match="no such endpoint"):
        find_endpoint(net, parse("--endpoint=Mixed_9z").extraction)


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


def test_a_span_of_time_is_every_items(videos):
    found = items(videos, "--start=1.5", "--end=4")
    assert {(item.start, item.end) for item in found} == {(1.5, 4.0)}
    with pytest.raises(ValueError, match=r"end must be after the start, 4\.0"):
        items(videos, "--start=4", "--end=4")
    with pytest.raises(ValueError, match="a/one: expected whole videos with --tracking_folder"):
        items(videos, "--start=1", "--tracking_folder=tracks")


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
    ("record", "flags", "text"),
    [
        (None, ["--spans"], "labelled spans are those of annotations"),
        (VIDEO, ["--spans"], "have no labelled spans"),
        (
            dataclasses.replace(VIDEO, actions=ACTIONS, fps=None),
            ["--spans"],
            "a/one: its spans are frames, and their rate is not known",
        ),
        (
            dataclasses.replace(VIDEO, start=1.0, end=2.0),
            ["--start=1"],
            "a/one: the annotations say where these begin and end",
        ),
    ],
)
def test_spans_that_make_no_sense(videos, record, flags, text):
    known = Annotations(("a", "b"), (record,)) if record else None
    with pytest.raises(ValueError, match=text):
        items(videos, *flags, known=known)
