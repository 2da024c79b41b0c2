"""The demo's commands, and a small form of it from rendered videos to an accuracy."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from common import arch
from common.annotations import annotation_files
from common.demo import __main__ as demo
from common.demo import motions
from common.demo.__main__ import Settings
from common.evaluation import fuse, results, scores
from common.evaluation.scores import Scores
from common.testing import commands
from common.testing.train_step import NET, make_tiny
from common.training import logger, recipes
from common.video import frame_files


@pytest.fixture
def settings(tmp_path):
    return Settings(output=tmp_path, train_scenes=1, test_scenes=1)


def test_commands(settings):
    found = demo.commands(settings)
    assert all(importlib.util.find_spec(module) for module, *_ in found[:4])
    rgb, flow = (each for each in found if each[0].endswith(".train"))
    fields = [flag.removeprefix("--set=") for flag in rgb if flag.startswith("--set=")]
    recipe = recipes.changed(recipes.RECIPES["finetune"], fields)
    assert (recipe.sample_duration, recipe.short_side, recipe.crop) == (16, (64, 64), 64)
    assert recipe.global_pool and not recipe.flip  # a mirrored left is a right
    assert "--streams=flow" in flow and "--checkpoint=rgb_scratch" in rgb
    assert not any(flag.startswith("--checkpoint") for flag in flow)
    tf = demo.commands(dataclasses.replace(settings, framework="i3d_tf"))
    assert [" ".join(each).replace("i3d_tf", "i3d_torch") for each in tf] == [
        " ".join(each) for each in found
    ]


def _scores(path, names, predicted):
    """Of videos a, b, ... of class 0, 1, ..."""
    logits = 2 * np.eye(8, dtype=np.float32)[predicted]
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.array(["abcdefgh".index(name) for name in names])
    origin = {"stream": "x", "protocol": {"text": "clip"}}
    made = Scores(tuple("abcdefgh"), tuple(names), labels, logits, (origin,))
    scores.write(path, made)
    return made


def test_the_table(settings):
    """The streams may lack videos, and have what there are in another order."""
    pytest.importorskip("matplotlib")
    runs = settings.output / "i3d_torch"
    rgb = _scores(runs / "both/scores_rgb.npz", "abcd", [0, 1, 2, 4])
    flow = _scores(runs / "both/scores_flow.npz", "dca", [3, 2, 1])
    results.write(runs / "both", fuse.fuse_scores([rgb, flow], weights=(1, 2)))  # a is wrong
    _scores(runs / "shuffled/scores_rgb.npz", "abcd", [7, 1, 7, 7])
    assert demo.table(settings).splitlines() == [
        "i3d_torch: 4 videos of 8 motions, top-1",
        "  RGB                      75.0 %",
        "  flow                     66.7 %",
        "  both                     66.7 %",
        "  RGB, frames shuffled     25.0 %",
        "  chance                   12.5 %",
    ]


def test_a_command_that_fails_ends_it():
    with pytest.raises(ValueError, match=r"common\.prepare\.check ended with status 1"):
        demo.run_command("common.prepare.check", ["--nonsense"])


@pytest.mark.slow
def test_flow_is_learned_from_random_weights(tmp_path, monkeypatch):
    """In this process, by a tiny network, and in PyTorch: other tests have TensorFlow."""
    pytest.importorskip("torch")
    monkeypatch.setitem(arch.ARCHITECTURES, NET.name, make_tiny)
    monkeypatch.setattr(demo, "RECIPE", [*demo.RECIPE, f"architecture={NET.name}"])
    monkeypatch.setitem(demo.RATES, "flow", 0.1)
    settings = Settings(output=tmp_path, train_scenes=3, test_scenes=2, steps=120)
    motions.render(tmp_path, 3, 2)
    for module, *flags in demo.commands(settings):
        if module == "i3d_torch.evaluate" or "--streams=rgb" in flags:
            continue
        workers = [] if "--dataset=own" in flags else ["--workers=0"]
        done = commands.run(module, *flags, *workers)
        assert done.returncode == 0, done.stderr
    annotations = annotation_files.read(tmp_path / "motions.json")
    assert annotations.counts == {"training": 24, "validation": 16}
    record = next(each for each in annotations.records if each.name.startswith("left_up/"))
    frames = frame_files.open_rgb(tmp_path / "frames", record.name)
    assert frames.read([33]).shape == (1, 64, 80, 3)
    flow = frame_files.open_flow(tmp_path / "flow", record.name).read(range(34))
    np.testing.assert_allclose(np.median(flow, (0, 1, 2)) * 20, [-3, -3], atol=0.3)  # pixels
    found = logger.read(tmp_path / "i3d_torch/flow")
    # Chance is 1/8; six standard deviations of guessing are 0.5.
    assert found[-1]["validation_accuracy"] >= 0.7
