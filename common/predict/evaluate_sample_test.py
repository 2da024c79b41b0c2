"""One clip from flags to text and JSON, with scores that are made up."""

import dataclasses
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from common import arch, command, models
from common.annotations import label_maps
from common.io import AssetError, Digest, sha256
from common.model_card import ModelCard
from common.models import Model
from common.predict import evaluate_sample
from common.predict.evaluate_sample import Result, Settings
from common.preprocessing import contracts
from common.settings import UsageError
from convert import published

ROOT = Path(__file__).parents[2]


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """The cricket sample as small arrays, and weights of which nothing is read."""
    monkeypatch.setenv("I3D_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(published, "_PACKAGE", tmp_path / "nowhere")
    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr(Model, "digests", property(lambda model: {model.path.name: "sha256 0"}))
    cricket = published.SAMPLES["cricket"]
    arrays = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        path = tmp_path / "data" / cricket[stream].relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.zeros((1, 10, 8, 8, channels), np.float32))
        digest = Digest("sha256", sha256("").of(path))
        arrays[stream] = dataclasses.replace(cricket[stream], digest=digest)
    monkeypatch.setitem(published.SAMPLES, "cricket", arrays)
    return tmp_path


def load(name, stream, architecture=None):
    """Stands in for `models.load`: published rows, and files that nothing is known of.

    A path says how many classes there are: "three/3.pt".
    """
    row = published.CHECKPOINTS.get(str(name))
    path = Path(name)
    classes = row.num_classes if row else int(path.stem) if path.stem.isdigit() else 400
    net = arch.make(architecture or "inception_i3d", classes, models.CHANNELS[stream])
    contract = row.contract if row else contracts.of_stream(net.name, stream)
    return Model(net, {}, contract, path, row, None)


class Maker:
    """Makes predictors whose logits rise from 0, to 9 for RGB; keeps what they were given."""

    def __init__(self, scale=1.0):
        self.models, self.shapes, self.how, self.scale = [], [], {}, scale

    def __call__(self, model, **how):
        self.models.append(model)
        self.how = how
        return self

    def scores(self, clips, prepared=False):
        assert prepared
        model = self.models[-1]
        self.shapes.append(clips.shape)
        top = self.scale * (18 if model.stream == "flow" else 9)
        return np.linspace(0, top, model.net.num_classes, dtype=np.float32)[None]


def evaluate(settings, make=None):
    return evaluate_sample.evaluate(settings, make or Maker(), "i3d_torch")


def test_the_published_text_comes_out_of_its_logits(real_data):
    """The published 20 logits, and the others so low that they change no digit that is shown."""
    published = real_data("expected/published_imagenet_joint.txt").read_text()
    names = label_maps.load(label_maps.KINETICS_400)
    logits = np.full(400, -30, np.float32)
    lines = published.splitlines()[3:]
    for line in lines:
        _, logit, name = line.split(" ", 2)
        logits[names.index(name)] = np.float32(logit)
    ours = Result(logits, names, {}).text().splitlines()[3:]
    for line, our_line in zip(lines, ours, strict=True):
        probability, rest = line.split(" ", 1)
        our_probability, our_rest = our_line.split(" ", 1)
        assert our_rest == rest
        # The published softmax is TensorFlow's: its last digit may be another.
        assert float(our_probability) == pytest.approx(float(probability), rel=1e-5)


def test_text():
    logits = np.arange(30, dtype=np.float32)
    lines = Result(logits, label_maps.for_classes(30), {}).text().split("\n")
    assert lines[:3] == ["Norm of logits: 92.493240", "", "Top classes and probabilities"]
    assert lines[3].endswith(" 29.0 class 29")
    assert (len(lines), lines[-1]) == (3 + 20 + 1, "")
    # Float32 scalars as the release prints them.
    assert str(np.float32("1.13601656e-10")) == "1.13601656e-10"
    probabilities = evaluate_sample.softmax(np.array([1000, 1000, -1000], np.float32))
    assert (probabilities.dtype, probabilities.tolist()) == (np.float32, [0.5, 0.5, 0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {"rgb": "rgb_imagenet", "flow": "flow_imagenet"}),
        (Settings(eval_type="flow", imagenet_pretrained=False), {"flow": "flow_scratch"}),
        (Settings(eval_type="rgb600"), {"rgb": "rgb_scratch_kin600"}),
        (Settings(eval_type="rgb", checkpoint="a.pt"), {"rgb": "a.pt"}),
        (Settings(flow_checkpoint="b.pt"), {"rgb": "rgb_imagenet", "flow": "b.pt"}),
    ],
)
def test_which_checkpoints(settings, expected):
    assert evaluate_sample.streams(settings) == expected


