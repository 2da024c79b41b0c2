"""Snapshots: what is restored, what is left when a write fails, and what is refused."""

import dataclasses
import os
import resource

import numpy as np
import pytest

from common import arch, model_card
from common.io import CheckpointError
from common.model_card import ModelCard
from common.preprocessing.contracts import FLOW_CONTRACT
from common.training import checkpoints
from common.training.checkpoints import Best, RunFolder, Snapshot, write_model
from convert.formats import safetensors

NET = arch.narrow(arch.inception_i3d(5, 2), 16)
RECIPE = {
    "schedule": "multi_step", "learning_rate": 0.1, "milestones": (30, 40), "steps": 50, "keep": 2,
    "seed": 0, "evaluate_every": 10, "clip_norm": None,
}  # fmt: skip
JSON_RECIPE = RECIPE | {"milestones": [30, 40]}
BIAS = "Logits.Conv3d_0c_1x1.conv.bias"


def _state(seed=0):
    """A train step's state: every kind of array, a negative zero and a denormal among them."""
    rng = np.random.default_rng(seed)
    state = {}
    for parameter in arch.parameters(NET):
        kinds = ("", "momentum/", "average/") if parameter.trainable else ("",)
        for kind in kinds:
            array = rng.standard_normal(parameter.shape).astype(np.float32)
            state[kind + parameter.name] = array
    state[f"momentum/{BIAS}"][:2] = -0.0, 1e-42
    return state | {"scaler/scale": np.array(65536, "f4"), "scaler/good_steps": np.array(7)}


STATE = _state()


def _snapshot(step, arrays=STATE, **changes):
    made = Snapshot(step, "inception_i3d", 5, 2, arrays, RECIPE, {"clips": 12}, {"bad": 1})
    return dataclasses.replace(made, **changes)


def _at(folder, step):
    return folder / f"snapshots/step_{step:06d}.safetensors"


def _kept(folder):
    return sorted(int(path.name[5:-12]) for path in (folder / "snapshots").iterdir())


def test_a_snapshot_comes_back_bit_for_bit(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.latest() is None
    written = folder.write(_snapshot(20), value=0.25)
    found = folder.latest()
    assert dataclasses.replace(found, arrays={}) == _snapshot(
        20, {}, recipe=JSON_RECIPE, best=Best(20, 0.25)
    )
    assert written.best == found.best
    assert list(found.arrays) == list(STATE)
    for name, array in STATE.items():
        other = found.arrays[name]
        assert (other.dtype, other.shape) == (array.dtype, array.shape)
        assert other.tobytes() == array.tobytes()


def test_the_last_few_and_the_best_are_kept(tmp_path):
    folder, best = RunFolder(tmp_path, keep=2), None
    for step, value in ((10, 0.5), (20, 0.9), (30, 0.9), (40, None), (1_000_000, 0.1)):
        last = folder.write(_snapshot(step, best=best), value)
        best = last.best
    assert _kept(tmp_path) == [20, 40, 1_000_000]
    assert (tmp_path / "best.json").read_text() == (
        '{\n  "snapshot": "snapshots/step_000020.safetensors",\n  "step": 20,\n  "value": 0.9\n}\n'
    )
    assert (folder.latest().step, folder.latest().best) == (1_000_000, Best(20, 0.9))
    assert folder.best(last).step == 20
    assert RunFolder(tmp_path / "other").best(last) is None


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
        f"{_at(tmp_path, 20)}: cannot be written (File too large); the last snapshot is "
        f"{_at(tmp_path, 10)}. Make room, and start again with --resume=auto."
    )
    assert _kept(tmp_path) == [10]
    assert folder.latest().step == 10


def test_values_that_are_not_finite_are_not_written(tmp_path):
    folder = RunFolder(tmp_path)
    bad = STATE | {BIAS: np.full(5, np.nan, np.float32)}
    with pytest.raises(ValueError, match=r"step 10: .* in Logits.*diverged; there is none before"):
        folder.write(_snapshot(10, bad))
    folder.write(_snapshot(10))
    with pytest.raises(ValueError, match=r"the last snapshot is .*step_000010"):
        folder.write(_snapshot(20, bad))
    with pytest.raises(ValueError, match=r"the value of step 20 is nan"):
        folder.write(_snapshot(20), value=float("nan"))
    assert _kept(tmp_path) == [10]


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""])
def test_a_damaged_one_is_named_with_the_one_before(tmp_path, damage):
    folder = RunFolder(tmp_path)
    for step in (10, 20):
        path = _at(tmp_path, step)
        folder.write(_snapshot(step))
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        before = f"with {_at(tmp_path, 10)}" if step > 10 else "at the start"
        with pytest.raises(CheckpointError) as error:
            folder.latest()
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
        assert str(error.value).endswith(f". Remove it, and the run goes on {before}.")
        path.write_bytes(whole)


@pytest.fixture
def run_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write(_snapshot(10))
    folder.write(_snapshot(20))
    return folder


def test_resume(run_folder, tmp_path):
    new, first, other = _snapshot(0, {}), str(_at(run_folder.path, 10)), RunFolder(tmp_path / "new")
    assert run_folder.resume("auto", new).step == 20
    assert other.resume("auto", new) is other.resume("never", new) is None
    assert other.resume(first, new).step == 10
    assert run_folder.resume(first, new, restarted=True).step == 20
    with pytest.raises(ValueError, match=r"the last at step 20.*--resume=auto"):
        run_folder.resume("never", new)
    with pytest.raises(ValueError, match=r"later steps than .*000010.*: step_000020\.safetensors"):
        run_folder.resume(first, new)


