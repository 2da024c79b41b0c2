"""The log, TensorBoard's file by its messages, the progress, and the curves."""

import json
import os
import struct

import cv2
import numpy as np
import pytest

from common import video
from common.jobs import parallel
from common.training import logger
from common.training.logger import MetricsLogger


def _events(folder):
    """All events of a folder in TensorBoard's order."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        data, position = path.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            found.append(Event.FromString(data[position + 12 : position + 12 + length]))
            position += length + 16
    return found


def test_a_resumed_run_logs_the_steps_after_its_snapshot_again(tmp_path):
    for done, value in ((0, 1.0), (20, 2.0)):
        with MetricsLogger(tmp_path, 40, done, tensorboard=False) as log:
            for step in range(done + 10, 41, 10):
                log.log(step, {"loss": value})
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"step": 40, "lo')  # a line that was cut off
    assert logger.read(tmp_path) == [
        {"step": 10, "loss": 1.0}, {"step": 20, "loss": 1.0},
        {"step": 30, "loss": 2.0}, {"step": 40, "loss": 2.0},
    ]  # fmt: skip
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n[2\n')
    with pytest.raises(ValueError, match=r"log\.jsonl: damaged \(.*\. Mend or remove it"):
        logger.read(tmp_path)


@pytest.mark.parametrize("channels", [3, 2])
def test_tensorboard_shows_values_and_clips(tmp_path, channels):
    clip = np.random.default_rng(0).random((5, 12, 16, channels), np.float32)
    if channels == 3:
        clip = (clip * 255).astype(np.uint8)
    with MetricsLogger(tmp_path, 50) as log:
        log.log(10, {"loss": 0.5, "accuracy": 0.25})
        log.clip(10, "training/a", clip)
    with MetricsLogger(tmp_path, 50, 7):
        pass
    version, start, scalars, picture, _, restart = _events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert [each.session_log.status for each in (start, restart)] == [1, 1]
    assert (start.step, restart.step) == (1, 8)  # what is later is void
    found = {value.tag: value.simple_value for value in scalars.summary.value}
    assert (scalars.step, found) == (10, {"loss": 0.5, "accuracy": 0.25})
    (value,) = picture.summary.value
    assert (value.tag, value.image.height, value.image.width) == ("training/a", 12, 16)
    (tmp_path / "clip.gif").write_bytes(value.image.encoded_image_string)
    assert len(list(video.read_frames(tmp_path / "clip.gif"))) == 5


def test_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parallel, "_PAUSE", 0.0)
    with MetricsLogger(tmp_path, 40, done=30, tensorboard=False) as log:
        log.log(35, {"loss": 0.5, "learning_rate": 0.1, "data_wait": 0.25})
        log.advance(40, {"loss": 0.25})
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("train: 40 of 40 steps, ")
    assert last.rstrip().endswith("left, loss 0.25, learning_rate 0.1, data_wait 0.25")


def test_curves_are_drawn(tmp_path):
    """One panel for each kind of value: training in blue, validation as orange dots."""
    pytest.importorskip("matplotlib")
    assert logger.curves(tmp_path) is None
    losses = [{"step": s, "loss": 2 / s, "learning_rate": 0.1} for s in range(1, 300)]
    for entries, height in ((losses, 720), ([*losses, {"step": 9, "accuracy": 0.5}], 1080)):
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
        assert logger.curves(tmp_path) == tmp_path / "curves.png"
        picture = cv2.imread(str(tmp_path / "curves.png"))
        assert picture.shape == (height, 1080, 3)
    assert (picture == (180, 119, 31)).all(2)[:720].sum() > 1000
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "log.jsonl"]