def test_joint_adds_logits(at_hand, caplog):
    make = Maker()
    with caplog.at_level(logging.INFO, logger="absl"):
        result = evaluate(Settings(gif=at_hand / "o.gif"), make)
    assert "flow: weights flow_imagenet, clip [1, 10, 8, 8, 2]" in caplog.text
    assert result.text().splitlines()[3].endswith(" 27.0 zumba")
    assert make.shapes == [(1, 10, 8, 8, 3), (1, 10, 8, 8, 2)]
    record = json.loads(json.dumps(result.record()))
    assert (record["eval_type"], record["sample"]) == ("joint", "cricket")
    assert record["norm"] == pytest.approx(float(result.text().split("\n")[0].split()[-1]))
    assert record["top"][0] == {
        "index": 399, "class": "zumba", "logit": 27.0,
        "probability": pytest.approx(float(evaluate_sample.softmax(result.logits)[399])),
    }  # fmt: skip
    flow = record["streams"]["flow"]
    assert (flow["checkpoint"], flow["clip"]) == ("flow_imagenet", [1, 10, 8, 8, 2])
    assert flow["contract"]["channels"] == "flow"
    assert record["versions"]["numpy"] == np.__version__
    assert (at_hand / "o_rgb.gif").exists() and (at_hand / "o_flow.gif").exists()


def test_what_is_known_of_weights_decides_clip_and_names(at_hand, monkeypatch):
    """A published row, a card, or the network's usual contract; class names in the same order."""
    names = label_maps.load(label_maps.KINETICS_600)
    assert evaluate(Settings(eval_type="rgb600")).top(1)[0][3] == names[-1]
    seen = []

    def clip_from_video(path, contract, max_frames, min_frames, flow_engine):
        seen.append((contract.fps, contract.stride, contract.crop, max_frames, min_frames))
        return np.zeros((1, 9, contract.crop, contract.crop, 3), np.float32)

    monkeypatch.setattr(evaluate_sample.video_clips, "clip_from_video", clip_from_video)
    (at_hand / "a.mp4").touch()
    settings = Settings(
        eval_type="rgb", checkpoint="3.safetensors", video=str(at_hand / "a.mp4"), max_frames=12
    )
    evaluate(dataclasses.replace(settings, architecture="i3d_resnet50_32x2"))
    contract = dataclasses.replace(contracts.RGB_CONTRACT, fps=10.0, crop=112)
    card = ModelCard("rgb", ("run", "jump", "swim"), contract, "i3d_tf")
    monkeypatch.setattr(models, "load", lambda *given: dataclasses.replace(
        load(*given), card=card, contract=contract
    ))  # fmt: skip
    result = evaluate(settings)
    assert seen == [(30.0, 2, 224, 12, 7), (10.0, 1, 112, 12, 9)]
    assert result.classes == ("run", "jump", "swim")
    stream = result.provenance["streams"]["rgb"]
    assert (stream["contract"]["fps"], stream["clip"]) == (10.0, [1, 9, 112, 112, 3])


def test_class_names_of_foreign_weights(at_hand):
    settings = Settings(eval_type="rgb", checkpoint="3.pt")
    assert evaluate(settings).classes == ("class 0", "class 1", "class 2")
    (at_hand / "names.txt").write_text("walk\nrun\nsit\n")
    named = dataclasses.replace(settings, label_map=str(at_hand / "names.txt"))
    assert evaluate(named).classes == ("walk", "run", "sit")
    with pytest.raises(ValueError, match=r"names\.txt: expected 4 names.*Received: 3"):
        evaluate(dataclasses.replace(named, checkpoint="4.pt"))
    with pytest.raises(ValueError, match=r"different classes \(400 and 600\)"):
        evaluate(Settings(flow_checkpoint="600.pt"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"checkpoint": "x.pt"}, "--checkpoint is for one stream"),
        ({"eval_type": "rgb", "checkpoint": "flow_scratch"}, "flow_scratch is a flow stream"),
        ({"video": "x_rgb.npy"}, r"x_rgb\.npy: there is no such video"),
        ({"eval_type": "rgb", "video": "."}, "is a folder: --video is a file"),
        ({"video": "https://a/b.mp4"}, "a URL is not read; download"),
        ({"video": "a.mp4", "sample": "cricket"}, "exclude each other"),
        ({"gif": Path("x.png")}, r"expected a name that ends with \.gif"),
    ],
)
def test_settings_that_cannot_be(at_hand, settings, text):
    with pytest.raises((UsageError, OSError), match=text):
        evaluate(Settings(**settings))