def test_resume_refuses_another_recipe_and_lists_what_differs(run_folder):
    recipe = RECIPE | {"learning_rate": 0.2, "milestones": (30, 45), "nesterov": True}
    del recipe["clip_norm"]
    new = _snapshot(0, recipe=recipe, data={"clips": 13}, num_classes=6)
    with pytest.raises(ValueError) as error:
        run_folder.resume("auto", new)
    assert str(error.value) == (
        f"{_at(run_folder.path, 20)}: is of a run with other "
        "settings: learning_rate was 0.1, is 0.2; milestones was [30, 40], is "
        "[30, 45]; clip_norm was null, is not given; num_classes was 5, is 6; data.clips was 12, "
        "is 13; nesterov was not given, is true. Set them as they were, or use another folder."
    )


@pytest.mark.parametrize(
    ("schedule", "bound"),
    [("multi_step", None), ("cosine", "steps"), ("plateau", "evaluate_every")],
)
def test_a_run_may_be_longer_unless_the_schedule_counts_in_it(tmp_path, schedule, bound):
    recipe = RECIPE | {"schedule": schedule}
    folder = RunFolder(tmp_path)
    folder.write(_snapshot(20, recipe=recipe))
    free = dict.fromkeys(("steps", "keep", "evaluate_every", "log_every", "snapshot_every"), 99)
    free |= {"recompute": True, "compiled": True}
    free.pop(bound, None)
    assert folder.resume("auto", _snapshot(0, recipe=recipe | free)).step == 20
    if bound:
        with pytest.raises(ValueError, match=f"settings: {bound} was .0, is 99. Set"):
            folder.resume("auto", _snapshot(0, recipe=recipe | {bound: 99}))


def test_a_second_run_is_refused_and_what_a_killed_one_left_goes(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write(_snapshot(10))
    half = tmp_path / "snapshots/.step_000020.safetensors.0123abcd.tmp"
    half.write_bytes(b"half")
    for _ in range(2):
        with folder.lock():
            assert not half.exists()
            with pytest.raises(ValueError, match=f"^{tmp_path}: another run is writing to this fo"):
                RunFolder(tmp_path).lock()
    assert _kept(tmp_path) == [10]


CARD = ModelCard(
    "flow", tuple("abcde"), FLOW_CONTRACT, "i3d_torch", {"model.ckpt": "sha256 12"},
    {"engine": "numba", "parameters": {"warps": 5}},
)  # fmt: skip


def test_the_final_weights_and_their_card(tmp_path):
    path = write_model(tmp_path, _snapshot(50), CARD)
    stored = safetensors.read(path)
    assert list(stored) == [parameter.name for parameter in arch.parameters(NET)] + ["architecture"]
    for parameter in arch.parameters(NET):  # statistics have no average
        name = f"average/{parameter.name}" if parameter.trainable else parameter.name
        np.testing.assert_array_equal(stored[parameter.name], STATE[name])
    card = model_card.read(path)
    assert card == dataclasses.replace(
        CARD, architecture="inception_i3d", step=50, averaged=True, recipe=JSON_RECIPE,
        weights=card.weights, versions=card.versions,
    )  # fmt: skip
    assert card.versions["numpy"] == np.__version__
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.safetensors"]


def test_cards_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"names of 5 classes. Received: 4\."):
        write_model(tmp_path, _snapshot(1), dataclasses.replace(CARD, classes=tuple("abcd")))
    path = write_model(tmp_path, _snapshot(50), CARD)
    json = path.with_suffix(".json")
    text = json.read_text()
    later = text.replace('"format_version": 1', '"format_version": 2')
    newer = r"format version 1\. Received: 2"
    other = r"model\.json: expected what a training run says"
    for wrong, message in (
        (later, newer),
        (later.replace('"step"', '"new": 1, "step"'), newer),
        ("[]", other),
        ("{}", other),
        ('{"format_version": 1, "contract": {"x": 1}, "classes": []}', other),
        (text.replace('"engine"', '"motor"'), other),
    ):
        json.write_text(wrong)
        with pytest.raises(ValueError, match=message):
            model_card.read(path)
    json.write_text(text)
    safetensors.write(path, _snapshot(50).weights())
    with pytest.raises(ValueError, match=r"is of other weights than .*Expected SHA-256"):
        model_card.read(path)
    json.unlink()
    assert model_card.read(path) is None


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (None, r"m\.safetensors: no snapshot.*--checkpoint"),
        ('{"format_version": 2}', "expected a snapshot of format version 1. Received: 2"),
        ('{"format_version": 1, "best": null, "step": 3}', "is not what this software writes"),
        ("[]", "is not what this software writes"),
        ("{", "is not what this software writes"),
    ],
)
def test_files_that_are_no_snapshots(tmp_path, run, message):
    arrays = {"w": np.zeros(3, np.float32)} | ({"run": checkpoints.as_array(run)} if run else {})
    safetensors.write(tmp_path / "m.safetensors", arrays)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.read(tmp_path / "m.safetensors")
