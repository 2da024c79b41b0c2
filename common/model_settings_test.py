"""Which checkpoint each stream gets, and what contradicts itself."""

import pytest

from common.model_settings import StreamSettings
from common.settings import UsageError

BOTH = ("rgb", "flow")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"checkpoint": "a"}, {"rgb": "a"}),
        ({"streams": ("flow",), "flow_checkpoint": "b"}, {"flow": "b"}),
        (
            {"streams": BOTH, "rgb_checkpoint": "a", "flow_checkpoint": "b"},
            {"rgb": "a", "flow": "b"},
        ),
    ],
)
def test_checkpoints(given, expected):
    assert StreamSettings(**given).checkpoints() == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "--rgb_checkpoint is needed"),
        ({"streams": BOTH, "rgb_checkpoint": "a"}, "--flow_checkpoint is needed"),
        ({"checkpoint": "a", "flow_checkpoint": "b"}, "does not go with --streams=rgb"),
        ({"checkpoint": "a", "rgb_checkpoint": "b"}, "--checkpoint and --rgb_checkpoint exclude"),
        ({"streams": BOTH, "checkpoint": "a"}, "one stream, and --streams=rgb,flow has two: use"),
        ({"streams": ("rgb", "rgb")}, "--streams must be rgb, flow or rgb,flow"),
        ({"streams": ()}, "--streams must be rgb, flow or rgb,flow"),
    ],
)
def test_checkpoints_that_contradict_each_other(given, text):
    with pytest.raises(UsageError, match=text):
        StreamSettings(**given).checkpoints()


def test_streams_without_a_checkpoint_get_the_usual_one():
    usual = StreamSettings(rgb_checkpoint="a").choose(BOTH, "--eval_type=joint", {"flow": "f"})
    assert usual == {"rgb": "a", "flow": "f"}
