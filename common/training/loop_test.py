"""The loop, with a train step of a few numbers; crashes are injected where it steps."""

import dataclasses

import numpy as np
import pytest

from common import model_card
from common.testing.data import CLASSES, put
from common.testing.toy_train_step import WEIGHT, StopError, TrainStep
from common.training import checkpoints, logger, loop, recipes
from common.training.command import Settings, prepare
from common.training.loop import Rank
from convert.formats import safetensors

pytestmark = pytest.mark.usefixtures("thin")

RANK = Rank("i3d_torch")
CHANGES = [
    "steps=7", "batch=4", "accumulate=2", "sample_duration=4", "short_side=32,32", "crop=16",
    "global_pool=true", "evaluate_every=3", "snapshot_every=2", "log_every=1", "keep=2",
    "learning_rate=0.5", "milestones=5", "rates=",
]  # fmt: skip
RECIPE = recipes.changed(recipes.RECIPES["finetune"], CHANGES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return put(tmp_path_factory.mktemp("data"))


@pytest.fixture
def no_curves(monkeypatch):
    """Drawing takes most of the time of so small a run."""
    monkeypatch.setattr(logger, "curves", lambda folder: None)


def run(recipe, data, output, step=None, rank=RANK):
    path, source = data
    folders = {"rgb": source.rgb, "flow": source.flow, "output": output}
    given = Settings(annotations=path, workers=0, tensorboard=False, **folders)
    return loop.train(prepare(recipe, given), step or TrainStep(), rank)


def stopped(*arguments):
    with pytest.raises(StopError):
        run(*arguments)


def logged(output, name):
    return {entry["step"]: entry[name] for entry in logger.read(output) if name in entry}


def test_a_run_from_beginning_to_end(data, tmp_path):
    """After the first evaluation every clip is taken for the first class."""
    step = TrainStep(bias=lambda steps: np.float32([1000, 0, 0]) * (steps > 3))
    text = run(RECIPE, data, tmp_path, step)
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {
        "snapshots", "log.jsonl", "model.safetensors", "model.json", "model_best.safetensors",
        "model_best.json", "curves.png",
    }  # fmt: skip
    assert [path.name[5:11] for path in sorted((tmp_path / "snapshots").iterdir())] == [
        "000006", "000007"
    ]  # fmt: skip
    # Step 5, counted from 0, is the first after the milestone.
    rates = dict(zip(range(1, 8), [0.5] * 5 + [0.05] * 2, strict=True))
    assert logged(tmp_path, "learning_rate") == pytest.approx(rates)
    losses, accuracies = logged(tmp_path, "loss"), logged(tmp_path, "validation_accuracy")
    assert list(losses) == [1, 2, 3, 4, 5, 6, 7] and losses[1] > losses[5]
    assert logged(tmp_path, "validation_coverage") == {3: 1.0, 6: 1.0, 7: 1.0}

    card = model_card.read(tmp_path / "model.safetensors")
    assert (card.classes, card.stream, card.step, card.backend) == (CLASSES, "rgb", 7, "i3d_torch")
    assert (card.architecture, card.start) == ("inception_i3d_global", None)
    assert (card.contract.crop, card.contract.frames, card.contract.short_side) == (16, 4, 32)
    best = model_card.read(tmp_path / "model_best.safetensors")
    assert best == dataclasses.replace(card, step=3, weights=best.weights)
    weights = safetensors.read(tmp_path / "model.safetensors")[WEIGHT]
    np.testing.assert_array_equal(weights, step.means)
    assert (weights != safetensors.read(tmp_path / "model_best.safetensors")[WEIGHT]).all()
    assert text.splitlines() == [
        f"trained 7 steps: {tmp_path}/model.safetensors",
        f"best at step 3: {accuracies[3]:.4f}, {tmp_path}/model_best.safetensors",
        f"curves: {tmp_path}/curves.png",
    ]


def test_a_run_that_was_killed_leaves_the_same_bytes(data, tmp_path, no_curves):
    def files(output):
        return {
            path.name: path.read_bytes()
            for path in output.rglob("*.*")
            if path.is_file() and path.suffix in (".safetensors", ".json")
        }

    run(RECIPE, data, tmp_path / "whole")
    for stop_at in (0, 1, 3, 6):
        output = tmp_path / str(stop_at)
        stopped(RECIPE, data, output, TrainStep(stop_at=stop_at))
        run(RECIPE, data, output)
        assert files(output) == files(tmp_path / "whole")
        assert logged(output, "loss") == logged(tmp_path / "whole", "loss")
    # The last step is done: nothing is left but to write the weights again.
    run(RECIPE, data, output, TrainStep(stop_at=0))
    assert files(output) == files(tmp_path / "whole")


def test_best_weights_are_written_before_the_snapshot_that_says_so(
    data, tmp_path, no_curves, monkeypatch
):
    """A run that is killed between the two does not lose them."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(recipes.changed(RECIPE, ["snapshot_every=3"]), data, tmp_path)
    assert model_card.read(tmp_path / "model_best.safetensors").step == 3
    assert checkpoints.latest(tmp_path) is None


def test_a_loss_that_is_no_number_keeps_the_last_snapshot(data, tmp_path):
    with pytest.raises(ValueError, match=r"step 4, learning rate 0.5: the loss is nan\. The clips"):
        run(RECIPE, data, tmp_path, TrainStep(nan_at=4))
    assert checkpoints.latest(tmp_path).step == 4
    assert not (tmp_path / "model.safetensors").exists()


def test_only_the_first_process_writes(data, tmp_path):
    assert run(RECIPE, data, tmp_path / "x", rank=Rank("i3d_torch", index=1, count=2)) == ""
    assert not (tmp_path / "x").exists()


def test_a_run_goes_on_longer_but_not_with_other_settings(data, tmp_path, no_curves):
    run(RECIPE, data, tmp_path)
    with pytest.raises(ValueError, match=r"weight_decay was 7e-07, is 0\.1"):
        run(recipes.changed(RECIPE, ["weight_decay=0.1"]), data, tmp_path)
    assert run(recipes.changed(RECIPE, ["steps=8"]), data, tmp_path).startswith("trained 8 steps")
