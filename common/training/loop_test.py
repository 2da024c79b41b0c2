"""The loop, with a train step of a few numbers; crashes are injected where it steps."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from common import model_card
from common.testing.data import CLASSES, STAMP, put
from common.testing.toy_train_step import WEIGHT, Creator, StopError, TrainStep
from common.training import checkpoints, loop, recipes
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


def options(data, output, **changes):
    path, source = data
    folders = {"rgb": source.rgb, "flow": source.flow, "output": output}
    return Settings(annotations=path, workers=0, tensorboard=False, **folders, **changes)


def run(recipe, given, create, rank=RANK):
    return loop.train(prepare(recipe, given), create, rank)


def test_a_run_from_beginning_to_end(data, tmp_path):
    create = Creator()
    text = run(RECIPE, options(data, tmp_path), create)
    assert text.splitlines()[0] == f"trained 7 steps: {tmp_path / 'model.safetensors'}"
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {
        "snapshots", "log.jsonl", "best.json", "model.safetensors", "model.json",
        "model_best.safetensors", "model_best.json", "curves.png",
    }  # fmt: skip
    notes = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    trained = [note for note in notes if "loss" in note]
    assert [note["step"] for note in trained] == [1, 2, 3, 4, 5, 6, 7]
    # Step 5, counted from 0, is the first of the second milestone.
    assert [note["learning_rate"] for note in trained] == [0.5] * 5 + [pytest.approx(0.05)] * 2
    assert trained[0]["loss"] > trained[4]["loss"]
    validated = [note for note in notes if "validation_loss" in note]
    assert [note["step"] for note in validated] == [3, 6, 7]
    assert validated[-1]["validation_coverage"] == 1.0
    card = model_card.read(tmp_path / "model.safetensors")
    assert (card.classes, card.stream, card.step, card.backend) == (CLASSES, "rgb", 7, "i3d_torch")
    assert (card.architecture, card.start) == ("inception_i3d_global", None)
    assert (card.contract.crop, card.contract.frames, card.contract.short_side) == (16, 4, 32)
    last = RunFolder(tmp_path).latest()
    np.testing.assert_array_equal(last.arrays[WEIGHT], create.made.means)
    assert last.best.value == max(note["validation_accuracy"] for note in validated)
    best = model_card.read(tmp_path / "model_best.safetensors")
    assert dataclasses.replace(best, step=7, weights=card.weights) == card
    assert best.step == last.best.step
    line = f"best at step {best.step}: {last.best.value:.4f}, {tmp_path / 'model_best.safetensors'}"
    assert text.splitlines()[1] == line


def test_the_best_weights_are_kept_beside_the_last(data, tmp_path):
    """Those after the first evaluation take every clip for the first class."""

    class Worse(TrainStep):
        def scores(self, clips):
            wrong = np.float32([1000, 0, 0]) * (self.steps > 3)
            return super().scores(clips) + wrong

    text = run(RECIPE, options(data, tmp_path), Worse)
    assert "best at step 3: " in text
    best, last = (
        safetensors.read(tmp_path / f"{name}.safetensors")[WEIGHT]
        for name in ("model_best", "model")
    )
    found = RunFolder(tmp_path).latest()
    np.testing.assert_array_equal(last, found.arrays[WEIGHT])
    third = checkpoints.read(tmp_path / "snapshots/step_000003.safetensors")
    np.testing.assert_array_equal(best, third.arrays[WEIGHT])
    assert (best != last).all()
    assert model_card.read(tmp_path / "model_best.safetensors").step == 3


@pytest.mark.parametrize("stop_at", [0, 1, 2, 5, 6])
def test_a_run_that_was_killed_ends_as_if_it_had_not(data, tmp_path, stop_at):
    whole, halves = Creator(), Creator(stop_at=stop_at)
    run(RECIPE, options(data, tmp_path / "whole"), whole)
    with pytest.raises(StopError):
        run(RECIPE, options(data, tmp_path / "halves"), halves)
    halves = Creator()
    run(RECIPE, options(data, tmp_path / "halves"), halves)
    np.testing.assert_array_equal(halves.made.means, whole.made.means)
    losses = [
        [(note["step"], note["loss"]) for note in map(json.loads, path.open()) if "loss" in note]
        for path in (tmp_path / "whole/log.jsonl", tmp_path / "halves/log.jsonl")
    ]
    assert losses[0] == losses[1]
    # The last step is done: nothing is left but to write the weights again.
    again = Creator(stop_at=0)
    run(RECIPE, options(data, tmp_path / "halves"), again)
    np.testing.assert_array_equal(again.made.means, whole.made.means)


def test_a_loss_that_is_no_number_keeps_the_last_snapshot(data, tmp_path):
    with pytest.raises(ValueError, match=r"step 4, learning rate 0.5: the loss is nan\. The clips"):
        run(RECIPE, options(data, tmp_path), Creator(nan_at=4))
    assert RunFolder(tmp_path).latest().step == 4
    assert not (tmp_path / "model.safetensors").exists()


def test_a_plateau_is_resumed(data, tmp_path):
    """The rate falls after evaluations without improvement, a resumed run's too."""
    plateau = recipes.changed(
        RECIPE, ["schedule=plateau", "milestones=", "patience=0", "evaluate_every=1", "steps=6"]
    )

    class Worse(TrainStep):
        def scores(self, clips):  # a loss that rises with every step
            return np.tile(np.float32([0, 0, 0]), (len(clips), 1)) + self.steps * np.float32(
                [1, 0, 0]
            )

    def create(stop_at):
        def made(*arguments):
            made = Worse(*arguments)
            made.stop_at = stop_at
            return made

        return made

    run(plateau, options(data, tmp_path / "whole"), create(None))
    with pytest.raises(StopError):
        run(plateau, options(data, tmp_path / "halves"), create(3))
    assert RunFolder(tmp_path / "halves").latest().schedule["reductions"] == 2
    notes = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").open()]
    rates = [note["learning_rate"] for note in notes if "learning_rate" in note]
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.05, 0.005, 5e-4, 5e-5], rtol=1e-6)


