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


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [100.0]
    monkeypatch.setattr(logger.time, "monotonic", lambda: now[0])
    return now


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
            (length, checksum) = struct.unpack_from("<QI", data, position)
            assert checksum == masked_crc32c(data[position : position + 8])
            position += 12
            content = data[position : position + length]
            (checksum,) = struct.unpack_from("<I", data, position + length)
            assert checksum == masked_crc32c(content)
            found.append(Event.FromString(content))
            position += length + 4
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
    assert logger.read_log(tmp_path / "run")[1] == {"step": 10, "validation_accuracy": 0.25}
    assert os.listdir(tmp_path / "run") == ["log.jsonl"]


@pytest.mark.parametrize("rest", ["", '{"step": 60, "lo', '{"step": 30, "loss": 0.5}'])
def test_a_run_that_goes_on_drops_what_comes_again(tmp_path, rest):
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
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"loss": 1}\n{"step": 2}\n')
    for use in (
        lambda: MetricsLogger(tmp_path, 9, 2, tensorboard=False),
        lambda: logger.curves(tmp_path),
    ):
        with pytest.raises(ValueError, match=r"log\.jsonl: line 2 is no entry of a training log"):
            use()


def test_tensorboard_has_the_scalars(tmp_path):
    with MetricsLogger(tmp_path, 50) as run:
        run.log(10, {"loss": 0.5, "learning_rate": 0.1})
        run.log(20, {"loss": 0.25, "gradient_norm": math.inf})
    first, start, ten, twenty = _events(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (1, start.session_log.START)
    assert [(v.tag, v.simple_value) for v in ten.summary.value] == [
        ("loss", 0.5),
        ("learning_rate", pytest.approx(0.1)),
    ]
    assert (ten.step, twenty.step) == (10, 20)
    assert twenty.summary.value[1].simple_value == math.inf
    assert ten.wall_time <= twenty.wall_time


def test_tensorboard_hears_where_a_run_goes_on(tmp_path):
    for resume in (0, 10):
        with MetricsLogger(tmp_path, 50, resume_step=resume) as run:
            run.log(resume + 10, {"loss": 0.5})
    steps = [(event.step, event.HasField("session_log")) for event in _events(tmp_path)]
    # What stands before a start counts up to its step, which is the first that comes again.
    assert steps == [(0, False), (1, True), (10, False), (0, False), (11, True), (20, False)]


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
    assert event.step == 10
    (value,) = event.summary.value
    assert (value.tag, value.image.height, value.image.width) == ("clips/0", 20, 32)
    assert value.image.encoded_image_string.startswith(b"GIF89a")
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


def test_a_file_gets_a_line_after_the_first_step_and_then_each_minute(tmp_path, clock, capsys):
    with MetricsLogger(tmp_path, 1000, resume_step=100, tensorboard=False) as run:
        for step in range(101, 201):
            clock[0] += 0.75
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
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with MetricsLogger(tmp_path, 40, resume_step=30, tensorboard=False) as run:
        run.advance(35)
        run.log(40, {"loss": 0.5, "learning_rate": 0.1, "data_wait": 0.25})
    text = terminal.getvalue()
    assert "train: 100%" in text and "40/40" in text and " 75%" in text
    assert "loss 0.5, rate 0.1, 25% waiting for data" in text


def _curved(folder, notes):
    lines = (json.dumps(note) for note in notes)
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    pytest.importorskip("matplotlib")
    assert logger.curves(folder) == folder / "curves.png"
    return cv2.imread(str(folder / "curves.png"))


def test_curves_are_drawn(tmp_path):
    notes = [
        {"step": s, "loss": 2.0 / s, "learning_rate": 0.1, "accuracy": None} for s in range(1, 300)
    ]
    short = _curved(tmp_path, notes)
    assert short.shape == (720, 1080, 3)  # nothing is said of accuracy
    more = _curved(tmp_path, [*notes, {"step": 300, "validation_accuracy": 0.5}])
    assert more.shape == (1080, 1080, 3)
    blue = (more == (180, 119, 31)).all(2)  # matplotlib's first colour, of training
    orange = (more == (14, 127, 255)).all(2)
    assert blue[:720].sum() > 1000 and not blue[720:].any()
    assert orange[720:].any() and not orange[:600].any()
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "log.jsonl"]


def test_a_log_of_nothing_has_no_curves(tmp_path):
    with pytest.raises(FileNotFoundError):
        logger.curves(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": null}\n')
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"has no loss, learning rate, accuracy to draw"):
        logger.curves(tmp_path)


def test_the_panels_show_what_they_say(tmp_path):
    """A loss over more than a decade has a logarithmic scale, one over less has not."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots(3)
    loss = {"loss": [(s, 2.0 / s) for s in range(1, 201)], "validation_loss": [(100, 0.5)]}
    logger._draw(axes[0], "loss", loss)
    logger._draw(axes[1], "loss", {"loss": [(1, 2.0), (2, 1.0)]})
    logger._draw(axes[2], "accuracy", {"validation_mean_average_precision": [(1, 0.5)]})
    assert [axis.get_yscale() for axis in axes] == ["log", "linear", "linear"]
    assert [axis.get_ylabel() for axis in axes] == ["loss", "loss", "accuracy"]
    texts = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes]
    assert texts == [["loss", "validation loss"], ["loss"], ["validation mean average precision"]]
    line, dots = axes[0].get_lines()
    assert line.get_xydata().tolist() == [[s, 2.0 / s] for s in range(1, 201)]
    assert dots.get_xydata().tolist() == [[100, 0.5]]
