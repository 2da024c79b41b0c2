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


NETWORK = ("native", "onnxruntime", "openvino")


@pytest.mark.parametrize(
    ("asked", "kinds", "expected"),
    [
        ([], (flags.PLACES,), ("local",)),
        (["--engine=ray"], (flags.PLACES,), ("ray",)),
        ([], (NETWORK,), ("native",)),
        (["--engine=openvino"], (NETWORK,), ("openvino",)),
        (["--engine=ray"], (flags.PLACES, NETWORK), ("ray", "native")),
        (["--engine=onnxruntime"], (flags.PLACES, NETWORK), ("local", "onnxruntime")),
        (["--engine=ray,openvino"], (flags.PLACES, NETWORK), ("ray", "openvino")),
        (["--engine=native,local"], (flags.PLACES, NETWORK), ("local", "native")),
    ],
)
def test_engines_of_each_kind(given, asked, kinds, expected):
    given(*asked)
    assert flags.chosen_engines(*kinds) == expected


@pytest.mark.parametrize(
    ("asked", "kinds", "text"),
    [
        ("openvino", (flags.PLACES,), "--engine must be one of local, ray, not openvino"),
        ("ray", (NETWORK,), "must be one of native, onnxruntime, openvino, not ray"),
        ("ray,tvm", (flags.PLACES, NETWORK), "ray, native, onnxruntime, openvino, not tvm"),
        ("openvino,native", (NETWORK,), "--engine takes one of a kind, not openvino and native"),
        ("ray,openvino,ray", (flags.PLACES, NETWORK), "one of a kind, not ray and ray"),
    ],
)
def test_engines_that_a_command_has_not_are_refused(given, asked, kinds, text):
    given(f"--engine={asked}")
    with pytest.raises(app.UsageError, match=text):
        flags.chosen_engines(*kinds)


def test_weights_of_streams_are_numbers(given):
    given()
    assert flags.weights() == ()
    given("--weights=1,2.5")
    assert flags.weights() == (1.0, 2.5)
    given("--weights=1,x")
    with pytest.raises(app.UsageError, match="--weights must be numbers, not 1,x"):
        flags.weights()
