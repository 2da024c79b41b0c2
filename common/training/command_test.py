"""Settings to runs: two streams, and what is refused before the first is trained."""

import contextlib
import dataclasses

import pytest

from common import command, hardware
from common.annotations import annotation_files
from common.testing.data import CLASSES, STAMP, put
from common.testing.toy_train_step import TrainStep
from common.training import command as training_command
from common.training import logger, recipes
from common.training.command import Settings, prepare
from common.training.loop import Rank

FIELDS = {
    "steps": 2, "batch": 2, "schedule": "constant", "milestones": "", "rates": "",
    "global_pool": "true", "sample_duration": 4, "short_side": "32,32", "crop": 16,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("thin")


def call(*arguments):
    """Runs the command in this process; returns its status."""

    def main(given):
        return training_command.train(
            given, TrainStep(), lambda _: contextlib.nullcontext((Rank("i3d_torch"), None))
        )

    return command.call(main, Settings, arguments)


@pytest.fixture
def given(tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "curves", lambda folder: None)
    path, source = put(tmp_path)
    return (
        f"--annotations={path}", f"--rgb={source.rgb}", f"--flow={source.flow}",
        f"--output={tmp_path / 'run'}", "--notensorboard", "--workers=0",
        *(f"--set={name}={value}" for name, value in FIELDS.items()),
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
    "--checkpoint=a.pt": "--checkpoint is for one stream",
    "--rgb_checkpoint=a.pt": "--flow_checkpoint is needed",
    "--streams=rgb --flow_checkpoint=a.pt": "--flow_checkpoint does not go with --streams=rgb",
    "--streams=rgb,rgb": "--streams must be rgb, flow or rgb,flow, not rgb,rgb",
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_show_before_the_first_stream_is_trained(given, tmp_path, capsys, wrong):
    assert call(*given, "--streams=rgb,flow", *wrong.split()) == 1
    assert WRONG[wrong] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_a_run_needs(capsys):
    assert call("--streams=flow", "--annotations=x", "--flow=x") == 1
    assert "--output is needed" in capsys.readouterr().err


def test_an_output_that_is_a_file_stays_as_it_is(given, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert call(*given, "--streams=rgb", f"--output={tmp_path / 'taken'}") == 1
    assert "taken/log.jsonl cannot be written" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_show_prints_the_recipe_as_it_would_be_used(capsys):
    assert call("--show", "--streams=rgb,flow", "--set=num_classes=7", "--set=steps=9") == 0
    rgb, flow = capsys.readouterr().out.split("\n\n")
    for text, stream in ((rgb, "rgb"), (flow, "flow")):
        assert {"steps=9", "num_classes=7", f"stream={stream}"} <= {*text.splitlines()}


PLAIN = recipes.changed(
    recipes.RECIPES["finetune"],
    ["sample_duration=4", "short_side=32,32", "crop=16", "architecture=r2plus1d_18"],
)
FLOW = recipes.changed(PLAIN, ["stream=flow"])


@pytest.fixture
def options(tmp_path):
    path, source = put(tmp_path)
    return Settings(
        annotations=path, rgb=source.rgb, flow=source.flow, output=tmp_path / "run", workers=0
    )


def _change(options, records=None, **changes):
    """Writes the annotations anew."""
    found = annotation_files.read(options.annotations)
    kept = tuple(each for each in found.records if records in (None, each.subset))
    options.annotations.unlink()
    annotation_files.write(options.annotations, dataclasses.replace(found, records=kept, **changes))


def test_what_a_run_needs_of_the_data(options):
    run = prepare(FLOW, options)
    assert run.recipe == dataclasses.replace(FLOW, num_classes=3)
    assert (len(run.data), len(run.validation.records)) == (6, 3)
    assert (run.start.net.num_classes, run.start.net.in_channels) == (3, 2)
    made = dataclasses.asdict(dataclasses.replace(STAMP, form="npy"))
    assert (run.initial.step, run.initial.arrays) == (0, {})
    assert run.initial.data.keys() == {"annotations", "clips", "weights", "flow"}
    assert (run.initial.data["clips"], run.initial.data["flow"]) == (6, made)
    assert (run.card.classes, run.card.stream, run.card.flow) == (CLASSES, "flow", made)
    assert run.card.contract == run.start.contract
    assert prepare(PLAIN, options).initial.data["flow"] is None
    assert not options.output.exists()


def test_classes_and_subsets(options, caplog):
    """Classes without a name are numbers; a number of classes that nobody says is an error."""
    run = prepare(recipes.changed(PLAIN, ["num_classes=5"]), options)
    assert run.card.classes == (*CLASSES, "class 3", "class 4")
    with pytest.raises(ValueError, match="the network has 2 classes, and there are others in"):
        prepare(recipes.changed(PLAIN, ["num_classes=2"]), options)
    _change(options, "training")
    assert prepare(PLAIN, options).validation is None
    assert "no records for validation: the run will not be evaluated" in caplog.text
    _change(options, classes=())
    with pytest.raises(ValueError, match="how many classes there are: set num_classes"):
        prepare(PLAIN, options)


def test_flow_of_validation_is_made_like_that_of_training(options):
    for path in options.flow.rglob("validation_*_flow.npy"):
        dataclasses.replace(STAMP, form="jpg", quality=90).write(path)
    prepare(FLOW, options)  # how it is stored may differ
    for path in options.flow.rglob("validation_*_flow.npy"):
        dataclasses.replace(STAMP, form="npy", engine="opencv").write(path)
    with pytest.raises(ValueError, match="engine is 'numba' in training, 'opencv' in validation"):
        prepare(FLOW, options)
    prepare(PLAIN, options)  # which has none


def test_what_cannot_be_exported_is_refused(options):
    with pytest.raises(ValueError, match="the dialect piergiaj has no names for r2plus1d_18"):
        prepare(PLAIN, dataclasses.replace(options, export=("canonical", "piergiaj")))


@pytest.mark.parametrize(("local", "cores", "expected"), [(1, 16, 16), (8, 20, 2), (8, 4, 1)])
def test_processes_of_torchrun_share_the_cores(monkeypatch, options, local, cores, expected):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setattr(hardware, "processors", lambda: cores)
    assert prepare(PLAIN, dataclasses.replace(options, workers=None)).workers == expected