PLATEAU = recipes.changed(RECIPE, ["schedule=plateau", "milestones="])


@pytest.mark.parametrize("norms", ["train", "sync", "freeze"])
def test_processes_on_a_plateau_need_the_same_statistics(data, tmp_path, norms):
    recipe = recipes.changed(PLATEAU, [f"batch_norm={norms}"])
    rank = Rank("i3d_torch", index=1, count=2)
    if norms != "train":
        assert run(recipe, options(data, tmp_path), Creator(), rank) == ""
        return
    with pytest.raises(
        ValueError, match=r"learning rates of 2 processes would diverge\. Use --set b"
    ):
        run(recipe, options(data, tmp_path), Creator(), rank)
    assert not any(tmp_path.iterdir())


RESTARTED = Rank("i3d_torch", restarted=True)


def test_a_restart_goes_on_from_the_same_snapshot_until_there_is_another(data, tmp_path):
    """A process dies, and torchrun starts the same command again."""
    whole = Creator()
    run(RECIPE, options(data, tmp_path / "whole"), whole)
    with pytest.raises(StopError):
        run(RECIPE, options(data, tmp_path / "first"), Creator(stop_at=4))
    begun = str(tmp_path / "first/snapshots/step_000004.safetensors")
    again = options(data, tmp_path / "second", resume=begun)
    with pytest.raises(StopError):  # at once: the folder has no snapshot of its own
        run(RECIPE, again, Creator(stop_at=0))
    folder = RunFolder(tmp_path / "second")
    assert folder.latest() is None
    with pytest.raises(StopError):  # step 4 again, and the next: there is step 6 now
        run(RECIPE, again, Creator(stop_at=2), RESTARTED)
    assert folder.latest().step == 6
    last = Creator()
    run(RECIPE, again, last, RESTARTED)
    assert last.made.steps == 1
    np.testing.assert_array_equal(last.made.means, whole.made.means)


def test_flow_that_was_made_anew_in_another_way_is_another_run(tmp_path):
    data = put(tmp_path)
    recipe = recipes.changed(RECIPE, ["stream=flow"])
    with pytest.raises(StopError):
        run(recipe, options(data, tmp_path / "run"), Creator(stop_at=2))
    for path in (tmp_path / "flow").rglob("*_flow.json"):
        path.write_text(path.read_text().replace('"warps": 5', '"warps": 3'))
    with pytest.raises(
        ValueError, match=r'other settings: data\.flow was .*"warps": 5.*"warps": 3'
    ):
        run(recipe, options(data, tmp_path / "run"), Creator())
    # A snapshot of an earlier version does not say how its flow was made.
    path = tmp_path / "run/snapshots/step_000002.safetensors"
    old = checkpoints.read(path)
    silent = {name: value for name, value in old.data.items() if name != "flow"}
    assert old.data["flow"] == dataclasses.asdict(dataclasses.replace(STAMP, form="npy"))
    RunFolder(tmp_path / "run").write(dataclasses.replace(old, data=silent))
    last = Creator()
    run(recipe, options(data, tmp_path / "run"), last)
    assert last.made.steps == 5


def test_only_the_first_process_warns_of_small_batches(data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        run(RECIPE, options(data, tmp_path), Creator(), Rank("i3d_torch", index=1, count=2))
        assert "batch norm" not in caplog.text
        run(RECIPE, options(data, tmp_path), Creator(), Rank("i3d_torch", count=2))
    assert caplog.text.count("batch norm sees 1 clips at a time") == 1


def test_another_recipe_is_another_run(data, tmp_path):
    run(RECIPE, options(data, tmp_path), Creator())
    other = recipes.changed(RECIPE, ["weight_decay=0.1"])
    with pytest.raises(ValueError, match=r"weight_decay was 7e-07, is 0\.1"):
        run(other, options(data, tmp_path), Creator())
    with pytest.raises(ValueError, match="has snapshots of a run, the last at step 7"):
        run(RECIPE, options(data, tmp_path, resume="never"), Creator())
