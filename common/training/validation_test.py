"""What a run is judged by, with models whose scores say what they were shown."""

import dataclasses
import logging
import math
import shutil

import numpy as np
import pytest

from common.annotations import Action, annotation_files
from common.testing.data import put
from common.training import recipes, validation
from common.training.run import Start
from common.training.validation import Validation

CHANGES = [
    "sample_duration=4", "sample_rate=2", "short_side=32,32", "crop=16", "global_pool=true",
]  # fmt: skip
RECIPE = recipes.changed(recipes.get("finetune"), CHANGES)
BRIGHTNESS = np.float32([50, 200, 120])


class Model:
    """Its logits are how near a clip, or a frame, is to the brightness of each class."""

    def __init__(self):
        self.shapes = []

    def scores(self, clips):
        return self.frame_scores(clips).mean(axis=1)

    def frame_scores(self, clips):
        self.shapes.append(clips.shape)
        brightness = clips.astype(np.float32).mean(axis=(2, 3, 4))
        return -np.abs(brightness[..., None] - BRIGHTNESS) / 10


@pytest.fixture
def begin():
    # The network's weights are not looked at.
    return Start.of(dataclasses.replace(RECIPE, architecture="r2plus1d_18"), 3)


def _made(begin, folder, recipe=RECIPE, change=None, model=None):
    path, source = put(folder)
    annotations = annotation_files.read(path)
    if change:
        annotations = change(annotations)
    found = Validation.of(annotations, source, recipe, begin.net, begin.contract, workers=0)
    return found, (model or Model())


def test_cross_entropy_by_hand():
    logits = np.float32([[0, math.log(3)], [0, math.log(3)], [math.log(7), 0]])
    labels = np.array([1, 0, 0])
    expected = (math.log(4 / 3) + math.log(4) + math.log(8 / 7)) / 3
    assert validation.cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-6)
    far = np.float32([[1000, 0], [0, 1000], [-1e30, 0]])
    assert validation.cross_entropy(far[:1], labels[:1]) == 1000
    assert validation.cross_entropy(far[1:2], labels[:1]) == 0
    assert validation.cross_entropy(far[2:], labels[1:2]) == pytest.approx(1e30)
    assert far[0, 0] == 1000  # what was given is as it was


def test_binary_cross_entropy_by_hand():
    logits = np.float32([[0, math.log(3)], [math.log(3), -1000]])
    labels = np.uint8([[1, 0], [1, 1]])
    expected = (math.log(2) + math.log(4) + math.log(4 / 3) + 1000) / 4
    assert validation.binary_cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-6)
    assert validation.binary_cross_entropy(logits[:1, :1], np.uint8([[0]])) == math.log(2)


def test_one_view_of_each_clip(begin, tmp_path):
    found, model = _made(begin, tmp_path)
    values = found.evaluate(model)
    assert model.shapes == [(3, 4, 16, 16, 3)]
    assert values.keys() == {"validation_loss", "validation_accuracy", "validation_coverage"}
    assert values["validation_accuracy"] == values["validation_coverage"] == 1.0
    assert 0 < values["validation_loss"] < 0.1
    assert (len(found.job.classes), found.job.protocol.name, found.stamp) == (3, "clip", None)
    # The middle 7 frames of 12, every other, and the crop in the middle of 32 x 40.
    clip = found.job.reader.read(found.job.records[0], [2, 4, 6, 8], "rgb")[None, :, 8:24, 12:28]
    logits = Model().scores(clip)
    expected = validation.cross_entropy(logits, np.array([0]))
    job = dataclasses.replace(found.job, records=found.job.records[:1])
    alone = dataclasses.replace(found, job=job).evaluate(Model())
    assert alone["validation_loss"] == pytest.approx(expected)


def test_clips_that_cannot_be_read_are_noted(begin, tmp_path, caplog):
    found, model = _made(begin, tmp_path)
    name = found.job.records[1].name
    shutil.rmtree(tmp_path / "rgb" / name)
    with caplog.at_level(logging.WARNING, logger="absl"):
        values = found.evaluate(model)
    assert values["validation_coverage"] == pytest.approx(2 / 3)
    assert values["validation_accuracy"] == 1.0
    assert f"1 of 3 validation clips could not be read. {name}: " in caplog.text


def test_labels_of_frames(begin, tmp_path):
    recipe = dataclasses.replace(RECIPE, task="frames")

    def with_actions(annotations):
        """The first half of each clip shows its class, the rest nothing."""
        records = tuple(
            dataclasses.replace(
                record, labels=(), actions=(Action(record.labels[0], 0, 6),), unit="frames",
                frames=12, fps=25.0,
            )
            for record in annotations.records
        )  # fmt: skip
        return dataclasses.replace(annotations, records=records)

    class Constant(Model):
        def frame_scores(self, clips):
            return np.zeros((*clips.shape[:2], 3), np.float32)

    found, model = _made(begin, tmp_path, recipe, with_actions)
    values = found.evaluate(model)
    assert values.keys() == {
        "validation_loss", "validation_mean_average_precision", "validation_coverage"
    }  # fmt: skip
    # Among the 12 frames of its class, the 6 right ones come as they may, before all others.
    assert 0.25 < values["validation_mean_average_precision"] <= 1.0
    constant = found.evaluate(Constant())
    assert constant["validation_loss"] == pytest.approx(math.log(2))
    assert constant["validation_coverage"] == 1.0


def test_frames_without_any_label_are_refused_before_the_run(begin, tmp_path):
    def without(annotations):
        records = tuple(dataclasses.replace(each, labels=()) for each in annotations.records)
        return dataclasses.replace(annotations, records=records)

    recipe = dataclasses.replace(RECIPE, task="frames")
    with pytest.raises(ValueError, match=r"none of the 3 validation records has spans with labels"):
        _made(begin, tmp_path, recipe, without)


def test_nothing_to_validate_on(begin, tmp_path, caplog):
    def only_training(annotations):
        records = tuple(each for each in annotations.records if each.subset == "training")
        return dataclasses.replace(annotations, records=records)

    with caplog.at_level(logging.WARNING, logger="absl"):
        found, _ = _made(begin, tmp_path, change=only_training)
    assert found is None
    assert "no records for validation: the run will not be evaluated" in caplog.text


def test_a_validation_clip_that_is_not_there_is_refused_before_the_run(begin, tmp_path):
    path, source = put(tmp_path)
    shutil.rmtree(tmp_path / "rgb/dark/validation_0")
    annotations = annotation_files.read(path)
    with pytest.raises(ValueError, match=r"1 of 3 records cannot be read: dark/validation_0"):
        Validation.of(annotations, source, RECIPE, begin.net, begin.contract, workers=0)
