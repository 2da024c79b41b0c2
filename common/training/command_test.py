"""Settings to runs: two streams, and what is refused before the first is trained."""

import contextlib
import subprocess
import sys

import pytest

from common import command, hardware, settings
from common.testing.data import put
from common.testing.toy_train_step import Creator
from common.training import command as training_command
from common.training.loop import Rank
from common.training.settings import Settings

FIELDS = {
    "steps": 2, "batch": 2, "schedule": "constant", "milestones": "", "rates": "",
    "global_pool": "true", "sample_duration": 4, "short_side": "32,32", "crop": 16,
    "evaluate_every": 2, "log_every": 1,
}  # fmt: skip
SETS = [f"--set={name}={value}" for name, value in FIELDS.items()]

pytestmark = pytest.mark.usefixtures("thin")


def call(*arguments):
    """Runs the command in this process; returns its status."""
    toy = Creator()

    def main(given):
        return training_command.run(
            given,
            lambda *args, distributed: toy(*args),
            lambda threads: contextlib.nullcontext((Rank("i3d_torch"), None)),
        )

    return command.call(main, Settings, arguments)


@pytest.fixture
def given(tmp_path):
    path, source = put(tmp_path)
    return (
        f"--annotations={path}", f"--rgb={source.rgb}", f"--flow={source.flow}",
        f"--output={tmp_path / 'run'}", "--notensorboard", "--workers=0", *SETS,
    )  # fmt: skip


def test_two_streams_one_after_the_other(given, tmp_path, capsys):
    assert call(*given, "--streams=rgb,flow") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trained")]
    assert lines == [
        f"trained 2 steps: {tmp_path / 'run' / stream / 'model.safetensors'}"
        for stream in ("rgb", "flow")
    ]


WRONG = {
    "--rgb_checkpoint=none --flow_checkpoint=gone.pt": "no such checkpoint",
    "--flow=nowhere": "6 of 6 records cannot be read",
    "--resume=a/step_000002.safetensors": "for one stream alone",
    "--checkpoint=a.pt": "--checkpoint is for one stream: use --rgb_checkpoint and",
    "--rgb_checkpoint=a.pt": "--flow_checkpoint is needed, as the other stream has one",
    "--streams=rgb --flow_checkpoint=a.pt": "and flow is not among --streams",
    "--streams=rgb --rgb_checkpoint=a.pt --checkpoint=b.pt":
        "--checkpoint and --rgb_checkpoint exclude each other",
    "--streams=rgb,rgb": "--streams must be rgb, flow or rgb,flow, not rgb,rgb",
    "--streams=depth": "--streams must be of rgb, flow. Received: 'depth'",
    "--set=learning_rat=1": "a recipe has no field 'learning_rat'. Expected one of learning_rate,",
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_show_before_the_first_stream_is_trained(given, tmp_path, capsys, wrong):
    assert call(*given, "--streams=rgb,flow", *wrong.split()) == 1
    assert WRONG[wrong] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["annotations", "flow", "output"])
def test_what_a_run_needs(capsys, missing):
    given = [f"--{name}=x" for name in ("annotations", "flow", "output") if name != missing]
    assert call("--streams=flow", *given) == 1
    assert f"--{missing} is needed" in capsys.readouterr().err


def test_show_prints_the_recipe_as_it_would_be_used(capsys):
    assert call("--show", "--streams=rgb,flow", "--num_classes=7", "--set=steps=9") == 0
    rgb, flow = capsys.readouterr().out.split("\n\n")
    for text, stream in ((rgb, "rgb"), (flow, "flow")):
        assert {"steps=9", "num_classes=7", f"stream={stream}"} <= {*text.splitlines()}


@pytest.mark.parametrize(("local", "cores", "expected"), [(None, 16, 16), (8, 20, 2), (8, 4, 1)])
def test_processes_of_torchrun_share_the_cores(monkeypatch, local, cores, expected):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setattr(hardware, "processors", lambda: cores)
    parsed = settings.parse(Settings, ["--annotations=a", "--rgb=r", "--output=o"], "train")
    assert training_command._of_stream(parsed, "rgb", {"rgb": None}).workers == expected


def test_help_needs_no_framework():
    program = (
        "import sys; from common.training.settings import Settings; from common import settings;"
        "print(settings.usage(Settings, 'train', Settings.__doc__));"
        "sys.exit(len({'torch', 'tensorflow', 'sonnet'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--recipe=...\n      How to train" in done.stdout
    assert "Default: finetune." in done.stdout


def test_an_output_that_is_a_file_is_said_before_anything_is_read(given, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert call(*given, f"--output={tmp_path / 'taken'}") == 1
    assert "taken/log.jsonl cannot be written" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"
