"""Every evaluation of a sample, with evaluations that are made up."""

import numpy as np
import pytest

from common.predict import evaluate_sample, multi_evaluate
from common.predict.evaluate_sample import Result
from common.predict.multi_evaluate import Settings

NAMES = {
    "imagenet_rgb", "imagenet_flow", "imagenet_joint", "rgb600",
    "no_imagenet_rgb", "no_imagenet_flow", "no_imagenet_joint",
}  # fmt: skip
LOGITS = {"rgb_imagenet": 1, "flow_imagenet": 2, "rgb_scratch": 4, "flow_scratch": 8}


@pytest.fixture
def asked(monkeypatch):
    """The checkpoints that were asked for, by evaluations that give their logits."""
    found = []

    def evaluate(settings, make, backend):
        (name,) = evaluate_sample.streams(settings).values()
        found.append(name)
        if make == name:
            raise FileNotFoundError(f"no {name} here")
        logits = np.array([LOGITS.get(name, 0), 0], np.float32)
        return Result(logits, ("a", "b"), {})

    monkeypatch.setattr(multi_evaluate, "evaluate", evaluate)
    return found


def test_every_combination_is_written_and_computed_once(tmp_path, asked, capsys):
    assert multi_evaluate.run(Settings(output_dir=tmp_path / "out"), None, "i3d_torch") == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == NAMES
    assert "done: 7, failed: 0" in capsys.readouterr().err
    assert sorted(asked) == sorted([*LOGITS, "rgb_scratch_kin600"])
    for name, logit in (("imagenet_joint", 3), ("no_imagenet_joint", 12), ("no_imagenet_rgb", 4)):
        line = (tmp_path / f"out/{name}.txt").read_text().splitlines()[3]
        assert line.endswith(f" {logit}.0 a")  # false means false


def test_one_that_fails_does_not_stop_the_others(tmp_path, asked, capsys):
    (tmp_path / "no_imagenet_flow.txt").write_text("old")
    assert multi_evaluate.run(Settings(output_dir=tmp_path), "flow_scratch", "i3d_torch") == 1
    written = {path.stem for path in tmp_path.iterdir() if path.read_text() != "old"}
    assert written == NAMES - {"no_imagenet_flow", "no_imagenet_joint"}
    err = capsys.readouterr().err
    assert "done: 5, failed: 2" in err
    assert "no_imagenet_flow: no flow_scratch here" in err
