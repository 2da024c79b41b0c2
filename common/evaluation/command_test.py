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
OTHER = dataclasses.replace(STAMP, engine="torch")


@pytest.fixture
def data(tmp_path):
    return put(tmp_path / "data")


def evaluate(settings, make=None):
    return command.evaluate(settings, make or Maker(), "i3d_torch")[0]


def write_both(tmp_path):
    return {name: write_weights(tmp_path, name) for name in ("rgb", "flow")}


def test_one_stream(data, tmp_path):
    make = Maker()
    found = evaluate(make_settings(data, tmp_path), make)
    assert (found.names, found.classes, found.failures) == (NAMES, CLASSES, {})
    (own,) = make.made
    assert [clip.shape for clip in own.clips] == [(12, 32, 32, 3)] * 3  # quo_vadis
    assert own.contract == CONTRACTS["rgb"]
    expected = np.concatenate([own.scores(clip[None]) for clip in [*own.clips]])
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

    settings = make_settings(data, tmp_path, overwrite=True, protocol="clip")
    found = evaluate(dataclasses.replace(settings, subset="training", limit=2), make)
    assert found.names == ("dark/training_0", "light/training_1")
    assert [len(clip) for clip in make.made[1].clips] == [8, 8]
    with pytest.raises(ValueError, match=r"no records for testing. The annotations have"):
        evaluate(dataclasses.replace(settings, subset="testing"), make)


def test_two_streams_are_fused_and_one_that_lacks_a_video_fails_it(data, tmp_path):
    settings = make_settings(data, tmp_path, write_both(tmp_path), weights=(1.0, 2.0))
    found = evaluate(settings)
    rgb, flow = (scores.read(tmp_path / f"results/scores_{name}.npz") for name in ("rgb", "flow"))
    np.testing.assert_allclose(found.logits, rgb.logits + 2 * flow.logits, rtol=1e-6)
    assert np.abs(flow.logits).max() > 0.1
    results = read_results(tmp_path)
    assert results["fusion"] == {"how": "logits", "weights": [1.0, 2.0]}
    assert [stream["stream"] for stream in results["streams"]] == ["rgb", "flow"]
    assert results["streams"][1]["flow"]["parameters"] == {"warps": 5}
    assert results["top_1"] == 1.0

    (tmp_path / "data/flow/light/validation_1_flow.npy").write_bytes(b"nothing")
    found = evaluate(dataclasses.replace(settings, overwrite=True))
    assert (found.names, list(found.failures)) == ((NAMES[0], NAMES[2]), [NAMES[1]])
    assert found.failures[NAMES[1]].startswith("flow: ")


def test_heads_of_more_classes_and_weights_without_a_card(data, tmp_path):
    weights = {"rgb": write_weights(tmp_path, classes=(*CLASSES, "dotted"))}
    assert evaluate(make_settings(data, tmp_path, weights)).classes == (*CLASSES, "dotted")
    weights = {"rgb": write_weights(tmp_path, classes="abcde")}
    (tmp_path / "rgb/model.json").unlink()
    found = evaluate(make_settings(data, tmp_path, weights, overwrite=True))
    assert found.classes == (*CLASSES, "class 3", "class 4")


@pytest.mark.parametrize("trained", [OTHER, None])
def test_mixed_flow_is_evaluated_if_allowed(data, tmp_path, trained):
    stamp = tmp_path / f"data/flow/{NAMES[0]}_flow.json"
    stamp.write_text(stamp.read_text().replace('"warps": 5', '"warps": 3'))
    checkpoints = {"flow": write_weights(tmp_path, "flow", flow=trained)}
    settings = make_settings(data, tmp_path, checkpoints, allow_mixed_flow=True)
    assert evaluate(settings).names == NAMES
    (stream,) = read_results(tmp_path)["streams"]
    assert [kind["parameters"]["warps"] for kind in stream["flow"]] == [3, 5]
    assert stream["flow_of_training"] == (trained and dataclasses.asdict(trained))


def _damaged(tmp_path):
    (tmp_path / "flow/model.safetensors").write_bytes(b"nothing")


def _mixed(tmp_path):
    stamp = tmp_path / f"data/flow/{NAMES[0]}_flow.json"
    stamp.write_text(stamp.read_text().replace('"warps": 5', '"warps": 3'))


def _trained(**changes):
    return lambda tmp_path: write_weights(tmp_path, "flow", **changes)


