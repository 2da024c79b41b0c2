"""A run's log, TensorBoard's file as its messages say it, the bar, and the curves."""

import io
import json
import math
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common import video
from common.training import journal
from common.training.journal import Journal

ROOT = Path(__file__).parents[2]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
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
    with Journal(tmp_path / "run", 50, tensorboard=False) as run:
        run.note(10, {"loss": np.float32(0.5), "gradient_norm": math.inf})
        run.note(10, {"validation_accuracy": 0.25})
        assert len(_lines(tmp_path / "run")) == 2  # at once, not at the end
        run.note(20, {"loss": 0.125, "gradient_norm": math.nan})
        run.clip(20, "clips", np.zeros((2, 4, 4, 3), np.uint8))  # nowhere to show it
    assert _lines(tmp_path / "run") == [
        '{"step": 10, "loss": 0.5, "gradient_norm": null}',
        '{"step": 10, "validation_accuracy": 0.25}',
        '{"step": 20, "loss": 0.125, "gradient_norm": null}',
    ]
    assert journal.read_log(tmp_path / "run")[1] == {"step": 10, "validation_accuracy": 0.25}
    assert os.listdir(tmp_path / "run") == ["log.jsonl"]


@pytest.mark.parametrize("rest", ["", '{"step": 60, "lo', '{"step": 30, "loss": 0.5}'])
def test_a_run_that_goes_on_drops_what_comes_again(tmp_path, rest):
    with Journal(tmp_path, 90, tensorboard=False) as run:
        for step in range(10, 60, 10):
            run.note(step, {"loss": 1 / step})
    kept = _lines(tmp_path)[:3]
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(rest)  # cut off by a kill
    with Journal(tmp_path, 90, resume_step=30, tensorboard=False) as run:
        run.note(40, {"loss": 2})
    assert _lines(tmp_path) == [*kept, '{"step": 40, "loss": 2.0}']
    with Journal(tmp_path, 90, tensorboard=False):
        pass  # begins anew
    assert _lines(tmp_path) == []


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"loss": 1}\n{"step": 2}\n')
    for use in (
        lambda: Journal(tmp_path, 9, 2, tensorboard=False),
        lambda: journal.curves(tmp_path),
    ):
        with pytest.raises(ValueError, match=r"log\.jsonl: line 2 is no note of a training run"):
            use()


def test_tensorboard_has_the_scalars(tmp_path):
    with Journal(tmp_path, 50) as run:
        run.note(10, {"loss": 0.5, "learning_rate": 0.1})
        run.note(20, {"loss": 0.25, "gradient_norm": math.inf})
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
        with Journal(tmp_path, 50, resume_step=resume) as run:
            run.note(resume + 10, {"loss": 0.5})
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
    with Journal(tmp_path, 50) as run:
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


WITHOUT = """
import sys
sys.modules["tensorboardX"] = sys.modules["matplotlib"] = None
from common.training import journal
folder = sys.argv[1]
with journal.Journal(folder, 9, tensorboard=False) as run:
    run.note(1, {"loss": 1})
for use in (lambda: journal.Journal(folder, 9), lambda: journal.curves(folder)):
    try:
        use()
    except ImportError as error:
        print(error)
"""


def test_without_tensorboardx_the_extra_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert "tensorboardX: pip install 'i3d[torch]'" in first and "--notensorboard" in first
    assert "matplotlib: pip install 'i3d[torch]'" in second


def test_a_full_disk_is_said_once(tmp_path):
    """A file that may not grow takes a part of what is written, and then nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path, 9, tensorboard=False) as run:
        run.note(1, {"loss": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
        try:
            for text in ("No space left on device", "File too large"):
                with pytest.raises(OSError, match=rf"log\.jsonl: cannot be written \({text}\)\."):
                    run.note(2, {"loss": 2})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _lines(tmp_path) == ['{"step": 1, "loss": 1.0}', '{"ste']
    with Journal(tmp_path, 9, 2, tensorboard=False):  # what was cut off is no note
        pass
    assert _lines(tmp_path) == ['{"step": 1, "loss": 1.0}']


def test_a_log_gets_a_line_a_minute(tmp_path, clock, capsys):
    with Journal(tmp_path, 1000, resume_step=100, tensorboard=False) as run:
        for step in range(101, 201):
            clock[0] += 0.75
            if step % 10 == 0:
                values = {"loss": 1.23456, "learning_rate": 0.001, "data_wait": 0.034}
                run.note(step, values | {"gradient_norm": 9})
                run.note(step, {"validation_loss": 7})  # does not take the place of the others
            else:
                run.advance(step)
    assert capsys.readouterr().err == (
        "train: 180 of 1000 steps, loss 1.235, rate 0.001, 3% waiting for data, 1.3 steps a second,"
        " 10:15 left\n"
    )


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Journal(tmp_path, 40, resume_step=30, tensorboard=False) as run:
        run.advance(35)
        run.note(40, {"loss": 0.5, "learning_rate": 0.1, "data_wait": 0.25})
    text = terminal.getvalue()
    assert "train: 100%" in text and "40/40" in text and " 75%" in text
    assert "loss 0.5, rate 0.1, 25% waiting for data" in text


def _curved(folder, notes):
    lines = (json.dumps(note) for note in notes)
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    pytest.importorskip("matplotlib")
    assert journal.curves(folder) == folder / "curves.png"
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
        journal.curves(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": null}\n')
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"says nothing of loss, learning rate, accuracy"):
        journal.curves(tmp_path)


def test_the_panels_say_what_they_show(tmp_path):
    """A loss over more than a decade has a logarithmic scale, one over less has not."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots(3)
    loss = {"loss": [(s, 2.0 / s) for s in range(1, 201)], "validation_loss": [(100, 0.5)]}
    journal._draw(axes[0], "loss", loss)
    journal._draw(axes[1], "loss", {"loss": [(1, 2.0), (2, 1.0)]})
    journal._draw(axes[2], "accuracy", {"validation_mean_average_precision": [(1, 0.5)]})
    assert [axis.get_yscale() for axis in axes] == ["log", "linear", "linear"]
    assert [axis.get_ylabel() for axis in axes] == ["loss", "loss", "accuracy"]
    texts = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes]
    assert texts == [
        ["training loss, mean of 8 notes", "validation loss"],
        ["training loss"],
        ["validation mean average precision"],
    ]
    raw, mean, dots = axes[0].get_lines()
    assert len(raw.get_xdata()) == 200
    np.testing.assert_allclose(mean.get_ydata()[0], np.mean([2.0 / s for s in range(1, 9)]))
    assert mean.get_xdata()[0] == 4
    assert dots.get_xydata().tolist() == [[100, 0.5]]
