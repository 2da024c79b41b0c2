import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from common import arch, assets
from common.annotations import label_maps
from common.io import AssetError, Digest
from common.predict import evaluate_sample, samples
from common.predict.evaluate_sample import Options, Result
from convert import checkpoints, hub
from convert.formats import torch_pt
from parity_tests import randomise

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


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """All checkpoints and the cricket sample, as small files whose digests the rows have."""
    monkeypatch.setenv("I3D_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "nowhere")

    def put(asset, write):
        path = tmp_path / "data" / asset.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        digest = Digest("sha256", Digest("sha256", "").of(path))
        return dataclasses.replace(asset, digest=digest)

    for name, row in checkpoints.CHECKPOINTS.items():
        files = tuple(put(file, lambda path: path.write_text("weights")) for file in row.files)
        row = dataclasses.replace(row, files=files)
        monkeypatch.setitem(checkpoints.CHECKPOINTS, name, row)
    cricket = samples.SAMPLES["cricket"]
    arrays = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        clip = np.zeros((1, 10, 8, 8, channels), np.float32)
        arrays[stream] = put(cricket.files[stream], lambda path, clip=clip: np.save(path, clip))
    cricket = dataclasses.replace(cricket, files=arrays)
    monkeypatch.setitem(samples.SAMPLES, "cricket", cricket)
    monkeypatch.setattr(
        evaluate_sample, "_network", lambda stream, path, name: arch.make(name or "inception_i3d")
    )
    return tmp_path


class FakePredict:
    """Logits by checkpoint; keeps what it was called with."""

    def __init__(self, classes=400):
        self.classes, self.calls = classes, []

    __module__ = __name__

    def __call__(self, checkpoint, clip, architecture):
        self.calls.append((checkpoint, clip.shape))
        stream = 2.0 if "flow" in checkpoint else 1.0
        return stream * np.linspace(0, 9, self.classes, dtype=np.float32)


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
    assert ours.endswith("\n")
    for ours_line, line in zip(ours.splitlines()[3:], lines, strict=True):
        ours_probability, *rest = ours_line.split(" ", 1)
        probability, *expected = line.split(" ", 1)
        assert rest == expected
        # The published softmax is TensorFlow's: its last digit may be another.
        assert float(ours_probability) == pytest.approx(float(probability), rel=1e-5)


def test_text():
    logits = np.arange(30, dtype=np.float32)
    text = Result(logits, label_maps.for_classes(30), {}).text()
    lines = text.split("\n")
    assert lines[:3] == ["Norm of logits: 92.493240", "", "Top classes and probabilities"]
    assert lines[3].endswith(" 29.0 class 29")
    assert len(lines) == 3 + 20 + 1
    assert lines[-1] == ""


def test_softmax_does_not_overflow():
    probabilities = evaluate_sample.softmax(np.array([1000, 1000, -1000], np.float32))
    assert probabilities.dtype == np.float32
    assert probabilities.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("eval_type", "imagenet", "expected"),
    [
        ("rgb", True, {"rgb": "rgb_imagenet"}),
        ("rgb", False, {"rgb": "rgb_scratch"}),
        ("flow", True, {"flow": "flow_imagenet"}),
        ("flow", False, {"flow": "flow_scratch"}),
        ("joint", True, {"rgb": "rgb_imagenet", "flow": "flow_imagenet"}),
        ("joint", False, {"rgb": "rgb_scratch", "flow": "flow_scratch"}),
        ("rgb600", True, {"rgb": "rgb_scratch_kin600"}),
        ("rgb600", False, {"rgb": "rgb_scratch_kin600"}),
    ],
)
def test_which_checkpoints(eval_type, imagenet, expected):
    assert evaluate_sample.names(Options(eval_type, imagenet)) == expected


def test_joint_adds_logits(at_hand, capsys):
    predict = FakePredict()
    evaluate_sample.run(
        Options(output=str(at_hand / "o.json"), gif=str(at_hand / "o.gif")), predict, "i3d_torch"
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].endswith(" 27.0 zumba")
    assert [shape for _, shape in predict.calls] == [(1, 10, 8, 8, 3), (1, 10, 8, 8, 2)]
    record = json.loads((at_hand / "o.json").read_text())
    assert record["eval_type"] == "joint"
    assert record["sample"] == "cricket"
    assert record["norm"] == pytest.approx(float(lines[0].split()[-1]))
    assert [row["class"] for row in record["top"]] == [line.split(" ", 2)[2] for line in lines[3:]]
    flow = record["streams"]["flow"]
    assert flow["checkpoint"] == "flow_imagenet"
    assert flow["clip"] == [1, 10, 8, 8, 2]
    assert flow["contract"]["channels"] == "flow"
    assert sorted(flow["weights"]) == [
        "model.ckpt.data-00000-of-00001", "model.ckpt.index",
    ]  # fmt: skip
    assert record["versions"]["numpy"] == np.__version__
    assert (at_hand / "o_rgb.gif").exists()
    assert (at_hand / "o_flow.gif").exists()


