"""Every evaluation of a sample, with evaluations that are made up."""

from pathlib import Path

import numpy as np
import pytest

from common.predict import evaluate_sample, multi_evaluate
from common.predict.evaluate_sample import Result
from common.predict.evaluate_sample_test import load
from common.predict.multi_evaluate import Settings

NAMES = {
    "imagenet_rgb", "imagenet_flow", "imagenet_joint", "rgb600",
    "no_imagenet_rgb", "no_imagenet_flow", "no_imagenet_joint",
}  # fmt: skip


@pytest.fixture
def loads(monkeypatch):
    """Stands in for an evaluation, which asks for the logits of each checkpoint."""
    found = []

    def evaluate(settings, score, backend, load):
        total = 0
        for stream, name in evaluate_sample.streams(settings).items():
            clip = np.zeros((1, 9, 4, 4, 3), np.float32)
            total = total + score(load(name, stream, settings.architecture), clip)
        return Result(total, ("a", "b"), {})

    def loaded(*given):
        found.append(given[0])
        return load(*given)

    monkeypatch.setattr(evaluate_sample, "evaluate", evaluate)
    monkeypatch.setattr(multi_evaluate.models, "load", loaded)
    return found


def test_every_combination_is_written_and_computed_once(tmp_path, loads, capsys):
    calls = []

    def score(model, clip):
        calls.append(model.name)
        return np.array([1, 2], np.float32)

    settings = Settings(output_dir=tmp_path / "out")
    assert multi_evaluate.write_all(settings, score, "i3d_torch") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{n}.txt" for n in NAMES}
    assert "done: 7, failed: 0" in capsys.readouterr().err
    assert len(calls) == len(set(calls)) == 5  # joint computes nothing again
    assert sorted(loads) == sorted(calls)


def test_false_means_false():
    names = {name: evaluate_sample.streams(row) for name, row in multi_evaluate.EVALUATIONS.items()}
    assert set(names) == NAMES
    assert names["no_imagenet_joint"] == {"rgb": "rgb_scratch", "flow": "flow_scratch"}
    assert names["imagenet_joint"] == {"rgb": "rgb_imagenet", "flow": "flow_imagenet"}


def test_one_that_fails_does_not_stop_the_others(tmp_path, loads, capsys):
    def score(model, clip):
        if model.path == Path("flow_scratch"):
            raise FileNotFoundError("no flow_scratch here")
        return np.array([1, 2], np.float32)

    (tmp_path / "no_imagenet_flow.txt").write_text("old")
    assert multi_evaluate.write_all(Settings(output_dir=tmp_path), score, "i3d_torch") == 1
    written = {path.stem for path in tmp_path.iterdir() if path.read_text() != "old"}
    assert written == NAMES - {"no_imagenet_flow", "no_imagenet_joint"}
    err = capsys.readouterr().err
    assert "done: 5, failed: 2" in err
    assert "no_imagenet_flow: no flow_scratch here" in err