@pytest.mark.parametrize(
    ("mistake", "changes", "text"),
    [
        (_damaged, {}, "model.safetensors"),
        (_mixed, {}, r"same way: parameters.warps is 3.*, or allow it \(--allow_mixed_flow\)"),
        (_trained(flow=OTHER), {}, "engine is .* what the weights were trained on"),
        (_trained(flow=None), {}, "engine is .* what the weights were trained on"),
        (_trained(classes=("dark", "striped", "light")), {}, "2 differ, such as 'light' and"),
        (_trained(classes=("dark", "light")), {}, "at least 3 classes.* Received: 2. Fine-tune"),
        (_trained(classes=(*CLASSES, "dotted")), {}, "the streams have other classes"),
        (_trained(task="frames"), {}, "one stream has scores of frames, another has none"),
        (None, {"flow_checkpoint": "rgb/model.safetensors"}, "Expected flow, 2 channels"),
        (None, {"weights": (1.0,)}, "weights must be 2 numbers"),
        (None, {"task": "frames", "fusion": "softmax"}, "add logits"),
        (None, {"moments": 25}, "the task is classes"),
    ],
)
def test_mistakes_show_before_the_first_stream_is_scored(
    data, tmp_path, monkeypatch, mistake, changes, text
):
    monkeypatch.chdir(tmp_path)
    settings = make_settings(data, tmp_path, write_both(tmp_path))
    if mistake:
        mistake(tmp_path)
    make = Maker()
    with pytest.raises(ValueError, match=text):
        evaluate(dataclasses.replace(settings, **changes), make)
    assert make.made == []
    assert not (tmp_path / "results").exists()


def test_without_matplotlib_nothing_is_scored(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    make = Maker()
    with pytest.raises(ImportError, match="the picture of confusions needs matplotlib"):
        evaluate(make_settings(data, tmp_path), make)
    assert make.made == []


def test_no_file_is_overwritten_unasked_and_results_json_is_written_last(
    data, tmp_path, monkeypatch
):
    settings, folder = make_settings(data, tmp_path), tmp_path / "results"
    folder.mkdir()
    for name in ("scores_rgb.npz", "results.json", "results.txt"):
        (folder / name).write_text("kept")
        with pytest.raises(FileExistsError, match=name):
            evaluate(settings)
        assert (folder / name).read_text() == "kept"
        (folder / name).unlink()

    def stop(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(confusion_picture, "write", stop)
    with pytest.raises(OSError, match="the disk is full"):
        evaluate(settings)
    assert {path.name for path in folder.iterdir()} == {"results.txt", "scores_rgb.npz"}


def test_shuffled_frames_are_the_same_frames(data, tmp_path):
    usual, first, again = Maker(), Maker(), Maker()
    settings = make_settings(data, tmp_path, overwrite=True)
    evaluate(settings, usual)
    for make in (first, again):
        evaluate(dataclasses.replace(settings, shuffle_frames=True), make)
    assert read_results(tmp_path)["streams"][0]["control"] == "frames shuffled"
    clips = [make.made[0].clips for make in (usual, first, again)]
    for straight, shuffled, same in zip(*clips, strict=True):
        np.testing.assert_array_equal(shuffled, same)
        order = [int((straight == frame).all(axis=(1, 2, 3)).argmax()) for frame in shuffled]
        assert sorted(order) == list(range(12)) != order


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
    settings = make_settings((path, source), tmp_path, weights)
    found = evaluate(settings, make)
    assert found.frames.counts.tolist() == [12, 12, 12]
    assert {len(clip) for clip in make.made[0].clips} == {8}  # every_frame
    assert read_results(tmp_path)["localisation"]["mean_average_precision"] == 1.0
    # The task that the weights were trained for is no more than a default.
    with pytest.raises(ValueError, match="expected one class a video"):
        evaluate(dataclasses.replace(settings, task="classes", overwrite=True), make)


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


def test_the_status_is_1_where_a_video_failed(data, tmp_path, capsys):
    assert call(tmp_path, data) == 0
    # results.txt lists all classes, and there are few.
    assert capsys.readouterr().out == (tmp_path / "results/results.txt").read_text()
    shutil.rmtree(data[1].rgb / NAMES[1])
    assert call(tmp_path, data, "--overwrite") == 1
    assert list(read_results(tmp_path)["failures"]) == [NAMES[1]]
    assert call(tmp_path, data, "--overwrite", "--allow_failures=1") == 0


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("--weights=1", "--weights is for two streams"),
        ("--fusion=softmax", "--fusion is for two streams"),
        ("--moments=25", "the task is classes: leave them out"),
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
