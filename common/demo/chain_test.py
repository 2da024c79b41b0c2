import dataclasses
import importlib.util

import numpy as np
import pytest

from common.annotations import annotation_files
from common.demo import chain, motions
from common.demo.chain import Settings
from common.evaluation import fusion, results, scores
from common.evaluation.scores import Scores
from common.training import recipes
from common.video import frame_files


@pytest.fixture
def settings(tmp_path):
    return Settings(output=tmp_path, train_scenes=1, test_scenes=1, workers=1)


def test_commands(settings):
    commands = chain.commands(settings)
    assert all(importlib.util.find_spec(module) for module, *_ in commands[:4])
    rgb, flow = (each for each in commands if each[0].endswith(".train"))
    fields = [flag.removeprefix("--set=") for flag in rgb if flag.startswith("--set=")]
    recipe = recipes.changed(recipes.get("finetune"), fields)
    assert (recipe.sample_duration, recipe.short_side, recipe.crop) == (16, (64, 64), 64)
    assert recipe.global_pool and not recipe.flip  # a mirrored left is a right
    assert "--streams=flow" in flow and "--checkpoint=rgb_scratch" in rgb
    assert not any(flag.startswith("--checkpoint") for flag in flow)
    tf = chain.commands(dataclasses.replace(settings, framework="i3d_tf"))
    assert [" ".join(each).replace("i3d_tf", "i3d_torch") for each in tf] == [
        " ".join(each) for each in commands
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
    both = settings.runs / "both"
    rgb = _scores(both / "scores_rgb.npz", "abcd", [0, 1, 2, 4])
    flow = _scores(both / "scores_flow.npz", "dca", [3, 2, 1])
    results.write(both, fusion.fuse_scores([rgb, flow], weights=(1, 2)))  # a is wrong
    _scores(settings.runs / "shuffled/scores_rgb.npz", "abcd", [7, 1, 7, 7])
    assert chain.table(settings).splitlines() == [
        "i3d_torch: 4 videos of 8 motions, top-1",
        "  RGB                      75.0 %",
        "  flow                     66.7 %",
        "  both                     66.7 %",
        "  RGB, frames shuffled     25.0 %",
        "  chance                   12.5 %",
    ]


@pytest.mark.slow
def test_videos_become_frames_and_flow(settings, monkeypatch):
    prepare = [each for each in chain.commands(settings) if each[0].startswith("common.")]
    monkeypatch.setattr(chain, "commands", lambda settings: prepare)
    monkeypatch.setattr(chain, "table", lambda settings: "done")
    for _ in range(2):  # the second time there is nothing left to do
        assert chain.main(settings) == 0
    annotations = annotation_files.read(settings.output / "motions.json")
    assert annotations.counts == {"training": 8, "validation": 8}
    record = next(each for each in annotations.records if each.name.startswith("left_up/"))
    frames = frame_files.open_rgb(settings.output / "frames", record.name)
    assert frames.read([33]).shape == (1, 64, 80, 3)
    flow = frame_files.open_flow(settings.output / "flow", record.name).read(range(34))
    moved = np.median(flow, (0, 1, 2)) * 20  # pixels
    np.testing.assert_allclose(moved, [-3, -3], atol=0.3)


@pytest.fixture
def rendered(settings, monkeypatch):
    """The calls of `render`; nothing runs after it, and its videos are not written."""
    found, render = [], motions.render

    def counting(output, **scenes):
        found.append(scenes)
        return render(output, **scenes)

    monkeypatch.setattr(motions, "render", counting)
    monkeypatch.setattr(motions, "write_video", lambda path, pictures: None)
    monkeypatch.setattr(chain, "commands", lambda _: [])
    monkeypatch.setattr(chain, "table", lambda _: "done")
    return found


def test_rendering_is_done_once_and_with_the_same_settings(settings, rendered):
    for steps in (500, 500, 3):
        chain.main(dataclasses.replace(settings, steps=steps))
    with pytest.raises(ValueError, match=r"rendering\.json: .*'train': 1.*Received: .*'train': 2"):
        chain.main(dataclasses.replace(settings, train_scenes=2))
    assert rendered == [{"train": 1, "test": 1}]


def test_rendering_that_was_stopped_is_done_again(settings, rendered, monkeypatch):
    write = motions.write_text
    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(motions, "write_text", lambda path, text: write(path / "no folder", text))
        (settings.output / "lists").mkdir()
        (settings.output / "lists" / "trainlist01.txt").touch()
        (settings.output / "rendering.json").write_text('{"train": 1, "test": 1}')
        chain.main(settings)
    chain.main(settings)
    assert len(rendered) == 2
    assert (settings.output / "lists" / "classInd.txt").read_text().startswith("1 right\n2 left\n")


def test_other_lists_are_left_alone(settings, rendered):
    (settings.output / "lists").mkdir()
    with pytest.raises(FileExistsError, match="lists exists and is not of this command"):
        chain.main(settings)
    assert not rendered


def test_a_command_that_fails_ends_it():
    with pytest.raises(ValueError, match=r"common\.prepare\.check ended with status 1"):
        chain.run_command("common.prepare.check", ["--nonsense"])
