"""From checkpoints and folders to results, by predictors whose logits say what they were shown."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from common import arch
from common import command as commands
from common.annotations import Action, annotation_files
from common.evaluation import command, results, scores
from common.evaluation.command import Settings
from common.model_card import ModelCard
from common.preprocessing.contracts import CHANNELS, FLOW_CONTRACT, RGB_CONTRACT
from common.testing.data import CLASSES, STAMP, put
from common.training import checkpoints
from common.training.checkpoints import Snapshot

pytestmark = pytest.mark.usefixtures("thin")
CONTRACTS = {
    contract.channels: dataclasses.replace(contract, frames=8, short_side=32, crop=32)
    for contract in (RGB_CONTRACT, FLOW_CONTRACT)
}
NAMES = ("dark/validation_0", "light/validation_1", "striped/validation_2")
OTHER = dataclasses.replace(STAMP, engine="torch")

_BRIGHTNESS = np.array([50, 200, 120], np.float32)
_DIRECTIONS = np.array([(-0.2, 0), (0.2, 0), (0, 0.2)], np.float32)


class Predictor:
    """Logits are how near a frame is to what is usual of each class."""

    def __init__(self, model):
        self.model, self.clips = model, []

    def frame_scores(self, clips):
        self.clips += list(clips)
        known = _BRIGHTNESS[:, None] if clips.dtype == np.uint8 else _DIRECTIONS
        means = clips.mean(axis=(2, 3)).astype(np.float32)
        means = means.mean(axis=-1, keepdims=True) if clips.dtype == np.uint8 else means
        logits = -np.linalg.norm(means[..., None, :] - known, axis=-1)
        spare = np.full((*logits.shape[:-1], self.model.net.num_classes - 3), -1000, np.float32)
        return np.concatenate([logits, spare], axis=-1)

    def scores(self, clips):
        return self.frame_scores(clips).mean(axis=1)


class Maker:
    """Makes predictors, and keeps them."""

    def __init__(self):
        self.made = []

    def __call__(self, model, **how):
        self.made.append(Predictor(model))
        return self.made[-1]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A small data set; pictures, which take long, are empty files."""
    monkeypatch.setattr(results, "draw", lambda path, *_: path.touch())
    return put(tmp_path / "data")


def write_weights(folder, stream="rgb", classes=CLASSES, flow=STAMP, task="classes"):
    """Weights as a run leaves them, with their card."""
    net = arch.make("inception_i3d_global", len(classes), CHANNELS[stream])
    snapshot = Snapshot(3, net.name, arch.initial_arrays(net), {"task": task})
    made = dataclasses.asdict(flow) if flow and stream == "flow" else None
    card = ModelCard(stream, tuple(classes), CONTRACTS[stream], "i3d_torch", flow=made)
    return str(checkpoints.write_model(folder / stream, snapshot, card))


def make_settings(data, tmp_path, *streams, **changes):
    """Settings that evaluate the small data set with weights for it."""
    path, source = data
    given = {f"{name}_checkpoint": write_weights(tmp_path, name) for name in streams}
    fields = {"streams": streams, "rgb": source.rgb, "flow": source.flow, "workers": 0, **given}
    return Settings(annotations=path, output=tmp_path / "results", **{**fields, **changes})


def evaluate(settings, make=None):
    return command.evaluate(settings, make or Maker(), "i3d_torch")[0]


def read_results(tmp_path):
    return json.loads((tmp_path / "results/results.json").read_text())


