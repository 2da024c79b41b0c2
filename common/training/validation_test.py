"""Validation with models whose scores say what they were shown."""

import dataclasses
import logging
import math
import shutil

import numpy as np
import pytest

from common import arch
from common.annotations import Action, annotation_files
from common.preprocessing import contracts
from common.testing.data import put
from common.training import recipes, validation
from common.training.data import TrainingSet
from common.video.clip_reader import ClipReader

CHANGES = [
    "sample_duration=4", "sample_rate=2", "short_side=32,32", "crop=16", "num_classes=3",
    "architecture=r2plus1d_18",
]  # fmt: skip
RECIPE = recipes.changed(recipes.RECIPES["finetune"], CHANGES)
FRAMES = dataclasses.replace(RECIPE, task="frames")
CONTRACT = dataclasses.replace(
    contracts.usual(RECIPE.architecture), frames=4, stride=2, short_side=32, crop=16
)
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


def _job(folder, recipe=RECIPE, **changes):
    """The validation of the data set of `put`, with records changed."""
    path, source = put(folder)
    annotations = annotation_files.read(path)
    records = tuple(dataclasses.replace(each, **changes) for each in annotations.records)
    annotations = dataclasses.replace(annotations, records=records)
    data = TrainingSet(annotations, ClipReader(source, CONTRACT), recipe, "validation")
    return validation.make_job(data, recipe, arch.make(RECIPE.architecture, 3), workers=0)


def test_cross_entropies_by_hand():
    logits = np.float32([[0, math.log(3)], [0, math.log(3)], [math.log(7), 0]])
    expected = (math.log(4 / 3) + math.log(4) + math.log(8 / 7)) / 3
    assert validation.cross_entropy(logits, np.array([1, 0, 0])) == pytest.approx(expected, 1e-6)
    far = np.float32([[1000, 0], [0, 1000], [-1e30, 0]])
    expected = (1000 + 0 + 1e30) / 3
    assert validation.cross_entropy(far, np.array([1, 1, 0])) == pytest.approx(expected)
    logits = np.float32([[0, math.log(3)], [math.log(3), -1000]])
    labels = np.uint8([[1, 0], [1, 1]])
    expected = (math.log(2) + math.log(4) + math.log(4 / 3) + 1000) / 4
    assert validation.binary_cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_one_view_of_each_clip(tmp_path):
    job, model = _job(tmp_path), Model()
    values = validation.evaluate(job, model)
    assert model.shapes == [(3, 4, 16, 16, 3)]
    assert values["validation_accuracy"] == values["validation_coverage"] == 1.0
    # The middle 7 frames of 12, every other, and the crop in the middle of 32 x 40.
    clips = [job.reader.read(record, [2, 4, 6, 8], "rgb")[:, 8:24, 12:28] for record in job.records]
    expected = validation.cross_entropy(model.scores(np.stack(clips)), np.arange(3))
    assert values["validation_loss"] == pytest.approx(expected) and 0 < expected < 0.1


def test_clips_that_cannot_be_read_are_noted(tmp_path, caplog):
    job = _job(tmp_path)
    name = job.records[1].name
    shutil.rmtree(tmp_path / "rgb" / name)
    with caplog.at_level(logging.WARNING, logger="absl"):
        values = validation.evaluate(job, Model())
    assert values["validation_coverage"] == pytest.approx(2 / 3)
    assert f"validation clips that could not be read: {name}: " in caplog.text


def test_labels_of_frames(tmp_path):
    """The first half of each clip shows the first class, the rest nothing."""
    spans = {"labels": (), "actions": (Action(0, 0, 6),), "unit": "frames"}
    job = _job(tmp_path / "a", FRAMES, **spans, frames=12, fps=25.0)
    values = validation.evaluate(job, Model())
    assert values.keys() == {
        "validation_loss", "validation_mean_average_precision", "validation_coverage"
    }  # fmt: skip
    # Of the 12 frames that look like the class, the 6 right ones come first.
    assert values["validation_mean_average_precision"] > 0.4
    with pytest.raises(ValueError, match=r"none of the 3 validation records has spans with labels"):
        _job(tmp_path / "b", FRAMES, labels=())
