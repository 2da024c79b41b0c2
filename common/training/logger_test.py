"""The log, TensorBoard's file by its messages, the progress, and the curves."""

import io
import json
import math
import os
import resource
import struct
import sys

import cv2
import numpy as np
import pytest

from common import video
from common.training import logger
from common.training.logger import MetricsLogger


def _events(folder):
    """All events of a folder in TensorBoard's order; the checksums are tensorboardX's."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        data, position = path.read_bytes(), 0
        while position < len(data):
            length, checksum = struct.unpack_from("<QI", data, position)
            assert checksum == masked_crc32c(data[position : position + 8])
            content = data[position + 12 : position + 12 + length]
            (checksum,) = struct.unpack_from("<I", data, position + 12 + length)
            assert checksum == masked_crc32c(content)
            found.append(Event.FromString(content))
            position += length + 16
    return found


def _lines(folder):
    return (folder / "log.jsonl").read_text().splitlines()


def test_the_log(tmp_path):
    with MetricsLogger(tmp_path / "run", 50, tensorboard=False) as run:
        run.log(10, {"loss": np.float32(0.5), "gradient_norm": math.inf})
        run.log(10, {"validation_accuracy": 0.25})
        assert len(_lines(tmp_path / "run")) == 2  # at once, not at the end
        run.log(20, {"loss": 0.125, "gradient_norm": math.nan})
        run.clip(20, "clips", np.zeros((2, 4, 4, 3), np.uint8))  # nowhere to show it
    assert _lines(tmp_path / "run") == [
        '{"step": 10, "loss": 0.5, "gradient_norm": null}',
        '{"step": 10, "validation_accuracy": 0.25}',
        '{"step": 20, "loss": 0.125, "gradient_norm": null}',
    ]
    assert os.listdir(tmp_path / "run") == ["log.jsonl"]


@pytest.mark.parametrize("rest", ["", '{"step": 60, "lo', '{"step": 30, "loss": 0.5}'])
def test_a_resumed_run_drops_later_entries(tmp_path, rest):
    with MetricsLogger(tmp_path, 90, tensorboard=False) as run:
        for step in range(10, 60, 10):
            run.log(step, {"loss": 1 / step})
    kept = _lines(tmp_path)[:3]
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(rest)  # cut off by a kill
    with MetricsLogger(tmp_path, 90, resume_step=30, tensorboard=False) as run:
        run.log(40, {"loss": 2})
    assert _lines(tmp_path) == [*kept, '{"step": 40, "loss": 2.0}']
    with MetricsLogger(tmp_path, 90, tensorboard=False):
        pass  # begins anew
    assert _lines(tmp_path) == []


def test_a_damaged_line_is_named(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"loss": 1}\n{"step": 2}\n')
    for use in (lambda: MetricsLogger(tmp_path, 9, 2, False), lambda: logger.curves(tmp_path)):
        with pytest.raises(ValueError, match=r"log\.jsonl: line 2 is no entry of a training log"):
            use()


def test_tensorboard_has_the_scalars_of_a_run_and_of_its_resumption(tmp_path):
    for resume in (0, 10):
        with MetricsLogger(tmp_path, 50, resume_step=resume) as run:
            run.log(resume + 10, {"loss": 0.5, "learning_rate": 0.1, "gradient_norm": math.inf})
    events = _events(tmp_path)
    # A start voids the events from its step on that stand before it.
    steps = [(event.step, event.HasField("session_log")) for event in events]
    assert steps == [(0, False), (1, True), (10, False), (0, False), (11, True), (20, False)]
    first, start, ten = events[:3]
    assert first.file_version == "brain.Event:2"
    assert start.session_log.status == start.session_log.START
    values = {value.tag: value.simple_value for value in ten.summary.value}
    assert values == {"loss": 0.5, "learning_rate": pytest.approx(0.1), "gradient_norm": math.inf}
    assert ten.wall_time <= events[-1].wall_time


@pytest.mark.parametrize("kind", ["uint8", "float32", "flow"])
def test_tensorboard_shows_clips_that_move(tmp_path, kind):
    clip = np.zeros((4, 20, 32, 3), np.uint8)
    for k in range(4):
        clip[k, :, 8 * k : 8 * k + 8] = 255
    if kind != "uint8":
        clip = (clip / 127.5 - 1).astype(np.float32)
    with MetricsLogger(tmp_path, 50) as run:
        run.clip(10, "clips/0", clip[..., :2] / 2 if kind == "flow" else clip)
    event = _events(tmp_path)[-1]
    (value,) = event.summary.value
    assert (event.step, value.tag) == (10, "clips/0")
    assert (value.image.height, value.image.width) == (20, 32)
    (tmp_path / "shown.gif").write_bytes(value.image.encoded_image_string)
    frames = np.stack(list(video.read_frames(tmp_path / "shown.gif")))
    assert frames.shape == (4, 20, 32, 3)
    for k in range(4):
        assert (frames[k, :, 8 * k : 8 * k + 8, :2] == 255).all()
        assert frames[k, :, :, 0].sum() == 255 * 20 * 8


def test_without_an_extra_the_error_names_it(tmp_path, monkeypatch):
    for name in ("tensorboardX", "matplotlib", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with MetricsLogger(tmp_path, 9, tensorboard=False) as run:
        run.log(1, {"loss": 1})
    with pytest.raises(ImportError, match=r"pip install 'i3d\[torch\]' .* \(--notensorboard\)"):
        MetricsLogger(tmp_path, 9)
    with pytest.raises(ImportError, match=r"matplotlib: pip install 'i3d\[torch\]'"):
        logger.curves(tmp_path)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_full_disk_is_an_error_at_once(tmp_path, tensorboard):
    """A file that may not grow takes a part of what is written, and then nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    name = "tensorboard" if tensorboard else r"log\.jsonl"
    text = rf"{name}: cannot be written \(File too large\)\."
    run = MetricsLogger(tmp_path, 9, tensorboard=tensorboard)
    with pytest.raises(OSError, match=text) as caught, run:
        run.log(1, {"loss": 1})
        size = sum(path.stat().st_size for path in (tmp_path / "tensorboard").glob("*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, ((size or 25) + 5, before[1]))
        try:
            run.log(2, {"loss": 2})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    if not tensorboard:
        assert _lines(tmp_path) == ['{"step": 1, "loss": 1.0}', '{"ste']
    with MetricsLogger(tmp_path, 9, 1, tensorboard=False):  # what was cut off is no entry
        pass
    assert _lines(tmp_path) == ['{"step": 1, "loss": 1.0}']


def test_a_file_gets_a_line_after_the_first_step_and_then_each_minute(
    tmp_path, monkeypatch, capsys
):
    now = [100.0]
    monkeypatch.setattr(logger.time, "monotonic", lambda: now[0])
    with MetricsLogger(tmp_path, 1000, resume_step=100, tensorboard=False) as run:
        for step in range(101, 201):
            now[0] += 0.75
            run.advance(step, {"loss": 1.23456, "learning_rate": 0.001})
            if step % 10 == 0:
                run.log(step, {"data_wait": 0.034, "gradient_norm": 9})
                run.log(step, {"validation_loss": 7, "validation_accuracy": 0.5})
    assert capsys.readouterr().err == (
        "train: 101 of 1000 steps, loss 1.235, rate 0.001, 1.3 steps a second, 11:14 left\n"
        "train: 181 of 1000 steps, loss 1.235, rate 0.001, 3% waiting for data, "
        "validation accuracy 50.0%, 1.3 steps a second, 10:14 left\n"
    )


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with MetricsLogger(tmp_path, 40, resume_step=30, tensorboard=False) as run:
        run.advance(35)
        run.log(40, {"loss": 0.5, "learning_rate": 0.1, "data_wait": 0.25})
    text = terminal.getvalue()
    assert "train: 100%" in text and "40/40" in text and " 75%" in text
    assert "loss 0.5, rate 0.1, 25% waiting for data" in text


def test_curves_are_drawn(tmp_path):
    """One panel for each kind of value: training in blue, validation as orange dots."""
    pytest.importorskip("matplotlib")
    losses = [{"step": s, "loss": 2 / s, "learning_rate": 0.1, "accuracy": None}
              for s in range(1, 300)]  # fmt: skip
    validated = [*losses, {"step": 300, "validation_accuracy": 0.5}]
    for notes, height in ((losses, 720), (validated, 1080)):
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
        assert logger.curves(tmp_path) == tmp_path / "curves.png"
        picture = cv2.imread(str(tmp_path / "curves.png"))
        assert picture.shape == (height, 1080, 3)
    blue, orange = ((picture == colour).all(2) for colour in ((180, 119, 31), (14, 127, 255)))
    assert blue[:720].sum() > 1000 and not blue[720:].any()
    assert orange[720:].any() and not orange[:600].any()
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "log.jsonl"]
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": null}\n')
    with pytest.raises(ValueError, match=r"has no loss, learning rate, accuracy to draw"):
        logger.curves(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        logger.curves(tmp_path)
