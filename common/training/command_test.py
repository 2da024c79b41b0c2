"""Flags to runs: two streams, and what is refused before the first is trained."""

import contextlib

import pytest
from absl import app, flags
from absl.testing import flagsaver

from common import processors
from common.testing.data import put
from common.testing.toy_learner import Creator
from common.training import command, recipes
from common.training.loop import Place

FIELDS = {
    "steps": 2, "batch": 2, "schedule": "constant", "milestones": "", "rates": "",
    "global_pool": "true", "sample_duration": 4, "short_side": "32,32", "crop": 16,
    "evaluate_every": 2, "log_every": 1,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def given():
    """A function that sets flags as a command line does, for a test."""
    parsed = flags.FLAGS.is_parsed()
    with flagsaver.flagsaver():
        yield lambda *arguments: flags.FLAGS(["train", *arguments])
    if not parsed:
        flags.FLAGS.unparse_flags()


@pytest.fixture
def train(given, tmp_path):
    """A function that runs the command on a data set, in this process."""
    path, source = put(tmp_path)

    def call(*arguments):
        given(
            f"--annotations={path}", f"--rgb={source.rgb}", f"--flow={source.flow}",
            f"--output={tmp_path / 'run'}", "--notensorboard", "--workers=0",
            *(f"--set={name}={value}" for name, value in FIELDS.items()), *arguments,
        )  # fmt: skip
        toy = Creator()
        command.main(
            lambda *args, distributed: toy(*args),
            lambda: contextlib.nullcontext((Place("i3d_torch"), None)),
        )

    return call


def test_two_streams_one_after_the_other(train, tmp_path, capsys):
    train("--streams=rgb,flow")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trained")]
    assert lines == [
        f"trained 2 steps: {tmp_path / 'run' / stream / 'model.safetensors'}"
        for stream in ("rgb", "flow")
    ]


@pytest.mark.parametrize(
    ("error", "wrong", "message"),
    [
        (
            FileNotFoundError,
            ["--rgb_checkpoint=none", "--flow_checkpoint=gone.pt"],
            "no such checkpoint",
        ),
        (ValueError, ["--flow=nowhere"], "6 of 6 records cannot be read"),
        (app.UsageError, ["--resume=a/step_000002.safetensors"], "for one stream alone"),
    ],
)
def test_mistakes_of_the_second_stream_show_before_the_first(
    train, tmp_path, error, wrong, message
):
    with pytest.raises(error, match=message):
        train("--streams=rgb,flow", *wrong)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("local", "cores", "expected"), [(None, 16, 16), (8, 16, 2), (8, 20, 2), (8, 4, 1)]
)
def test_processes_of_torchrun_share_the_cores(monkeypatch, given, local, cores, expected):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setattr(processors, "count", lambda: cores)
    given("--annotations=a", "--rgb=r", "--output=o")
    assert command._options(recipes.get("finetune"), None, False).workers == expected
