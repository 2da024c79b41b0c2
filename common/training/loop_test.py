"""The loop, with a learner of a few numbers: the frameworks' own are tested beside them."""

import json

import numpy as np
import pytest

from common import model_card, recipes
from common.training import loop, snapshots
from common.training._data_for_tests import CLASSES, put
from common.training.learner import Measured
from common.training.loop import Options, Place

PLACE = Place("i3d_torch")
CHANGES = [
    "steps=7", "batch=4", "accumulate=2", "sample_duration=4", "short_side=32,32", "crop=16",
    "global_pool=true", "evaluate_every=3", "snapshot_every=2", "log_every=1", "keep=2",
    "learning_rate=0.5", "milestones=5", "rates=", "schedule=multi_step",
]  # fmt: skip
RECIPE = recipes.changed(recipes.get("finetune"), CHANGES)
WEIGHT, MOMENTUM = "Logits.Conv3d_0c_1x1.conv.bias", "momentum/Logits.Conv3d_0c_1x1.conv.bias"


class StopError(Exception):
    """Somebody killed the run."""


class Learner:
    """Learns the mean brightness of each class, with momentum."""

    def __init__(self, net, arrays, recipe, contract):
        self.means = arrays[WEIGHT].astype(np.float64) + 0
        self.velocity = self.means * 0
        self.stop_at = self.nan_at = None
        self.steps = 0

    def step(self, batches, rate):
        if self.steps == self.stop_at:
            raise StopError
        if self.steps == self.nan_at:
            raise FloatingPointError("the loss is nan.")
        self.steps += 1
        gradient, wrong = self.means * 0, []
        for batch in batches:
            for clip, label in zip(batch.clips, batch.targets, strict=True):
                wrong.append(self.means[label] - clip.mean() / 255)
                gradient[label] += wrong[-1]
        self.velocity = 0.9 * self.velocity + gradient
        self.means -= rate * self.velocity
        loss = float(np.mean(np.square(wrong)))
        return Measured(loss, float(np.linalg.norm(gradient)), 0.5)

    def scores(self, clips):
        brightness = clips.reshape(len(clips), -1).mean(axis=1) / 255
        return -np.abs(brightness[:, None] - self.means).astype(np.float32)

    def state(self):
        return {WEIGHT: self.means.copy(), MOMENTUM: self.velocity.copy()}

    def restore(self, arrays):
        self.means, self.velocity = arrays[WEIGHT].copy(), arrays[MOMENTUM].copy()


class Creator:
    """Makes a learner, and keeps it."""

    def __init__(self, **settings):
        self.settings = settings

    def __call__(self, *arguments):
        self.learner = Learner(*arguments)
        vars(self.learner).update(self.settings)
        return self.learner


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return put(tmp_path_factory.mktemp("data"))


def options(data, output, **changes):
    path, source = data
    return Options(path, source, output, workers=0, **{"tensorboard": False, **changes})


def test_a_run_from_beginning_to_end(data, tmp_path):
    create = Creator()
    text = loop.run(RECIPE, options(data, tmp_path), create, PLACE)
    assert text.splitlines()[0] == f"trained 7 steps: {tmp_path / 'model.safetensors'}"
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {
        "snapshots", "log.jsonl", "best.json", "model.safetensors", "model.json", "curves.png"
    }  # fmt: skip
    notes = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    trained = [note for note in notes if "loss" in note]
    assert [note["step"] for note in trained] == [1, 2, 3, 4, 5, 6, 7]
    # Step 5, counted from 0, is the first of the second milestone.
    assert [note["learning_rate"] for note in trained] == [0.5] * 5 + [pytest.approx(0.05)] * 2
    assert trained[0]["loss"] > trained[4]["loss"]
    judged = [note for note in notes if "validation_loss" in note]
    assert [note["step"] for note in judged] == [3, 6, 7]
    assert judged[-1]["validation_coverage"] == 1.0
    card = model_card.read(tmp_path / "model.safetensors")
    assert (card.classes, card.stream, card.step, card.backend) == (CLASSES, "rgb", 7, "i3d_torch")
    assert (card.architecture, card.start) == ("inception_i3d_global", None)
    assert (card.contract.crop, card.contract.frames, card.contract.short_side) == (16, 4, 32)
    last = snapshots.RunFolder(tmp_path).latest()
    np.testing.assert_array_equal(last.arrays[WEIGHT], create.learner.means)
    assert last.best.value == max(note["validation_accuracy"] for note in judged)


