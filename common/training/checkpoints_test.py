"""Snapshots: what is restored, what is left when a write fails, and what is refused."""

import dataclasses
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from common import arch, model_card
from common.io import CheckpointError
from common.model_card import ModelCard
from common.preprocessing.contracts import FLOW_CONTRACT
from common.training import checkpoints
from common.training.checkpoints import Best, RunFolder, Snapshot, write_model
from convert.formats import safetensors

ROOT = Path(__file__).parents[2]
NET = arch.narrow(arch.inception_i3d(5, 2), 16)
RECIPE = {
    "schedule": "multi_step", "learning_rate": 0.1, "milestones": (30, 40), "steps": 50, "keep": 2,
    "seed": 0, "evaluate_every": 10, "clip_norm": None,
}  # fmt: skip


def _state(seed=0):
    """A train step's state: every kind of array, a negative zero and a denormal among them."""
    rng = np.random.default_rng(seed)
    state = {}
    for parameter in arch.parameters(NET):
        state[parameter.name] = rng.standard_normal(parameter.shape).astype(np.float32)
        if parameter.trainable:
            for kind in ("momentum", "average"):
                array = rng.standard_normal(parameter.shape).astype(np.float32)
                state[f"{kind}/{parameter.name}"] = array
    state["momentum/Logits.Conv3d_0c_1x1.conv.bias"][:2] = -0.0, 1e-42
    scaler = {"scaler/scale": np.array(65536, np.float32), "scaler/good_steps": np.array(7)}
    return state | scaler


STATE = _state()


def _snapshot(step, arrays=STATE, **changes):
    made = Snapshot(step, "inception_i3d", 5, 2, arrays, RECIPE, {"clips": 12}, {"bad": 1})
    return dataclasses.replace(made, **changes)


def _names(folder):
    return sorted(path.name for path in (folder / "snapshots").iterdir())


def _of(*steps):
    return [f"step_{step:06d}.safetensors" for step in steps]


