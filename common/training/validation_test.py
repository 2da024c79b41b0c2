"""Validation with models whose scores say what they were shown."""

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
    "architecture=r2plus1d_18",
]  # fmt: skip
RECIPE = recipes.changed(recipes.get("finetune"), CHANGES)
FRAMES = dataclasses.replace(RECIPE, task="frames")
BRIGHTNESS = np.float32([50, 200, 120])


class Model:
    """Its logits are how near a clip, or a frame, is to the brightness of each class."""

    def __init__(self, constant=False):
        self.shapes, self.constant = [], constant

    def scores(self, clips):
        return self.frame_scores(clips).mean(axis=1)

    def frame_scores(self, clips):
        self.shapes.append(clips.shape)
        brightness = clips.astype(np.float32).mean(axis=(2, 3, 4))
        return -np.abs(brightness[..., None] - BRIGHTNESS) / 10 * (not self.constant)


def _made(folder, recipe=RECIPE, subsets=("training", "validation"), **changes):
    """The validation of the data set of `put`, with records changed."""
    path, source = put(folder)
    annotations = annotation_files.read(path)
    records = tuple(
        dataclasses.replace(each, **changes)
        for each in annotations.records
        if each.subset in subsets
    )
    annotations = dataclasses.replace(annotations, records=records)
    start = Start.of(RECIPE, 3)  # whose weights are not looked at
    return Validation.of(annotations, source, recipe, start.net, start.contract, workers=0)


def test_cross_entropy_by_hand():
    logits = np.float32([[0, math.log(3)], [0, math.log(3)], [math.log(7), 0]])
    expected = (math.log(4 / 3) + math.log(4) + math.log(8 / 7)) / 3
    assert validation.cross_entropy(logits, np.array([1, 0, 0])) == pytest.approx(expected, 1e-6)
    far = np.float32([[1000, 0], [0, 1000], [-1e30, 0]])
    expected = (1000 + 0 + 1e30) / 3
    assert validation.cross_entropy(far, np.array([1, 1, 0])) == pytest.approx(expected)
    assert far[0, 0] == 1000  # what was given is as it was


def test_binary_cross_entropy_by_hand():
    logits = np.float32([[0, math.log(3)], [math.log(3), -1000]])
    labels = np.uint8([[1, 0], [1, 1]])
    expected = (math.log(2) + math.log(4) + math.log(4 / 3) + 1000) / 4
    assert validation.binary_cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_one_view_of_each_clip(tmp_path):
    found, model = _made(tmp_path), Model()
    values = found.evaluate(model)
    assert model.shapes == [(3, 4, 16, 16, 3)]
    assert values.keys() == {"validation_loss", "validation_accuracy", "validation_coverage"}
    assert values["validation_accuracy"] == values["validation_coverage"] == 1.0
    assert (len(found.job.classes), found.job.protocol.name, found.stamp) == (3, "clip", None)
    # The middle 7 frames of 12, every other, and the crop in the middle of 32 x 40.
    clips = [
        found.job.reader.read(record, [2, 4, 6, 8], "rgb")[:, 8:24, 12:28]
        for record in found.job.records
    ]
    expected = validation.cross_entropy(model.scores(np.stack(clips)), np.arange(3))
    assert values["validation_loss"] == pytest.approx(expected) and 0 < expected < 0.1


def test_clips_that_cannot_be_read_are_noted(tmp_path, caplog):
    found = _made(tmp_path)
    name = found.job.records[1].name
    shutil.rmtree(tmp_path / "rgb" / name)
    with caplog.at_level(logging.WARNING, logger="absl"):
        values = found.evaluate(Model())
    assert values["validation_coverage"] == pytest.approx(2 / 3)
    assert values["validation_accuracy"] == 1.0
    assert f"1 of 3 validation clips could not be read. {name}: " in caplog.text


def test_labels_of_frames(tmp_path):
    """The first half of each clip shows the first class, the rest nothing."""
    spans = {"labels": (), "actions": (Action(0, 0, 6),), "unit": "frames"}
    found = _made(tmp_path, FRAMES, **spans, frames=12, fps=25.0)
    values = found.evaluate(Model())
    assert values.keys() == {
        "validation_loss", "validation_mean_average_precision", "validation_coverage"
    }  # fmt: skip
    # Of the 12 frames that look like the class, the 6 right ones come first.
    assert values["validation_mean_average_precision"] > 0.4
    constant = found.evaluate(Model(constant=True))
    assert constant["validation_loss"] == pytest.approx(math.log(2))
    assert constant["validation_coverage"] == 1.0


def test_what_is_refused_before_the_run(tmp_path, caplog):
    with pytest.raises(ValueError, match=r"none of the 3 validation records has spans with labels"):
        _made(tmp_path / "a", FRAMES, labels=())
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert _made(tmp_path / "b", subsets=["training"]) is None
    assert "no records for validation: the run will not be evaluated" in caplog.text
