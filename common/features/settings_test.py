"""Flags to settings: presets, contradictions, and what is taken from the network."""

from types import SimpleNamespace

import pytest

from common import arch, settings
from common.features.settings import PRESETS, Settings, complete, presets_text
from common.preprocessing.contracts import usual


def parse(*flags):
    return settings.parse(Settings, flags)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_flags_that_others_override(name):
    found = parse("--crop_size=100", f"--preset={name}", "--annotations=a", "--window=5")
    assert (found.extraction.crop_size, found.extraction.window) == (100, 5)
    assert name in presets_text()
    assert parse("--preset", name, "--annotations=a").preset == name


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
        ("--video_w=40 --tracking_folder=t", "--video_w and --video_h go together"),
        ("--mode=dense --stride=3", "--stride is for --mode=segment"),
        ("--margin=0.1", "--margin is for --tracking_folder"),
        ("--flow=flow", "--flow is for --streams with flow"),
        ("--tracking_folder=t --fps=25", "--fps and --short_side do not go with --tracking"),
        ("--tracking_folder=t --end=4", "--start and --end do not go with --tracking_folder"),
        ("--start=4 --end=4", "--end must be after --start"),
        ("--frame_size=340", "--frame_size must be width,height"),
        ("--rgb_range=1,-1", "--rgb_range must be low,high"),
    ],
)
def test_flags_that_make_no_sense(flags, text):
    with pytest.raises(settings.UsageError) as caught:
        parse(*flags.split())
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
    tracked = complete(parse("--tracking_folder=t", "--frame_size=9,9"), model).extraction
    assert (tracked.fps, tracked.short_side, tracked.frame_size) == (0, 0, ())