def test_one_stream(data, tmp_path):
    make, settings = Maker(), make_settings(data, tmp_path, "rgb")
    found = evaluate(settings, make)
    assert (found.names, found.classes, found.failures) == (NAMES, CLASSES, {})
    (own,) = make.made
    assert [clip.shape for clip in own.clips] == [(12, 32, 32, 3)] * 3  # quo_vadis
    assert own.model.contract == CONTRACTS["rgb"]
    expected = np.concatenate([own.scores(clip[None]) for clip in [*own.clips]])
    np.testing.assert_allclose(found.logits, expected, rtol=1e-6)
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "results.json", "results.txt", "confusion.png", "scores_rgb.npz"
    }  # fmt: skip
    assert read_results(tmp_path)["coverage"] == {"expected": 3, "evaluated": 3, "failed": 0}
    assert read_results(tmp_path)["top_1"] == 1.0
    (stream,) = read_results(tmp_path)["streams"]
    assert stream["protocol"]["name"] == "quo_vadis"
    assert (stream["backend"], stream["flow"], "control" in stream) == ("i3d_torch", None, False)
    assert list(stream["weights"]) == ["model.safetensors"]
    kept = scores.read(tmp_path / "results/scores_rgb.npz")
    np.testing.assert_array_equal(kept.logits, found.logits)

    with pytest.raises(FileExistsError, match=r"results\.json"):
        evaluate(settings)
    other = {"subset": "training", "overwrite": True, "protocol": "thirty_view"}
    found = evaluate(dataclasses.replace(settings, **other), make)
    assert found.names[:2] == ("dark/training_0", "light/training_1")
    assert {clip.shape for clip in make.made[1].clips} == {(8, 32, 32, 3)}  # the card's crop
    with pytest.raises(ValueError, match=r"no records for testing. The annotations have"):
        evaluate(dataclasses.replace(settings, subset="testing", overwrite=True), make)


def test_two_streams_are_fused_and_one_that_lacks_a_video_fails_it(data, tmp_path):
    settings = make_settings(data, tmp_path, "rgb", "flow", weights=(1.0, 2.0))
    found = evaluate(settings)
    rgb, flow = (scores.read(tmp_path / f"results/scores_{name}.npz") for name in ("rgb", "flow"))
    np.testing.assert_allclose(found.logits, rgb.logits + 2 * flow.logits, rtol=1e-6)
    assert np.abs(flow.logits).max() > 0.1
    found = read_results(tmp_path)
    assert found["fusion"] == {"how": "logits", "weights": [1.0, 2.0]}
    assert [stream["stream"] for stream in found["streams"]] == ["rgb", "flow"]
    assert found["streams"][1]["flow"]["parameters"] == {"warps": 5}
    assert found["top_1"] == 1.0

    (tmp_path / "data/flow/light/validation_1_flow.npy").write_bytes(b"nothing")
    found = evaluate(dataclasses.replace(settings, overwrite=True))
    assert (found.names, list(found.failures)) == ((NAMES[0], NAMES[2]), [NAMES[1]])
    assert found.failures[NAMES[1]].startswith("flow: ")


def test_heads_of_more_classes_and_weights_without_a_card(data, tmp_path):
    settings = make_settings(data, tmp_path, "rgb", overwrite=True)
    write_weights(tmp_path, classes=(*CLASSES, "dotted"))
    assert evaluate(settings).classes == (*CLASSES, "dotted")
    write_weights(tmp_path, classes="abcde")
    (tmp_path / "rgb/model.json").unlink()
    assert evaluate(settings).classes == (*CLASSES, "class 3", "class 4")


def _damaged(tmp_path):
    (tmp_path / "flow/model.safetensors").write_bytes(b"nothing")


def _mixed(tmp_path):
    stamp = tmp_path / f"data/flow/{NAMES[0]}_flow.json"
    stamp.write_text(stamp.read_text().replace('"warps": 5', '"warps": 3'))


def _trained(**changes):
    return lambda tmp_path: write_weights(tmp_path, "flow", **changes)


def test_mixed_flow_is_evaluated_if_allowed(data, tmp_path):
    settings = make_settings(data, tmp_path, "flow", allow_mixed_flow=True)
    _mixed(tmp_path)
    _trained(flow=OTHER)(tmp_path)
    assert evaluate(settings).names == NAMES
    (stream,) = read_results(tmp_path)["streams"]
    assert [kind["parameters"]["warps"] for kind in stream["flow"]] == [3, 5]