def test_kinetics_600_has_its_own_names(at_hand, capsys):
    evaluate_sample.run(Options("rgb600"), FakePredict(600), "i3d_torch")
    names = label_maps.load(label_maps.KINETICS_600)
    assert capsys.readouterr().out.splitlines()[4].endswith(f" {names[-2]}")
    with pytest.raises(ValueError, match="expected 600 logits"):
        evaluate_sample.evaluate(Options("rgb600"), FakePredict(400), "i3d_torch")


def test_a_checkpoint_of_ones_own(at_hand, capsys):
    torch_pt.write(at_hand / "mine.pt", {"weight": np.ones(1, np.float32)})
    options = Options("rgb", checkpoint=str(at_hand / "mine.pt"), output=str(at_hand / "o.json"))
    evaluate_sample.run(options, FakePredict(18), "i3d_torch")
    assert capsys.readouterr().out.splitlines()[3].endswith(" class 17")
    weights = json.loads((at_hand / "o.json").read_text())["streams"]["rgb"]["weights"]
    assert list(weights) == ["mine.pt"]
    assert weights["mine.pt"].startswith("sha256 ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Options("joint", checkpoint="x.pt"), "--checkpoint is for one stream"),
        (Options("rgb", checkpoint="flow_scratch"), "flow_scratch is a flow stream"),
        (Options("rgb", checkpoint="nothing.pt"), r"no such checkpoint.*rgb_scratch"),
        (Options("both"), "--eval_type must be one of rgb, rgb600, flow, joint"),
        (Options("joint", video="x_rgb.npy"), r"x_rgb\.npy: there is no such video"),
        (Options("rgb", video="nothing.mp4"), r"nothing\.mp4: there is no such video"),
    ],
)
def test_options_that_cannot_be(at_hand, options, text):
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")


@pytest.fixture(scope="module")
def flow_weights(tmp_path_factory):
    net = arch.inception_i3d(7, 2)
    path = tmp_path_factory.mktemp("weights") / "flow.pt"
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    return path