def test_a_snapshot_comes_back_bit_for_bit(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.latest() is None
    written = folder.write(_snapshot(20), value=0.25)
    assert written.best == Best(20, 0.25)
    found = folder.latest()
    assert dataclasses.replace(found, arrays={}) == dataclasses.replace(
        written, arrays={}, recipe=RECIPE | {"milestones": [30, 40]}
    )
    assert list(found.arrays) == list(STATE)
    for name, array in STATE.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    next(iter(found.arrays.values()))[...] = 0  # they are its own, not the file's
    assert RunFolder(tmp_path).latest().arrays["scaler/scale"] == 65536


def test_the_last_few_and_the_best_are_kept(tmp_path):
    folder, best = RunFolder(tmp_path, keep=2), None
    for step, value in ((10, 0.5), (20, 0.9), (30, 0.9), (40, None), (1_000_000, 0.1)):
        best = folder.write(_snapshot(step, best=best), value).best
    assert _names(tmp_path) == ["step_000020.safetensors", *_of(40), "step_1000000.safetensors"]
    assert best == Best(20, 0.9)
    assert (tmp_path / "best.json").read_text() == (
        '{\n  "snapshot": "snapshots/step_000020.safetensors",\n  "step": 20,\n  "value": 0.9\n}\n'
    )
    assert folder.latest().step == 1_000_000
    assert folder.latest().best == best


def test_a_full_disk_leaves_the_last_good_one(tmp_path):
    folder = RunFolder(tmp_path, keep=1)
    folder.write(_snapshot(10))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            folder.write(_snapshot(20, _state(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value) == (
        f"{tmp_path}/snapshots/step_000020.safetensors: cannot be written (File too large); the "
        f"last snapshot is {tmp_path}/snapshots/step_000010.safetensors. Make room, and start "
        "again with --resume=auto."
    )
    assert _names(tmp_path) == _of(10)
    assert folder.latest().step == 10


def test_values_that_are_not_finite_are_not_written(tmp_path):
    folder = RunFolder(tmp_path)
    bad = STATE | {"Logits.Conv3d_0c_1x1.conv.bias": np.full(5, np.nan, np.float32)}
    with pytest.raises(ValueError, match=r"step 10: .* in Logits.*diverged; there is none before"):
        folder.write(_snapshot(10, bad))
    folder.write(_snapshot(10))
    with pytest.raises(ValueError, match=r"the last snapshot is .*step_000010"):
        folder.write(_snapshot(20, bad))
    with pytest.raises(ValueError, match=r"the value of step 20 is nan"):
        folder.write(_snapshot(20), value=float("nan"))
    assert _names(tmp_path) == _of(10)


def _damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_one_is_named_with_the_one_before(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (10, 20, 30):
        folder.write(_snapshot(step))
    first, second, third = (tmp_path / "snapshots" / name for name in _of(10, 20, 30))
    _damage(third)
    with pytest.raises(CheckpointError) as error:
        folder.latest()
    text = str(error.value)
    assert text.startswith(f"{third}: ") and "the file is damaged. " in text
    assert text.endswith(
        f"The last whole one is {second}: remove the damaged one, and the run goes on there."
    )
    assert "\n" not in text
    second.write_bytes(second.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"The last whole one is {first}"):
        folder.latest()
    third.unlink()
    second.unlink()
    assert folder.latest().step == 10
    first.write_bytes(b"")
    with pytest.raises(CheckpointError, match="There is no other: remove it, and the run begins"):
        folder.latest()


@pytest.fixture
def run_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write(_snapshot(10))
    folder.write(_snapshot(20))
    return folder


def test_resume(run_folder, tmp_path):
    new = _snapshot(0, arrays={})
    assert run_folder.resume("auto", new).step == 20
    assert RunFolder(tmp_path / "other").resume("auto", new) is None
    assert RunFolder(tmp_path / "other").resume("never", new) is None
    first = str(run_folder.path / "snapshots" / "step_000010.safetensors")
    assert RunFolder(tmp_path / "other").resume(first, new).step == 10
    with pytest.raises(ValueError, match=r"the last at step 20.*--resume=auto"):
        run_folder.resume("never", new)
    with pytest.raises(ValueError, match=r"later steps than .*000010.*: step_000020\.safetensors"):
        run_folder.resume(first, new)


def test_the_best_of_a_run(run_folder, tmp_path):
    assert run_folder.best(_snapshot(20)) is None
    last = run_folder.write(_snapshot(30, _state(1)), value=0.5)
    found = run_folder.best(run_folder.write(_snapshot(40, best=last.best), value=0.25))
    assert (found.step, found.best) == (30, Best(30, 0.5))
    assert RunFolder(tmp_path / "other").best(last) is None


def test_resume_refuses_another_recipe_and_lists_what_differs(run_folder):
    recipe = RECIPE | {"learning_rate": 0.2, "milestones": (30, 45), "nesterov": True}
    del recipe["clip_norm"]
    new = _snapshot(0, recipe=recipe, data={"clips": 13}, num_classes=6)
    with pytest.raises(ValueError) as error:
        run_folder.resume("auto", new)
    assert str(error.value) == (
        f"{run_folder.path}/snapshots/step_000020.safetensors: is of a run with other "
        "settings: learning_rate was 0.1, is 0.2; milestones was [30, 40], is "
        "[30, 45]; clip_norm was null, is not given; num_classes was 5, is 6; data.clips was 12, "
        "is 13; nesterov was not given, is true. Set them as they were, or use another folder."
    )


def test_resume_lets_a_run_be_longer_and_say_more(run_folder):
    free = {"steps": 90, "keep": 5, "evaluate_every": 7, "log_every": 1, "snapshot_every": 3}
    free |= {"recompute": True, "compiled": True}
    assert run_folder.resume("auto", _snapshot(0, recipe=RECIPE | free)).step == 20


@pytest.mark.parametrize(
    ("schedule", "free", "bound"),
    [("cosine", "evaluate_every", "steps"), ("plateau", "steps", "evaluate_every")],
)
def test_but_not_where_the_schedule_counts_in_it(tmp_path, schedule, free, bound):
    recipe = RECIPE | {"schedule": schedule}
    folder = RunFolder(tmp_path)
    folder.write(_snapshot(20, recipe=recipe))
    assert folder.resume("auto", _snapshot(0, recipe=recipe | {free: 99})).step == 20
    with pytest.raises(ValueError, match=f"settings: {bound} was .0, is 99. Set"):
        folder.resume("auto", _snapshot(0, recipe=recipe | {bound: 99}))


def test_a_second_run_is_refused_and_what_a_killed_one_left_goes(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write(_snapshot(10))
    half = tmp_path / "snapshots/.step_000020.safetensors.0123abcd.tmp"
    half.write_bytes(b"half")
    with folder.lock():
        assert not half.exists()
        with pytest.raises(ValueError, match=f"^{tmp_path}: another run is writing to this folder"):
            RunFolder(tmp_path).lock()
    with folder.lock():
        assert _names(tmp_path) == _of(10)


CARD = ModelCard(
    "flow", tuple("abcde"), FLOW_CONTRACT, "i3d_torch", {"model.ckpt": "sha256 12"},
    {"engine": "numba", "parameters": {"warps": 5}},
)  # fmt: skip


def test_the_final_weights_and_their_card(tmp_path):
    path = write_model(tmp_path, _snapshot(50), CARD)
    assert path == tmp_path / "model.safetensors"
    stored = safetensors.read(path)
    assert list(stored) == [parameter.name for parameter in arch.parameters(NET)] + ["architecture"]
    for parameter in arch.parameters(NET):  # statistics have no average
        name = f"average/{parameter.name}" if parameter.trainable else parameter.name
        np.testing.assert_array_equal(stored[parameter.name], STATE[name])
    card = model_card.read(path)
    assert (card.architecture, card.step, card.averaged) == ("inception_i3d", 50, True)
    assert card.contract == FLOW_CONTRACT
    assert card.recipe == RECIPE | {"milestones": [30, 40]}
    assert (card.classes, card.start, card.flow) == (CARD.classes, CARD.start, CARD.flow)
    assert card.versions["numpy"] == np.__version__
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.safetensors"]


def test_cards_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"names of 5 classes. Received: 4\."):
        write_model(tmp_path, _snapshot(1), dataclasses.replace(CARD, classes=tuple("abcd")))
    path = write_model(tmp_path, _snapshot(50), CARD)
    text = path.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match=r"format version 1\. Received: 2"):
        model_card.read(path)
    later = text.replace('"format_version": 1', '"format_version": 2')
    path.with_suffix(".json").write_text(later.replace('"step"', '"new": 1, "step"'))
    with pytest.raises(ValueError, match=r"format version 1\. Received: 2"):
        model_card.read(path)
    others = ("[]", "{}", '{"format_version": 1, "contract": {"x": 1}, "classes": []}')
    for other in (*others, text.replace('"engine"', '"motor"')):
        path.with_suffix(".json").write_text(other)
        with pytest.raises(ValueError, match=r"model\.json: expected what a training run says"):
            model_card.read(path)
    path.with_suffix(".json").write_text(text)
    safetensors.write(path, _snapshot(50).weights())
    with pytest.raises(ValueError, match=r"is of other weights than .*Expected SHA-256"):
        model_card.read(path)
    path.with_suffix(".json").unlink()
    assert model_card.read(path) is None


def test_a_checkpoint_is_no_snapshot(tmp_path):
    safetensors.write(tmp_path / "m.safetensors", {"w": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: no snapshot.*--checkpoint"):
        checkpoints.read(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ('{"format_version": 2}', "expected a snapshot of format version 1. Received: 2"),
        ('{"format_version": 1, "best": null, "step": 3}', "is not what this software writes"),
        ("[]", "is not what this software writes"),
        ("{", "is not what this software writes"),
    ],
)
def test_a_run_record_of_others(tmp_path, run, message):
    arrays = {"w": np.zeros(3, np.float32), "run": checkpoints.as_array(run)}
    safetensors.write(tmp_path / "m.safetensors", arrays)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read(tmp_path / "m.safetensors")
