"""The loop, with a train step of a few numbers; crashes are injected where it steps."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from common import model_card
from common.testing.data import CLASSES, STAMP, put
from common.testing.toy_train_step import WEIGHT, Creator, StopError
from common.training import checkpoints, logger, loop, recipes
from common.training.checkpoints import RunFolder
from common.training.loop import Rank
from common.training.run import prepare
from common.training.settings import Settings
from convert.formats import safetensors

pytestmark = pytest.mark.usefixtures("thin")

RANK = Rank("i3d_torch")
CHANGES = [
    "steps=7", "batch=4", "accumulate=2", "sample_duration=4", "short_side=32,32", "crop=16",
    "global_pool=true", "evaluate_every=3", "snapshot_every=2", "log_every=1", "keep=2",
    "learning_rate=0.5", "milestones=5", "rates=", "schedule=multi_step",
]  # fmt: skip
RECIPE = recipes.changed(recipes.get("finetune"), CHANGES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return put(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    """Drawing takes most of the time of so small a run."""
    if "beginning_to_end" not in request.node.name:
        monkeypatch.setattr(logger, "curves", lambda folder: folder)


def run(recipe, data, output, create=None, rank=RANK, **changes):
    path, source = data
    folders = {"rgb": source.rgb, "flow": source.flow, "output": output}
    given = Settings(annotations=path, workers=0, tensorboard=False, **folders, **changes)
    return loop.train(prepare(recipe, given), create or Creator(), rank)


def stopped(*arguments, **changes):
    with pytest.raises(StopError):
        run(*arguments, **changes)


def logged(output, name):
    notes = map(json.loads, (output / "log.jsonl").read_text().splitlines())
    return {note["step"]: note[name] for note in notes if name in note}


def test_a_run_from_beginning_to_end(data, tmp_path):
    create = Creator()
    text = run(RECIPE, data, tmp_path, create)
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {
        "snapshots", "log.jsonl", "best.json", "model.safetensors", "model.json",
        "model_best.safetensors", "model_best.json", "curves.png",
    }  # fmt: skip
    losses, accuracies = logged(tmp_path, "loss"), logged(tmp_path, "validation_accuracy")
    # Step 5, counted from 0, is the first of the second milestone.
    assert logged(tmp_path, "learning_rate") == pytest.approx(
        dict(zip(range(1, 8), [0.5] * 5 + [0.05] * 2, strict=True))
    )
    assert list(losses) == [1, 2, 3, 4, 5, 6, 7] and losses[1] > losses[5]
    assert logged(tmp_path, "validation_coverage") == {3: 1.0, 6: 1.0, 7: 1.0}
    card = model_card.read(tmp_path / "model.safetensors")
    assert (card.classes, card.stream, card.step, card.backend) == (CLASSES, "rgb", 7, "i3d_torch")
    assert (card.architecture, card.start) == ("inception_i3d_global", None)
    assert (card.contract.crop, card.contract.frames, card.contract.short_side) == (16, 4, 32)
    last = RunFolder(tmp_path).latest()
    np.testing.assert_array_equal(last.arrays[WEIGHT], create.made.means)
    assert last.best.value == max(accuracies.values())
    best = model_card.read(tmp_path / "model_best.safetensors")
    assert best == dataclasses.replace(card, step=last.best.step, weights=best.weights)
    assert text.splitlines()[:2] == [
        f"trained 7 steps: {tmp_path / 'model.safetensors'}",
        f"best at step {best.step}: {last.best.value:.4f}, {tmp_path / 'model_best.safetensors'}",
    ]


def test_the_best_weights_are_kept_beside_the_last(data, tmp_path):
    """After the first evaluation every clip is taken for the first class."""
    worse = Creator(bias=lambda steps: np.float32([1000, 0, 0]) * (steps > 3))
    assert "best at step 3: " in run(RECIPE, data, tmp_path, worse)
    best, last = (
        safetensors.read(tmp_path / f"{name}.safetensors")[WEIGHT]
        for name in ("model_best", "model")
    )
    np.testing.assert_array_equal(last, RunFolder(tmp_path).latest().arrays[WEIGHT])
    third = checkpoints.read(tmp_path / "snapshots/step_000003.safetensors")
    np.testing.assert_array_equal(best, third.arrays[WEIGHT])
    assert (best != last).all()
    assert model_card.read(tmp_path / "model_best.safetensors").step == 3


def test_a_run_that_was_killed_ends_as_if_it_had_not(data, tmp_path):
    whole = Creator()
    run(RECIPE, data, tmp_path / "whole", whole)
    for stop_at in (0, 1, 2, 6):
        output, rest, again = tmp_path / str(stop_at), Creator(), Creator(stop_at=0)
        stopped(RECIPE, data, output, Creator(stop_at=stop_at))
        run(RECIPE, data, output, rest)
        assert logged(output, "loss") == logged(tmp_path / "whole", "loss")
        np.testing.assert_array_equal(rest.made.means, whole.made.means)
    # The last step is done: nothing is left but to write the weights again.
    run(RECIPE, data, output, again)
    np.testing.assert_array_equal(again.made.means, whole.made.means)


def test_a_loss_that_is_no_number_keeps_the_last_snapshot(data, tmp_path):
    with pytest.raises(ValueError, match=r"step 4, learning rate 0.5: the loss is nan\. The clips"):
        run(RECIPE, data, tmp_path, Creator(nan_at=4))
    assert RunFolder(tmp_path).latest().step == 4
    assert not (tmp_path / "model.safetensors").exists()


PLATEAU = recipes.changed(RECIPE, ["schedule=plateau", "milestones="])


def test_a_plateau_is_resumed(data, tmp_path):
    """The rate falls after evaluations without improvement, a resumed run's too."""
    plateau = recipes.changed(PLATEAU, ["patience=0", "evaluate_every=1", "steps=6"])

    def rising(steps):
        return np.float32([1e6 * steps, 0, 0])

    stopped(plateau, data, tmp_path, Creator(stop_at=3, bias=rising))
    assert RunFolder(tmp_path).latest().schedule["reductions"] == 2
    run(plateau, data, tmp_path, Creator(bias=lambda steps: rising(steps + 3)))
    rates = list(logged(tmp_path, "learning_rate").values())
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.05, 0.005, 5e-4, 5e-5], rtol=1e-6)


