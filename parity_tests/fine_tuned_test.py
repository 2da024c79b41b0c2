"""A fine-tuned model, classes and contract in its card, is the same model in every command."""

import dataclasses
import json

import numpy as np
import pytest

from common import arch, model_card
from common.annotations import Annotations, Record, annotation_files
from common.evaluation import scores
from common.io import sha256
from common.model_card import ModelCard
from common.preprocessing.contracts import RGB_CONTRACT
from common.testing import commands
from common.testing.films import Film
from convert import hub
from convert.formats import safetensors
from parity_tests import randomise

CLASSES = ("juggling", "knitting", "fencing")
CONTRACT = dataclasses.replace(RGB_CONTRACT, short_side=80, crop=64, fps=10.0)

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def folder(tmp_path):
    """A folder with weights, their card, a video of 3 s at 25 frames a second, and its label."""
    net = arch.make("inception_i3d_global", len(CLASSES))
    path = tmp_path / "model.safetensors"
    hub.write(hub.Weights(net, randomise.arrays(net)), path)
    card = ModelCard(
        "rgb", CLASSES, CONTRACT, "i3d_torch",
        architecture=net.name, recipe={"task": "classes"}, weights=sha256("").of(path),
    )  # fmt: skip
    model_card.write(path, card)
    Film("x.mp4", 75, (1, 0), zoom=2).write(tmp_path)  # 96 x 128 pixels
    records = tuple(Record(k, "x.mp4", k, (1,)) for k in ("training", "validation"))
    annotation_files.write(tmp_path / "a.json", Annotations(CLASSES, records, "own"))
    return tmp_path


def run(package, command, folder, *flags):
    done = commands.run(
        f"{package.__name__}.{command}",
        f"--checkpoint={folder / 'model.safetensors'}", "--device=cpu", *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def classify(package, folder):
    flags = "--eval_type=rgb", f"--video={folder / 'x.mp4'}", f"--output={folder / 'one.json'}"
    return run(package, "evaluate_sample", folder, *flags)


def evaluate(package, folder):
    return run(
        package, "evaluate", folder, f"--annotations={folder / 'a.json'}", f"--rgb={folder}",
        f"--output={folder / 'results'}", "--protocol=quo_vadis", "--workers=0",
    )  # fmt: skip


def extract(package, folder):
    return run(
        package, "extract_features", folder, f"--input={folder / 'x.mp4'}",
        f"--output={folder / 'features'}", "--window=16", "--workers=1",
    )  # fmt: skip


@pytest.mark.slow
def test_a_video_is_classified_as_it_is_evaluated(package, folder):
    printed = classify(package, folder)
    evaluate(package, folder)
    found = json.loads((folder / "one.json").read_text())
    (stream,) = found["streams"].values()
    assert stream["clip"] == [1, 30, 64, 64, 3]
    assert stream["contract"]["fps"] == 10
    named = {row["class"]: row["logit"] for row in found["top"]}
    assert {line.split(" ", 2)[2] for line in printed.splitlines()[3:]} == named.keys()
    kept = scores.read(folder / "results/scores_rgb.npz")
    assert kept.classes == CLASSES
    logits = np.array([named[name] for name in CLASSES])
    assert np.ptp(logits) > 1e-2
    np.testing.assert_allclose(logits, kept.logits[0], rtol=0, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize("command", [classify, evaluate, extract])
def test_the_weights_are_read_once_a_command(package, folder, monkeypatch, command):
    reads = []
    read = safetensors.read

    def counted(path):
        reads.append(path)
        return read(path)

    monkeypatch.setattr(safetensors, "read", counted)
    command(package, folder)
    assert reads == [folder / "model.safetensors"]


def train(package, folder):
    settings = {
        "steps": 1, "batch": 1, "sample_duration": 9, "crop": 64, "short_side": "80,80",
        "evaluate_every": 1, "snapshot_every": 1, "architecture": "inception_i3d_global",
    }  # fmt: skip
    done = commands.run(
        f"{package.__name__}.train", f"--annotations={folder / 'a.json'}", f"--rgb={folder}",
        f"--checkpoint={folder / 'model.safetensors'}", f"--output={folder / 'results'}",
        "--workers=0", "--notensorboard", *(f"--set={k}={v}" for k, v in settings.items()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def converted(package, folder):
    source, target = folder / "model.safetensors", folder / "results/model.ckpt"
    done = commands.run("convert.__main__", f"--input={source}", f"--output={target}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [classify, evaluate, extract, train, converted])
def test_files_of_others_stay(package, folder, tmp_path_factory, command):
    """Folders that earlier versions emptied, links, and names like those of a run."""
    far = tmp_path_factory.mktemp("far")
    (far / "kept").write_text("far away")
    mine = [far / "kept"]
    for output in (folder, folder / "results", folder / "features"):
        for name in (".work/my_notes/thesis.tex", ".model.ckpt.notes/x", ".i3d-notes.tmp/x"):
            mine.append(output / name)
            mine[-1].parent.mkdir(parents=True, exist_ok=True)
            mine[-1].write_text("a year of work")
        (output / ".claims").symlink_to(far)
    before = {path: path.read_bytes() for path in mine}
    command(package, folder)
    assert {path: path.read_bytes() for path in mine} == before
    assert sorted(far.iterdir()) == [far / "kept"]
    assert (folder / "results/.claims").is_symlink()