@pytest.mark.parametrize("damage", [False, True])
def test_bad_weights_show_before_a_video_is_decoded(tmp_path, flow_weights, damage, monkeypatch):
    monkeypatch.setattr(evaluate_sample, "_clip", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "flow.pt"
    path.write_bytes(flow_weights.read_bytes()[: 10_000 if damage else None])
    gif = tmp_path / "o.gif"
    (tmp_path / "a.mp4").touch()
    options = Options("rgb", video=str(tmp_path / "a.mp4"), checkpoint=str(path), gif=str(gif))
    text = r"flow\.pt: " if damage else r"Expected rgb\. Received: flow\. Use --eval_type=flow"
    with pytest.raises(ValueError, match=text):
        evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")
    assert not gif.exists()


def test_a_video_is_prepared_as_the_row_says(at_hand, monkeypatch):
    row = checkpoints.CHECKPOINTS["rgb_imagenet"]
    other = dataclasses.replace(row.contract, fps=10.0, crop=112)
    row = dataclasses.replace(row, contract=other)
    monkeypatch.setitem(checkpoints.CHECKPOINTS, row.name, row)
    seen = []

    def clip_from_video(path, contract, max_frames, min_frames, flow_engine):
        seen.append((path, contract, max_frames, min_frames))
        return np.zeros((1, 9, 112, 112, 3), np.float32)

    monkeypatch.setattr(evaluate_sample.video_clips, "clip_from_video", clip_from_video)
    (at_hand / "a.mp4").touch()
    options = Options("rgb", video=str(at_hand / "a.mp4"), max_frames=12)
    result = evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")
    assert seen == [(at_hand / "a.mp4", other, 12, 9)]
    assert result.provenance["streams"]["rgb"]["contract"]["fps"] == 10.0
    assert result.provenance["max_frames"] == 12


def test_the_flow_of_a_video_is_computed(at_hand, capsys):
    path = at_hand / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "gray"
        picture = np.random.default_rng(0).integers(0, 256, (256, 340, 3), np.uint8)
        for k in range(10):
            frame = np.ascontiguousarray(picture[:, 20 - 2 * k : 340 - 2 * k])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    predict = FakePredict()
    options = Options(video=str(path), output=str(at_hand / "o.json"), flow_engine="numba")
    evaluate_sample.run(options, predict, "i3d_torch")
    assert [shape for _, shape in predict.calls] == [(1, 10, 224, 224, 3), (1, 10, 224, 224, 2)]
    record = json.loads((at_hand / "o.json").read_text())
    assert record["flow"]["engine"] == "numba"
    assert record["flow"]["parameters"]["warps"] == 5
    assert "flow" not in evaluate_sample.evaluate(Options(), predict, "i3d_torch").provenance


def test_arrays_are_taken_as_a_video(at_hand):
    for stream, channels in (("rgb", 3), ("flow", 2)):
        np.save(at_hand / f"a_{stream}.npy", np.zeros((1, 12, 20, 20, channels), np.float32))
    predict = FakePredict()
    options = Options(video=str(at_hand / "a_rgb.npy"), max_frames=10)
    evaluate_sample.evaluate(options, predict, "i3d_torch")
    assert [shape for _, shape in predict.calls] == [(1, 10, 20, 20, 3), (1, 10, 20, 20, 2)]


@pytest.mark.parametrize(
    ("architecture", "mean", "stride", "least"),
    [("i3d_resnet50_32x2", 114.75, 2, 7), ("r2plus1d_34_vmz", 110.201, 1, 1)],
)
def test_a_file_of_ones_own_is_fed_what_its_network_expects(
    at_hand, monkeypatch, architecture, mean, stride, least
):
    seen = []

    def clip_from_video(path, contract, max_frames, min_frames, flow_engine):
        seen.append((contract.mean[0], contract.stride, min_frames))
        return np.zeros((1, 9, 112, 112, 3), np.float32)

    monkeypatch.setattr(evaluate_sample.video_clips, "clip_from_video", clip_from_video)
    for name in ("a.mp4", "a.pkl"):
        (at_hand / name).write_bytes(b"x")
    monkeypatch.setattr(evaluate_sample.provenance, "weights", lambda path, row: {})
    options = Options(
        "rgb",
        video=str(at_hand / "a.mp4"),
        checkpoint=str(at_hand / "a.pkl"),
        architecture=architecture,
    )
    evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")
    assert seen == [(mean, stride, least)]


@pytest.mark.parametrize("flag", ["output", "gif"])
def test_nothing_is_overwritten_unless_asked(at_hand, flag):
    target = at_hand / "precious.gif"
    target.write_text("precious")
    options = Options("rgb", **{flag: str(target)})
    with pytest.raises(FileExistsError, match=r"precious\.gif exists already.*--overwrite"):
        evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")
    assert target.read_text() == "precious"
    evaluate_sample.run(dataclasses.replace(options, overwrite=True), FakePredict(), "i3d_torch")
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize("flag", ["output", "gif"])
def test_what_is_read_is_never_written(at_hand, flag):
    video = at_hand / "my.mp4"
    video.write_text("video")
    options = Options("rgb", video=str(video), overwrite=True, **{flag: str(video)})
    with pytest.raises(ValueError, match=r"my\.mp4 is what is read"):
        evaluate_sample.evaluate(options, FakePredict(), "i3d_torch")
    assert video.read_text() == "video"


def test_logits_that_are_not_finite(at_hand):
    with pytest.raises(ValueError, match="not finite"):
        evaluate_sample.evaluate(
            Options("rgb"), lambda *_: np.full(400, np.nan, np.float32), "i3d_torch"
        )


def test_a_file_nobody_has_ends_with_what_works(tmp_path, monkeypatch):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    monkeypatch.setenv("I3D_DATA", "")
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "nowhere")
    with pytest.raises(AssetError, match=r"rgb_imagenet.*Tried.*this works: python -m .*backflip$"):
        evaluate_sample.evaluate(Options(), FakePredict(), "i3d_torch")
    works = Options("rgb", imagenet_pretrained=False, sample="backflip")
    with pytest.raises(AssetError) as caught:
        evaluate_sample.evaluate(works, FakePredict(), "i3d_torch")
    assert "this works" not in str(caught.value)


COMMAND = """
import numpy as np
from absl import flags
from common import command
from common.predict import evaluate_sample
flags.adopt_module_key_flags(evaluate_sample)
def predict(checkpoint, clip, architecture):
    raise SystemExit("not reached")
def main(argv):
    command.no_arguments(argv)
    evaluate_sample.main(predict, "i3d_torch")
command.run(main)
"""


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--eval_type=all"], "should be one of <rgb|rgb600|flow|joint>"),
        (["--max_frames=8"], "at least 9|lower bound|>= 9|greater"),
        (["--video=a.mp4", "--sample=cricket"], "exclude each other"),
        (["--eval_type=rgb", "--checkpoint=nothing.pt"], r"^error: .*nothing\.pt"),
        (["--help"], "--video"),
    ],
)
def test_the_command_line(flags, text, tmp_path):
    environment = {**os.environ, "I3D_OFFLINE": "1", "I3D_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *flags],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(text, done.stderr + done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_importing_is_cheap():
    code = (
        "import sys, common.predict.evaluate_sample, common.predict.multi_evaluate\n"
        "heavy = {'av', 'cv2', 'tqdm', 'torch', 'tensorflow', 'convert.hub'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_notes_say_what_was_used(at_hand, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        evaluate_sample.evaluate(Options("rgb"), FakePredict(), "i3d_torch")
    assert "rgb_imagenet" in caplog.text
    assert "[1, 10, 8, 8, 3]" in caplog.text