@pytest.mark.parametrize("norms", ["train", "sync"])
def test_processes_on_a_plateau_need_the_same_statistics(data, tmp_path, norms):
    recipe = recipes.changed(PLATEAU, [f"batch_norm={norms}"])
    rank = Rank("i3d_torch", index=1, count=2)
    if norms == "sync":
        assert run(recipe, data, tmp_path, rank=rank) == ""
        return
    message = r"learning rates of 2 processes would diverge\. Use --set b"
    with pytest.raises(ValueError, match=message):
        run(recipe, data, tmp_path, rank=rank)
    assert not any(tmp_path.iterdir())


def test_a_restart_goes_on_from_the_same_snapshot_until_there_is_another(data, tmp_path):
    """A process dies, and torchrun starts the same command again."""
    whole, last = Creator(), Creator()
    run(RECIPE, data, tmp_path / "whole", whole)
    stopped(RECIPE, data, tmp_path / "first", Creator(stop_at=4))
    begun = {"resume": str(tmp_path / "first/snapshots/step_000004.safetensors")}
    folder = RunFolder(tmp_path / "second")
    stopped(RECIPE, data, folder.path, Creator(stop_at=0), **begun)
    assert folder.latest() is None
    restarted = Rank("i3d_torch", restarted=True)  # from step 4 again, and then from step 6
    stopped(RECIPE, data, folder.path, Creator(stop_at=2), restarted, **begun)
    assert folder.latest().step == 6
    run(RECIPE, data, folder.path, last, restarted, **begun)
    assert last.made.steps == 1
    np.testing.assert_array_equal(last.made.means, whole.made.means)


def test_flow_that_was_computed_anew_in_another_way_is_another_run(tmp_path):
    data, output = put(tmp_path), tmp_path / "run"
    recipe = recipes.changed(RECIPE, ["stream=flow"])
    stopped(recipe, data, output, Creator(stop_at=2))
    for path in (tmp_path / "flow").rglob("*_flow.json"):
        path.write_text(path.read_text().replace('"warps": 5', '"warps": 3'))
    message = r'other settings: data\.flow was .*"warps": 5.*"warps": 3'
    with pytest.raises(ValueError, match=message):
        run(recipe, data, output)
    # A snapshot of an earlier version does not say how its flow was computed.
    old = checkpoints.read(output / "snapshots/step_000002.safetensors")
    silent = {name: value for name, value in old.data.items() if name != "flow"}
    assert old.data["flow"] == dataclasses.asdict(dataclasses.replace(STAMP, form="npy"))
    RunFolder(output).write(dataclasses.replace(old, data=silent))
    last = Creator()
    run(recipe, data, output, last)
    assert last.made.steps == 5


def test_only_the_first_process_warns_of_small_batches(data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        run(RECIPE, data, tmp_path, rank=Rank("i3d_torch", index=1, count=2))
        assert "batch norm" not in caplog.text
        run(RECIPE, data, tmp_path, rank=Rank("i3d_torch", count=2))
    assert caplog.text.count("batch norm sees 1 clips at a time") == 1


def test_another_recipe_is_another_run(data, tmp_path):
    run(RECIPE, data, tmp_path)
    other = recipes.changed(RECIPE, ["weight_decay=0.1"])
    with pytest.raises(ValueError, match=r"weight_decay was 7e-07, is 0\.1"):
        run(other, data, tmp_path)
    with pytest.raises(ValueError, match="has snapshots of a run, the last at step 7"):
        run(RECIPE, data, tmp_path, resume="never")
