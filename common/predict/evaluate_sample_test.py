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
from convert import download, published

ROOT = Path(__file__).parents[2]

# The first five and the last of the release's published text for both streams: float32 scalars.
PUBLISHED = """\
1.0 41.813675 playing cricket
1.4971563e-09 21.493977 hurling (sport)
3.8431164e-10 20.134108 catching or throwing baseball
1.5492331e-10 19.225584 catching or throwing softball
1.13601656e-10 18.915352 hitting baseball
1.1388395e-13 12.010079 tap dancing
"""


def put(asset, folder, write):
    """Writes an asset's file below a folder; the asset with the digest of what was written."""
    path = folder / asset.relative_path
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    return dataclasses.replace(asset, digest=Digest("sha256", sha256("").of(path)))


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """The cricket sample as small arrays whose digests its row has."""
    monkeypatch.setenv("I3D_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "_PACKAGE", tmp_path / "nowhere")
    cricket = models.samples.SAMPLES["cricket"]
    arrays = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        clip = np.zeros((1, 10, 8, 8, channels), np.float32)
        arrays[stream] = put(
            cricket.files[stream], tmp_path / "data", lambda path, clip=clip: np.save(path, clip)
        )
    monkeypatch.setitem(
        models.samples.SAMPLES, "cricket", dataclasses.replace(cricket, files=arrays)
    )
    return tmp_path


def load(name, stream, architecture=None, classes=400, **known):
    """Stands in for `models.load`: published rows, and files that nothing is known of."""
    row = published.CHECKPOINTS.get(str(name))
    channels = models.CHANNELS[stream]
    net = arch.make(architecture or "inception_i3d", row.num_classes if row else classes, channels)
    contract = row.contract if row else contracts.of_stream(net.name, stream)
    known = {"row": row, "card": None, "contract": contract, **known}
    return Model(net=net, arrays={}, path=Path(name), **known)


class FakeScore:
    """Logits by stream; keeps the shapes of the clips."""

    def __init__(self):
        self.shapes = []

    def __call__(self, model, clip):
        self.shapes.append(clip.shape)
        scale = 2.0 if model.stream == "flow" else 1.0
        return scale * np.linspace(0, 9, model.net.num_classes, dtype=np.float32)


def evaluate(settings, score=None, load=load):
    return evaluate_sample.evaluate(settings, score or FakeScore(), "i3d_torch", load)


@pytest.fixture
def digests(monkeypatch):
    """Files that are not there have a digest all the same."""
    monkeypatch.setattr(Model, "digests", property(lambda model: {model.path.name: "sha256 0"}))


def test_numbers_are_printed_as_the_release_prints_them():
    rows = [line.split(" ", 2) for line in PUBLISHED.splitlines()]
    for probability, logit, _ in rows:
        assert f"{np.float32(probability)!s} {np.float32(logit)!s}" == f"{probability} {logit}"


def test_the_published_text_comes_out_of_its_logits(real_data):
    """The published 20 logits, and the others so low that they change no digit that is shown."""
    published = real_data("expected/published_imagenet_joint.txt").read_text()
    names = label_maps.load(label_maps.KINETICS_400)
    logits = np.full(400, -30, np.float32)
    lines = published.splitlines()[3:]
    for line in lines:
        _, logit, name = line.split(" ", 2)
        logits[names.index(name)] = np.float32(logit)
    ours = Result(logits, names, {}).text()
    layout = r"Norm of logits: \d+\.\d{6}\n\nTop classes and probabilities\n"
    assert re.match(layout, ours)
    assert re.match(layout, published)
    for ours_line, line in zip(ours.splitlines()[3:], lines, strict=True):
        ours_probability, *rest = ours_line.split(" ", 1)
        probability, *expected = line.split(" ", 1)
        assert rest == expected
        # The published softmax is TensorFlow's: its last digit may be another.
        assert float(ours_probability) == pytest.approx(float(probability), rel=1e-5)


def test_text():
    logits = np.arange(30, dtype=np.float32)
    lines = Result(logits, label_maps.for_classes(30), {}).text().split("\n")
    assert lines[:3] == ["Norm of logits: 92.493240", "", "Top classes and probabilities"]
    assert lines[3].endswith(" 29.0 class 29")
    assert len(lines) == 3 + 20 + 1
    assert lines[-1] == ""


def test_softmax_does_not_overflow():
    probabilities = evaluate_sample.softmax(np.array([1000, 1000, -1000], np.float32))
    assert probabilities.dtype == np.float32
    assert probabilities.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {"rgb": "rgb_imagenet", "flow": "flow_imagenet"}),
        (Settings(eval_type="rgb"), {"rgb": "rgb_imagenet"}),
        (Settings(eval_type="flow", imagenet_pretrained=False), {"flow": "flow_scratch"}),
        (Settings(eval_type="rgb600"), {"rgb": "rgb_scratch_kin600"}),
        (Settings(eval_type="rgb", checkpoint="a.pt"), {"rgb": "a.pt"}),
        (
            Settings(rgb_checkpoint="a.pt", flow_checkpoint="b.pt"),
            {"rgb": "a.pt", "flow": "b.pt"},
        ),
        (Settings(flow_checkpoint="b.pt"), {"rgb": "rgb_imagenet", "flow": "b.pt"}),
    ],
)
def test_which_checkpoints(settings, expected):
    assert evaluate_sample.streams(settings) == expected


