"""From checkpoints and folders to results, by predictors whose logits say what they were shown."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest

from common import command as commands
from common.annotations import Action, annotation_files
from common.evaluation import command, confusion_picture, scores
from common.testing.data import CLASSES, STAMP, put
from common.testing.evaluations import (
    CONTRACTS,
    NAMES,
    Maker,
    make_settings,
    read_results,
    write_weights,
)

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def data(tmp_path):
    return put(tmp_path / "data")


def test_one_stream(data, tmp_path):
    make = Maker()
    found, text = command.evaluate(make_settings(data, tmp_path), make, "i3d_torch")
    assert (found.names, found.classes, found.failures) == (NAMES, CLASSES, {})
    assert [clip.shape for clip in make.made[0].clips] == [(12, 32, 32, 3)] * 3  # quo_vadis
    assert make.made[0].contract == CONTRACTS["rgb"]
    expected = np.concatenate([make.made[0].scores(clip[None]) for clip in [*make.made[0].clips]])
    np.testing.assert_allclose(found.logits, expected, rtol=1e-6)
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "results.json", "results.txt", "confusion.png", "scores_rgb.npz"
    }  # fmt: skip
    results = read_results(tmp_path)
    assert results["coverage"] == {"expected": 3, "evaluated": 3, "failed": 0}
    assert (results["top_1"], results["fusion"]) == (1.0, None)
    (stream,) = results["streams"]
    assert stream["protocol"]["name"] == "quo_vadis"
    assert (stream["backend"], stream["flow"], "control" in stream) == ("i3d_torch", None, False)
    assert list(stream["weights"]) == ["model.safetensors"]
    kept = scores.read(tmp_path / "results/scores_rgb.npz")
    np.testing.assert_array_equal(kept.logits, found.logits)
    assert "100" in text


def test_a_protocol_and_some_videos(data, tmp_path):
    make = Maker()
    settings = make_settings(data, tmp_path, protocol="clip", subset="training", limit=2)
    found, _ = command.evaluate(settings, make, "i3d_torch")
    assert found.names == ("dark/training_0", "light/training_1")
    assert [len(clip) for clip in make.made[0].clips] == [8, 8]
    with pytest.raises(ValueError, match=r"no records for testing. The annotations have"):
        command.evaluate(make_settings(data, tmp_path, subset="testing", overwrite=True), make, "")


def test_two_streams_are_fused(data, tmp_path):
    checkpoints = {name: write_weights(tmp_path, name) for name in ("rgb", "flow")}
    settings = make_settings(data, tmp_path, checkpoints, weights=(1.0, 2.0))
    found, _ = command.evaluate(settings, Maker(), "i3d_tf")
    rgb, flow = (scores.read(tmp_path / f"results/scores_{name}.npz") for name in checkpoints)
    np.testing.assert_allclose(found.logits, rgb.logits + 2 * flow.logits, rtol=1e-6)
    assert np.abs(flow.logits).max() > 0.1
    results = read_results(tmp_path)
    assert results["fusion"] == {"how": "logits", "weights": [1.0, 2.0]}
    assert [stream["stream"] for stream in results["streams"]] == ["rgb", "flow"]
    assert results["streams"][1]["flow"]["parameters"] == {"warps": 5}
    assert results["top_1"] == 1.0


def test_a_stream_that_lacks_a_video_fails_it(data, tmp_path):
    checkpoints = {name: write_weights(tmp_path, name) for name in ("rgb", "flow")}
    (tmp_path / "data/flow/light/validation_1_flow.npy").write_bytes(b"nothing")
    found, _ = command.evaluate(make_settings(data, tmp_path, checkpoints), Maker(), "i3d_tf")
    assert found.names == (NAMES[0], NAMES[2])
    assert list(found.failures) == [NAMES[1]]
    assert found.failures[NAMES[1]].startswith("flow: ")


def test_fewer_classes_are_refused_and_more_are_not(data, tmp_path):
    weights = write_weights(tmp_path, classes=("dark", "light"))
    message = r"expected a head of at least 3 classes.* Received: 2. Fine-tune"
    with pytest.raises(ValueError, match=message):
        command.evaluate(make_settings(data, tmp_path, {"rgb": weights}), Maker(), "i3d_tf")
    weights = write_weights(tmp_path, classes=(*CLASSES, "dotted"))
    found, _ = command.evaluate(make_settings(data, tmp_path, {"rgb": weights}), Maker(), "i3d_tf")
    assert found.classes == (*CLASSES, "dotted")


def test_weights_without_a_card_have_the_classes_of_the_annotations(data, tmp_path):
    path = write_weights(tmp_path, classes="abcde")
    (tmp_path / "rgb/model.json").unlink()
    found, _ = command.evaluate(make_settings(data, tmp_path, {"rgb": path}), Maker(), "i3d_tf")
    assert found.classes == (*CLASSES, "class 3", "class 4")


def test_weights_of_the_other_stream_are_refused(data, tmp_path):
    path = write_weights(tmp_path)
    with pytest.raises(ValueError, match=r"Expected flow, 2 channels. Received: rgb"):
        command.evaluate(make_settings(data, tmp_path, {"flow": path}), Maker(), "i3d_tf")


def test_flow_that_was_made_in_two_ways_is_refused_unless_allowed(data, tmp_path):
    checkpoints = {"flow": write_weights(tmp_path, "flow")}
    stamp = tmp_path / f"data/flow/{NAMES[0]}_flow.json"
    stamp.write_text(stamp.read_text().replace('"warps": 5', '"warps": 3'))
    settings = make_settings(data, tmp_path, checkpoints)
    with pytest.raises(
        ValueError,
        match=r"same way: parameters.warps is 3.*, or allow it \(--allow_mixed_flow\)",
    ):
        command.evaluate(settings, Maker(), "i3d_tf")
    allowed = dataclasses.replace(settings, allow_mixed_flow=True)
    found, _ = command.evaluate(allowed, Maker(), "i3d_tf")
    assert found.names == NAMES
    (stream,) = read_results(tmp_path)["streams"]
    assert [kind["parameters"]["warps"] for kind in stream["flow"]] == [3, 5]
    assert stream["flow_of_training"]["parameters"]["warps"] == 5


def _damaged(data, tmp_path):
    (tmp_path / "flow/model.safetensors").write_bytes(b"nothing")


def _of_other_flow(data, tmp_path):
    write_weights(tmp_path, "flow", flow=dataclasses.replace(STAMP, engine="torch"))


def _of_other_classes(data, tmp_path):
    write_weights(tmp_path, "flow", classes=("dark", "striped", "light"))


def _of_more_classes(data, tmp_path):
    write_weights(tmp_path, "flow", classes=(*CLASSES, "dotted"))


def _of_another_task(data, tmp_path):
    write_weights(tmp_path, "flow", task="frames")


@pytest.mark.parametrize(
    ("mistake", "changes", "text"),
    [
        (_damaged, {}, "model.safetensors"),
        (_of_other_flow, {}, "was not all made in the same way.*--allow_mixed_flow"),
        (_of_other_classes, {}, "2 differ, such as 'light' and 'striped'"),
        (_of_more_classes, {}, "the streams have other classes"),
        (_of_another_task, {}, "one stream has scores of frames, another has none"),
        (None, {"weights": (1.0,)}, "weights must be 2 numbers"),
        (None, {"task": "frames", "fusion": "softmax"}, "add logits"),
        (None, {"moments": 25}, "the task is classes"),
    ],
)
def test_what_is_wrong_shows_before_the_first_stream_is_scored(
    data, tmp_path, mistake, changes, text
):
    checkpoints = {name: write_weights(tmp_path, name) for name in ("rgb", "flow")}
    if mistake:
        mistake(data, tmp_path)
    make = Maker()
    with pytest.raises(ValueError, match=text):
        command.evaluate(make_settings(data, tmp_path, checkpoints, **changes), make, "i3d_tf")
    assert make.made == []
    assert not (tmp_path / "results").exists()


def test_without_matplotlib_nothing_is_scored(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    make = Maker()
    with pytest.raises(ImportError, match="the picture of confusions needs matplotlib"):
        command.evaluate(make_settings(data, tmp_path), make, "i3d_tf")
    assert make.made == []


@pytest.mark.parametrize("name", ["scores_rgb.npz", "results.json", "results.txt"])
def test_no_file_is_overwritten_unasked(data, tmp_path, name):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / name).write_text("kept")
    make, settings = Maker(), make_settings(data, tmp_path)
    with pytest.raises(FileExistsError, match=name):
        command.evaluate(settings, make, "i3d_tf")
    assert make.made == []
    assert (tmp_path / "results" / name).read_text() == "kept"
    command.evaluate(dataclasses.replace(settings, overwrite=True), make, "i3d_torch")
    assert read_results(tmp_path)["streams"][0]["backend"] == "i3d_torch"


def test_results_json_is_written_last(data, tmp_path, monkeypatch):
    def stop(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(confusion_picture, "write", stop)
    with pytest.raises(OSError, match="the disk is full"):
        command.evaluate(make_settings(data, tmp_path), Maker(), "i3d_tf")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "results.txt", "scores_rgb.npz"
    }  # fmt: skip


@pytest.mark.parametrize("trained", [dataclasses.replace(STAMP, engine="torch"), None])
def test_flow_of_another_make_than_the_training_is_refused_unless_allowed(data, tmp_path, trained):
    checkpoints = {"flow": write_weights(tmp_path, "flow", flow=trained)}
    settings = make_settings(data, tmp_path, checkpoints)
    with pytest.raises(ValueError, match=r"engine is .* what the weights were trained on"):
        command.evaluate(settings, Maker(), "i3d_tf")
    allowed = dataclasses.replace(settings, allow_mixed_flow=True)
    found, _ = command.evaluate(allowed, Maker(), "i3d_tf")
    assert found.names == NAMES
    (stream,) = read_results(tmp_path)["streams"]
    assert stream["flow"]["engine"] == "numba"
    assert stream["flow_of_training"] == (trained and dataclasses.asdict(trained))


def test_shuffled_frames_are_the_same_frames(data, tmp_path):
    usual, first, again = Maker(), Maker(), Maker()
    settings = make_settings(data, tmp_path, overwrite=True)
    command.evaluate(settings, usual, "i3d_tf")
    for make in (first, again):
        command.evaluate(dataclasses.replace(settings, shuffle_frames=True), make, "i3d_tf")
    assert read_results(tmp_path)["streams"][0]["control"] == "frames shuffled"
    orders = []
    for straight, shuffled, same in zip(
        usual.made[0].clips, first.made[0].clips, again.made[0].clips, strict=True
    ):
        np.testing.assert_array_equal(shuffled, same)
        orders.append(
            [next(i for i, f in enumerate(straight) if (f == frame).all()) for frame in shuffled]
        )
    assert all(sorted(order) == list(range(12)) != order for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_labels_of_frames(data, tmp_path):
    path, source = data
    annotations = annotation_files.read(path)
    records = tuple(
        dataclasses.replace(
            record, labels=(), actions=(Action(record.labels[0], 0, 12),), unit="frames",
            frames=12, fps=25.0,
        )
        for record in annotations.records
    )  # fmt: skip
    path = tmp_path / "frames.json"
    annotation_files.write(path, dataclasses.replace(annotations, records=records))
    weights = {"rgb": write_weights(tmp_path, task="frames")}
    make = Maker()
    found, _ = command.evaluate(make_settings((path, source), tmp_path, weights), make, "i3d_tf")
    assert found.frames.counts.tolist() == [12, 12, 12]
    assert {len(clip) for clip in make.made[0].clips} == {8}  # every_frame
    assert read_results(tmp_path)["localisation"]["mean_average_precision"] == 1.0
    # What the weights were trained for is no more than a default.
    settings = make_settings((path, source), tmp_path, weights, task="classes", overwrite=True)
    with pytest.raises(
        ValueError, match=r"expected one class a video. Received none or several for"
    ):
        command.evaluate(settings, make, "i3d_tf")


def call(tmp_path, data, *more):
    """The status of the command."""
    path, source = data
    arguments = [
        f"--annotations={path}", f"--rgb={source.rgb}", f"--output={tmp_path / 'results'}",
        f"--checkpoint={write_weights(tmp_path)}", "--workers=0",
    ]  # fmt: skip
    return commands.call(
        lambda settings: command.run(settings, Maker(), "i3d_torch"),
        command.Settings,
        [*arguments, *more],
    )


@pytest.mark.parametrize("missing", [False, True])
def test_the_status_is_1_where_a_video_failed(data, tmp_path, missing, capsys):
    _, source = data
    if missing:
        shutil.rmtree(source.rgb / NAMES[1])
    assert call(tmp_path, data) == int(missing)
    results = read_results(tmp_path)
    assert results["coverage"]["failed"] == int(missing)
    assert list(results["failures"]) == ([NAMES[1]] if missing else [])
    # results.txt lists all classes, and there are few.
    assert capsys.readouterr().out == (tmp_path / "results/results.txt").read_text()
    assert call(tmp_path, data, "--overwrite", "--allow_failures=1") == 0


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("--weights=1", "--weights is for two streams"),
        ("--fusion=softmax", "--fusion is for two streams"),
        ("--moments=25", "the task is classes: leave them out"),
        ("--flow_checkpoint=a", "--flow_checkpoint is given, and flow is not among"),
        ("--rgb_checkpoint=a", "--checkpoint and --rgb_checkpoint exclude each other"),
        ("--streams=rgb,rgb", "--streams must be rgb, flow or rgb,flow"),
        ("--streams=rgb,depth", "--streams must be of rgb, flow. Received: 'depth'"),
        ("--streams=rgb,flow", "--checkpoint is for one stream"),
        ("--checkpoint=", "--rgb_checkpoint is needed"),
        ("--fusion=max", "--fusion=max: value should be one of <logits|softmax>"),
    ],
)
def test_wrong_use_is_one_line(data, tmp_path, asked, text, capsys):
    assert call(tmp_path, data, asked) == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not (tmp_path / "results").exists()