@pytest.mark.parametrize(
    ("mistake", "changes", "text"),
    [
        (_damaged, {}, "model.safetensors"),
        (_mixed, {}, r"same way: parameters.warps is 3.*, or allow it \(--allow_mixed_flow\)"),
        (_trained(flow=None), {}, "engine is .* what the weights were trained on"),
        (_trained(classes=("dark", "striped", "light")), {}, "'light'. Received: 'striped'. Fine"),
        (_trained(classes=("dark", "light")), {}, "2 classes .* 'striped'. Received: None. Fine"),
        (_trained(classes=(*CLASSES, "dotted")), {}, "the streams have other classes"),
        (_trained(task="frames"), {}, "one stream has scores of frames, another has none"),
        (None, {"weights": (1.0,)}, "weights must be 2 numbers"),
        (None, {"moments": 25}, "the task is classes"),
    ],
)
def test_mistakes_show_before_the_first_stream_is_scored(data, tmp_path, mistake, changes, text):
    settings = make_settings(data, tmp_path, "rgb", "flow")
    if mistake:
        mistake(tmp_path)
    make = Maker()
    with pytest.raises(ValueError, match=text):
        evaluate(dataclasses.replace(settings, **changes), make)
    assert make.made == []
    assert not (tmp_path / "results").exists()


def test_results_json_is_written_last(data, tmp_path, monkeypatch):
    def stop(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(results, "draw", stop)
    with pytest.raises(OSError, match="the disk is full"):
        evaluate(make_settings(data, tmp_path, "rgb"))
    written = {path.name for path in (tmp_path / "results").iterdir()}
    assert written == {"results.txt", "scores_rgb.npz"}


def test_labels_of_frames(data, tmp_path):
    annotations = annotation_files.read(data[0])
    fields = {"labels": (), "unit": "frames", "frames": 12, "fps": 25.0}
    records = tuple(
        dataclasses.replace(record, actions=(Action(record.labels[0], 0, 12),), **fields)
        for record in annotations.records
    )
    annotation_files.write(data[0], dataclasses.replace(annotations, records=records))
    make, settings = Maker(), make_settings(data, tmp_path, "rgb")
    write_weights(tmp_path, task="frames")
    found = evaluate(settings, make)
    assert found.frames.counts.tolist() == [12, 12, 12]
    assert {len(clip) for clip in make.made[0].clips} == {8}  # every_frame
    assert read_results(tmp_path)["localisation"]["mean_average_precision"] == 1.0
    # The task that the weights were trained for is no more than a default.
    with pytest.raises(ValueError, match="none or several"):
        evaluate(dataclasses.replace(settings, task="classes", overwrite=True), make)


def test_the_command(data, tmp_path, capsys):
    """Its status is 1 where a video failed; wrong use is one line."""
    path, source = data
    flags = f"--annotations={path}", f"--rgb={source.rgb}", f"--output={tmp_path / 'results'}"
    weights = f"--checkpoint={write_weights(tmp_path)}", "--workers=0"

    def call(*more):
        run = lambda settings: command.run(settings, Maker(), "i3d_torch")  # noqa: E731
        status = commands.call(run, Settings, [*flags, *weights, *more])
        return status, capsys.readouterr()

    for wrong, text in (
        ("--checkpoint=", "--rgb_checkpoint is needed"),
        ("--streams=flow", "--flow is needed"),
    ):
        status, said = call(wrong)
        assert (status, said.err.count("\n"), text in said.err) == (1, 1, True)
    assert not (tmp_path / "results").exists()
    status, said = call("--shuffle_frames")
    assert (status, said.out) == (0, (tmp_path / "results/results.txt").read_text())
    assert read_results(tmp_path)["streams"][0]["control"] == "frames shuffled"
    shutil.rmtree(source.rgb / NAMES[1])
    assert call("--overwrite")[0] == 1
    assert list(read_results(tmp_path)["failures"]) == [NAMES[1]]