def test_joint_adds_logits(at_hand):
    score = FakeScore()
    result = evaluate(Settings(gif=str(at_hand / "o.gif")), score)
    assert result.text().splitlines()[3].endswith(" 27.0 zumba")
    assert score.shapes == [(1, 10, 8, 8, 3), (1, 10, 8, 8, 2)]
    record = json.loads(json.dumps(result.record()))
    assert (record["eval_type"], record["sample"]) == ("joint", "cricket")
    assert record["norm"] == pytest.approx(float(result.text().split("\n")[0].split()[-1]))
    assert record["top"][0] == {
        "index": 399, "class": "zumba", "logit": 27.0,
        "probability": pytest.approx(float(evaluate_sample.softmax(result.logits)[399])),
    }  # fmt: skip
    flow = record["streams"]["flow"]
    assert flow["checkpoint"] == "flow_imagenet"
    assert flow["clip"] == [1, 10, 8, 8, 2]
    assert flow["contract"]["channels"] == "flow"
    assert sorted(flow["weights"]) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]
    assert record["versions"]["numpy"] == np.__version__
    assert (at_hand / "o_rgb.gif").exists()
    assert (at_hand / "o_flow.gif").exists()


def test_kinetics_600_has_its_own_names(at_hand):
    names = label_maps.load(label_maps.KINETICS_600)
    result = evaluate(Settings(eval_type="rgb600"))
    assert [name for *_, name in result.top(2)] == [names[-1], names[-2]]


def test_a_model_trained_here_brings_its_card(at_hand, monkeypatch, digests):
    """Class names, frame rate and crop are the card's, not Kinetics' and InceptionI3D's."""
    seen = []

    def clip_from_video(path, contract, max_frames, min_frames, flow_engine):
        seen.append((path, contract, max_frames, min_frames))
        return np.zeros((1, 9, contract.crop, contract.crop, 3), np.float32)

    monkeypatch.setattr(evaluate_sample.video_clips, "clip_from_video", clip_from_video)
    (at_hand / "a.mp4").touch()
    contract = dataclasses.replace(contracts.RGB_CONTRACT, fps=10.0, crop=112)
    card = ModelCard("rgb", ("run", "jump", "swim"), contract, "i3d_tf")
    settings = Settings(
        eval_type="rgb", checkpoint="m.safetensors", video=str(at_hand / "a.mp4"), max_frames=12
    )
    result = evaluate(
        settings, load=lambda *given: load(*given, classes=3, card=card, contract=contract)
    )
    assert result.classes == ("run", "jump", "swim")
    assert seen == [(at_hand / "a.mp4", contract, 12, 9)]
    stream = result.provenance["streams"]["rgb"]
    assert (stream["contract"]["fps"], stream["clip"]) == (10.0, [1, 9, 112, 112, 3])


@pytest.mark.parametrize(
    ("architecture", "mean", "stride", "least"),
    [("i3d_resnet50_32x2", 114.75, 2, 7), ("r2plus1d_34_vmz", 110.201, 1, 1)],
)
def test_weights_without_a_card_get_what_their_network_expects(
    at_hand, monkeypatch, digests, architecture, mean, stride, least
):
    seen = []

    def clip_from_video(path, contract, max_frames, min_frames, flow_engine):
        seen.append((contract.mean[0], contract.stride, min_frames))
        return np.zeros((1, 9, 112, 112, 3), np.float32)

    monkeypatch.setattr(evaluate_sample.video_clips, "clip_from_video", clip_from_video)
    (at_hand / "a.mp4").touch()
    settings = Settings(
        eval_type="rgb", video=str(at_hand / "a.mp4"), checkpoint="a.pkl", architecture=architecture
    )
    evaluate(settings)
    assert seen == [(mean, stride, least)]


def test_class_names_of_foreign_weights(at_hand, digests):
    settings = Settings(eval_type="rgb", checkpoint="a.pt")
    few = lambda *given: load(*given, classes=3)  # noqa: E731
    assert evaluate(settings, load=few).classes == ("class 0", "class 1", "class 2")
    (at_hand / "names.txt").write_text("walk\nrun\nsit\n")
    named = dataclasses.replace(settings, label_map=str(at_hand / "names.txt"))
    assert evaluate(named, load=few).classes == ("walk", "run", "sit")
    with pytest.raises(ValueError, match=r"names\.txt: expected 400 names.*Received: 3"):
        evaluate(named)


