import numpy as np
import pytest

from common.predict import evaluate_sample, multi_evaluate
from common.predict.evaluate_sample import Result

NAMES = {
    "imagenet_rgb", "imagenet_flow", "imagenet_joint", "rgb600",
    "no_imagenet_rgb", "no_imagenet_flow", "no_imagenet_joint",
}  # fmt: skip


@pytest.fixture
def seen(monkeypatch):
    """Stands in for an evaluation: notes the options, asks for logits of each checkpoint."""
    found = []

    def evaluate(options, predict, backend):
        found.append(options)
        total = 0
        for name in evaluate_sample.names(options).values():
            total = total + predict(name, np.zeros((1, 9, 4, 4, 3), np.float32), None)
        return Result(total, ("a", "b"), {})

    monkeypatch.setattr(evaluate_sample, "evaluate", evaluate)
    return found


def test_every_combination_is_written(tmp_path, seen, capsys):
    calls = []

    def predict(checkpoint, clip, architecture):
        calls.append(checkpoint)
        return np.array([1, 2], np.float32)

    assert multi_evaluate.run(tmp_path / "out", "cricket", predict, "i3d_torch") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{n}.txt" for n in NAMES}
    assert "done: 7, failed: 0" in capsys.readouterr().err
    assert len(calls) == len(set(calls)) == 5  # joint computes nothing again
    assert {options.imagenet_pretrained for options in seen if options.eval_type == "joint"} == {
        True, False,
    }  # fmt: skip


def test_false_means_false():
    names = {
        name: evaluate_sample.names(options) for name, options in multi_evaluate.EVALUATIONS.items()
    }
    assert set(names) == NAMES
    assert names["no_imagenet_joint"] == {"rgb": "rgb_scratch", "flow": "flow_scratch"}
    assert names["imagenet_joint"] == {"rgb": "rgb_imagenet", "flow": "flow_imagenet"}


def test_one_that_fails_does_not_stop_the_others(tmp_path, seen, capsys):
    def predict(checkpoint, clip, architecture):
        if checkpoint == "flow_scratch":
            raise FileNotFoundError("no flow_scratch here")
        return np.array([1, 2], np.float32)

    (tmp_path / "no_imagenet_flow.txt").write_text("old")
    assert multi_evaluate.run(tmp_path, "cricket", predict, "i3d_torch") == 1
    written = {path.stem for path in tmp_path.iterdir() if path.read_text() != "old"}
    assert written == NAMES - {"no_imagenet_flow", "no_imagenet_joint"}
    err = capsys.readouterr().err
    assert "done: 5, failed: 2" in err
    assert "no_imagenet_flow: no flow_scratch here" in err