@pytest.mark.parametrize("stop_at", [0, 1, 2, 5, 6])
def test_a_run_that_was_killed_ends_as_if_it_had_not(data, tmp_path, stop_at):
    whole, halves = Creator(), Creator(stop_at=stop_at)
    loop.run(RECIPE, options(data, tmp_path / "whole"), whole, PLACE)
    with pytest.raises(StopError):
        loop.run(RECIPE, options(data, tmp_path / "halves"), halves, PLACE)
    halves = Creator()
    loop.run(RECIPE, options(data, tmp_path / "halves"), halves, PLACE)
    np.testing.assert_array_equal(halves.learner.means, whole.learner.means)
    losses = [
        [(note["step"], note["loss"]) for note in map(json.loads, path.open()) if "loss" in note]
        for path in (tmp_path / "whole/log.jsonl", tmp_path / "halves/log.jsonl")
    ]
    assert losses[0] == losses[1]
    # The last step is done: nothing is left but to write the weights again.
    again = Creator(stop_at=0)
    loop.run(RECIPE, options(data, tmp_path / "halves"), again, PLACE)
    np.testing.assert_array_equal(again.learner.means, whole.learner.means)


def test_a_loss_that_is_no_number_keeps_the_last_snapshot(data, tmp_path):
    with pytest.raises(ValueError, match=r"step 4, learning rate 0.5: the loss is nan\. The clips"):
        loop.run(RECIPE, options(data, tmp_path), Creator(nan_at=4), PLACE)
    assert snapshots.RunFolder(tmp_path).latest().step == 4
    assert not (tmp_path / "model.safetensors").exists()


def test_only_the_first_of_several_processes_writes(data, tmp_path):
    place = Place("i3d_torch", rank=1, count=2)
    assert loop.run(RECIPE, options(data, tmp_path), Creator(), place) == ""
    assert not any(tmp_path.iterdir())


def test_a_plateau_is_resumed(data, tmp_path):
    """The rate falls after evaluations without improvement, a resumed run's too."""
    plateau = recipes.changed(
        RECIPE, ["schedule=plateau", "milestones=", "patience=0", "evaluate_every=1", "steps=6"]
    )

    class Worse(Learner):
        def scores(self, clips):  # a loss that rises with every step
            return np.tile(np.float32([0, 0, 0]), (len(clips), 1)) + self.steps * np.float32(
                [1, 0, 0]
            )

    def create(stop_at):
        def made(*arguments):
            learner = Worse(*arguments)
            learner.stop_at = stop_at
            return learner

        return made

    loop.run(plateau, options(data, tmp_path / "whole"), create(None), PLACE)
    with pytest.raises(StopError):
        loop.run(plateau, options(data, tmp_path / "halves"), create(3), PLACE)
    assert snapshots.RunFolder(tmp_path / "halves").latest().schedule["reductions"] == 2
    notes = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").open()]
    rates = [note["learning_rate"] for note in notes if "learning_rate" in note]
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.05, 0.005, 5e-4, 5e-5], rtol=1e-6)


def test_another_recipe_is_another_run(data, tmp_path):
    loop.run(RECIPE, options(data, tmp_path), Creator(), PLACE)
    other = recipes.changed(RECIPE, ["weight_decay=0.1"])
    with pytest.raises(ValueError, match=r"weight_decay was 7e-07, is 0\.1"):
        loop.run(other, options(data, tmp_path), Creator(), PLACE)
    with pytest.raises(ValueError, match="has snapshots of a run, the last at step 7"):
        loop.run(RECIPE, options(data, tmp_path, resume="never"), Creator(), PLACE)


def test_what_cannot_be_exported_is_refused_before_the_run(data, tmp_path):
    with pytest.raises(ValueError, match="no such dialect"):
        loop.run(RECIPE, options(data, tmp_path, export=("esperanto",)), Creator(), PLACE)
    assert not any(tmp_path.iterdir())


def test_labels_beyond_the_head(data, tmp_path):
    few = recipes.changed(RECIPE, ["num_classes=2"])
    with pytest.raises(ValueError, match="expected labels below 2"):
        loop.run(few, options(data, tmp_path), Creator(), PLACE)
