"""Which weights each stream begins with, and what is refused before anything is read."""

import pytest
from absl import app
from absl.flags import FLAGS
from absl.testing import flagsaver

from common import flags


@pytest.fixture
def given():
    """Sets flags by their names, for one test."""
    parsed = FLAGS.is_parsed()
    with flagsaver.flagsaver():
        yield lambda *arguments: FLAGS(["the test", *arguments])
    if not parsed:
        FLAGS.unparse_flags()


@pytest.mark.parametrize(
    ("asked", "random", "expected"),
    [
        ([], True, {"flow": None}),
        (["--checkpoint=a"], True, {"flow": "a"}),
        (["--checkpoint=none"], True, {"flow": None}),
        (["--flow_checkpoint=a"], False, {"flow": "a"}),
        (["--streams=rgb", "--checkpoint=a"], False, {"rgb": "a"}),
        (["--streams=rgb,flow"], True, {"rgb": None, "flow": None}),
        (
            ["--streams=flow,rgb", "--rgb_checkpoint=a", "--flow_checkpoint=b"], False,
            {"flow": "b", "rgb": "a"},
        ),
        (
            ["--streams=rgb,flow", "--rgb_checkpoint=a", "--flow_checkpoint=none"], True,
            {"rgb": "a", "flow": None},
        ),
    ],
)  # fmt: skip
def test_the_weights_of_each_stream(given, asked, random, expected):
    given(*asked)
    found = flags.chosen_streams("flow", random)
    assert (found, list(found)) == (expected, list(expected))


@pytest.mark.parametrize(
    ("asked", "random", "text"),
    [
        (["--streams=depth"], True, "--streams must be rgb, flow or rgb,flow, not depth"),
        (["--streams=rgb,rgb"], True, "not rgb,rgb"),
        ([], False, "--flow_checkpoint is needed$"),
        (["--rgb_checkpoint=a"], True, "--rgb_checkpoint is given, and rgb is not among --streams"),
        (["--streams=rgb", "--flow_checkpoint=a"], False, "--flow_checkpoint is given, and flow"),
        (["--checkpoint=a", "--flow_checkpoint=b"], True, "--flow_checkpoint exclude each other"),
        (["--streams=rgb,flow", "--checkpoint=a"], True, "--checkpoint is for one stream"),
        (["--streams=rgb,flow", "--rgb_checkpoint=a"], False, "--flow_checkpoint is needed$"),
        (["--streams=rgb,flow", "--rgb_checkpoint=a"], True, "--flow_checkpoint=none begins with"),
        (["--streams=rgb,flow", "--flow_checkpoint=a"], True, "--rgb_checkpoint is needed, as"),
    ],
)
def test_weights_that_nobody_would_read_are_refused(given, asked, random, text):
    given(*asked)
    with pytest.raises(app.UsageError, match=text):
        flags.chosen_streams("flow", random)


@pytest.mark.parametrize(("asked", "expected"), [([], "local"), (["--engine=ray"], "ray")])
def test_where_to_work(given, asked, expected):
    given(*asked)
    assert flags.chosen_engines(flags.PLACES) == (expected,)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("openvino", "--engine must be one of local, ray, not openvino"),
        ("ray,local", "--engine takes one of a kind, not ray and local"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(given, asked, text):
    given(f"--engine={asked}")
    with pytest.raises(app.UsageError, match=text):
        flags.chosen_engines(flags.PLACES)


def test_weights_of_streams_are_numbers(given):
    given()
    assert flags.weights() == ()
    given("--weights=1,2.5")
    assert flags.weights() == (1.0, 2.5)
    given("--weights=1,x")
    with pytest.raises(app.UsageError, match="--weights must be numbers, not 1,x"):
        flags.weights()