def test_the_flow_of_a_video_is_computed(at_hand):
    path = at_hand / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "gray"
        picture = np.random.default_rng(0).integers(0, 256, (256, 340, 3), np.uint8)
        for k in range(10):
            frame = np.ascontiguousarray(picture[:, 20 - 2 * k : 340 - 2 * k])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    make = Maker()
    result = evaluate(Settings(video=str(path), flow_engine="numba"), make)
    assert make.shapes == [(1, 10, 224, 224, 3), (1, 10, 224, 224, 2)]
    assert result.provenance["flow"]["engine"] == "numba"
    assert result.provenance["flow"]["parameters"]["warps"] == 5
    assert "flow" not in evaluate(Settings()).provenance


def test_arrays_are_taken_as_a_video(at_hand):
    for stream, channels in (("rgb", 3), ("flow", 2)):
        np.save(at_hand / f"a_{stream}.npy", np.zeros((1, 12, 20, 20, channels), np.float32))
    make = Maker()
    evaluate(Settings(video=str(at_hand / "a_rgb.npy"), max_frames=10), make)
    assert make.shapes == [(1, 10, 20, 20, 3), (1, 10, 20, 20, 2)]


@pytest.mark.parametrize("name", ["output", "gif"])
def test_nothing_is_overwritten_unless_asked(at_hand, name):
    target = at_hand / "precious.gif"
    target.write_text("precious")
    settings = Settings(eval_type="rgb", **{name: target})
    with pytest.raises(FileExistsError, match=r"precious\.gif exists already.*--overwrite"):
        evaluate(settings)
    video = dataclasses.replace(settings, overwrite=True, video=str(target))
    with pytest.raises(ValueError, match=r"precious\.gif is what is read"):
        evaluate(video)
    assert target.read_text() == "precious"
    evaluate(dataclasses.replace(settings, overwrite=True))
    assert (target.read_bytes() != b"precious") == (name == "gif")


def test_logits_that_are_not_finite(at_hand):
    with pytest.raises(ValueError, match="not finite"):
        evaluate(Settings(eval_type="rgb"), Maker(np.nan))


def test_a_file_nobody_has_ends_with_what_works(tmp_path, monkeypatch):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    monkeypatch.setenv("I3D_DATA", "")
    monkeypatch.setattr(published, "_PACKAGE", tmp_path / "nowhere")
    with pytest.raises(AssetError, match=r"rgb_imagenet.*Tried.* has all files of: .*backflip$"):
        evaluate(Settings())


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        (["--eval_type=rgb", "--precision=bfloat16"], 0, "^ *$"),
        (["--max_frames=8"], 1, "at least 9|lower bound|>= 9|greater"),
        (["--eval_type=rgb", "--video=nothing.mp4"], 1, r"^error: .*nothing\.mp4"),
    ],
)
def test_the_command_line(at_hand, capsys, flags, status, text):
    make = Maker()
    flags = [*flags, f"--output={at_hand / 'o.json'}"]
    run = lambda settings: evaluate_sample.run(settings, make, "i3d_torch")  # noqa: E731
    assert command.call(run, Settings, flags) == status
    said = capsys.readouterr()
    assert re.search(text, said.err, re.MULTILINE)
    if not status:
        assert make.how == {"device": "auto", "precision": "bfloat16"}
        assert said.out.splitlines()[3].endswith(" 9.0 zumba")
        assert json.loads((at_hand / "o.json").read_text())["top"][0]["index"] == 399


def test_importing_is_cheap():
    code = (
        "import sys, common.predict.evaluate_sample, common.predict.multi_evaluate\n"
        "sys.exit(', '.join({'av', 'cv2', 'torch', 'tensorflow'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
