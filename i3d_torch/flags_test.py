import pytest
from absl import app, flags
from absl.testing import flagsaver

from i3d_torch import evaluate, extract_features
from i3d_torch.flags import is_compiled


@pytest.mark.parametrize("command", [evaluate, extract_features])
def test_commands_that_work_on_many_clips_have_it(command):
    found = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(command.__name__)}
    assert {"compiled", "engine", "precision", "threads"} <= found


@pytest.fixture(autouse=True)
def parsed():
    was = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed()
    yield
    if not was:
        flags.FLAGS.unparse_flags()


@pytest.mark.parametrize("engine", [[], ["native"], ["ray"]])
def test_it_is_for_the_framework(engine):
    with flagsaver.flagsaver(engine=engine, compiled=True):
        assert is_compiled()
    with flagsaver.flagsaver(engine=engine):
        assert not is_compiled()


def test_another_engine_is_refused():
    text = "--compiled and --engine=openvino exclude each other"
    with (
        flagsaver.flagsaver(engine=["ray", "openvino"], compiled=True),
        pytest.raises(app.UsageError, match=text),
    ):
        is_compiled()
    with flagsaver.flagsaver(engine=["openvino"]):
        assert not is_compiled()