def test_streams_of_different_classes_are_not_added(at_hand):
    with pytest.raises(ValueError, match=r"different classes \(400 and 600\)"):
        evaluate(Settings(flow_checkpoint="b.pt"), load=lambda name, *rest: load(
            name, *rest, classes=600 if name == "b.pt" else 400))  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"checkpoint": "x.pt"}, "--checkpoint is for one stream"),
        ({"eval_type": "rgb", "flow_checkpoint": "x"}, "does not go with --eval_type=rgb"),
        (
            {"eval_type": "rgb", "checkpoint": "x", "rgb_checkpoint": "x"},
            "--checkpoint and --rgb_checkpoint exclude each other",
        ),
        ({"eval_type": "rgb", "checkpoint": "flow_scratch"}, "flow_scratch is a flow stream"),
        ({"video": "x_rgb.npy"}, r"x_rgb\.npy: there is no such video"),
        ({"eval_type": "rgb", "video": "nothing.mp4"}, r"nothing\.mp4: there is no such video"),
        ({"eval_type": "rgb", "video": "."}, "is a folder, and --video takes one video file"),
        ({"video": "https://a/b.mp4"}, "a URL is not read; download"),
        ({"video": "a.mp4", "sample": "cricket"}, "exclude each other"),
        ({"gif": "x.png"}, r"expected a name that ends with \.gif"),
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
    score = FakeScore()
    result = evaluate(Settings(video=str(path), flow_engine="numba"), score)
    assert score.shapes == [(1, 10, 224, 224, 3), (1, 10, 224, 224, 2)]
    assert result.provenance["flow"]["engine"] == "numba"
    assert result.provenance["flow"]["parameters"]["warps"] == 5
    assert "flow" not in evaluate(Settings()).provenance


def test_arrays_are_taken_as_a_video(at_hand):
    for stream, channels in (("rgb", 3), ("flow", 2)):
        np.save(at_hand / f"a_{stream}.npy", np.zeros((1, 12, 20, 20, channels), np.float32))
    score = FakeScore()
    evaluate(Settings(video=str(at_hand / "a_rgb.npy"), max_frames=10), score)
    assert score.shapes == [(1, 10, 20, 20, 3), (1, 10, 20, 20, 2)]


@pytest.mark.parametrize("name", ["output", "gif"])
def test_nothing_is_overwritten_unless_asked(at_hand, name):
    target = at_hand / "precious.gif"
    target.write_text("precious")
    settings = Settings(eval_type="rgb", **{name: str(target)})
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
        evaluate(Settings(eval_type="rgb"), lambda *_: np.full(400, np.nan, np.float32))


def test_a_file_nobody_has_ends_with_what_works(tmp_path, monkeypatch):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    monkeypatch.setenv("I3D_DATA", "")
    monkeypatch.setattr(download, "_PACKAGE", tmp_path / "nowhere")
    with pytest.raises(AssetError, match=r"rgb_imagenet.*Tried.*this works: python -m .*backflip$"):
        evaluate(Settings(), load=models.load)
    works = Settings(eval_type="rgb", imagenet_pretrained=False, sample="backflip")
    with pytest.raises(AssetError) as caught:
        evaluate(works, load=models.load)
    assert "this works" not in str(caught.value)


def test_the_command_prints_and_writes(at_hand, monkeypatch, capsys):
    class Predictor:
        def scores(self, clips, prepared):
            assert prepared
            return np.arange(400, dtype=np.float32)[None]

    monkeypatch.setattr(evaluate_sample.models, "load", load)
    monkeypatch.setattr(evaluate_sample.evaluate, "__defaults__", (load,))
    made = []

    def make(model, *, device, precision):
        made.append((model.name, device, precision))
        return Predictor()

    flags = ["--eval_type=rgb", "--precision=bfloat16", f"--output={at_hand / 'o.json'}"]
    status = command.call(
        lambda settings: evaluate_sample.run(settings, make, "i3d_torch"), Settings, flags
    )
    assert status == 0
    assert made == [("rgb_imagenet", "auto", "bfloat16")]
    assert capsys.readouterr().out.splitlines()[3].endswith(" 399.0 zumba")
    assert json.loads((at_hand / "o.json").read_text())["top"][0]["index"] == 399


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--eval_type=all"], "should be one of <rgb|rgb600|flow|joint>"),
        (["--max_frames=8"], "at least 9|lower bound|>= 9|greater"),
        (["--video=a.mp4", "--sample=cricket"], "exclude each other"),
        (["--eval_type=rgb", "--checkpoint=nothing.pt"], r"^error: .*nothing\.pt"),
    ],
)
def test_the_command_line(flags, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    status = command.call(
        lambda settings: evaluate_sample.run(settings, None, "i3d_torch"), Settings, flags
    )
    assert status == 1
    assert re.search(text, capsys.readouterr().err, re.MULTILINE)


def test_importing_is_cheap():
    code = (
        "import sys, common.predict.evaluate_sample, common.predict.multi_evaluate\n"
        "heavy = {'av', 'cv2', 'torch', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_notes_say_what_was_used(at_hand, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        evaluate(Settings(eval_type="rgb"))
    assert "rgb_imagenet" in caplog.text
    assert "[1, 10, 8, 8, 3]" in caplog.text
