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
from common.training.checkpoints import Snapshot
from convert.formats import safetensors

NET = arch.narrow(arch.inception_i3d(5, 2), 16)
RECIPE = {"schedule": "multi_step", "milestones": [30, 40], "steps": 50, "keep": 2}
BIAS = "Logits.Conv3d_0c_1x1.conv.bias"


def _state(seed=0):
    """A train step's state: every kind of array, a negative zero and a denormal among them."""
    rng = np.random.default_rng(seed)
    state = {}
    for parameter in arch.parameters(NET):
        for kind in ("", "momentum/", "average/") if parameter.trainable else ("",):
            state[kind + parameter.name] = rng.standard_normal(parameter.shape, np.float32)
    state[f"momentum/{BIAS}"][:2] = -0.0, 1e-42
    return state


STATE = _state()


def _snapshot(step, arrays=STATE, **changes):
    made = Snapshot(step, "inception_i3d", arrays, RECIPE, {"clips": 12}, (3, 0.25))
    return dataclasses.replace(made, **changes)


def _kept(folder):
    return sorted(int(path.name[5:-12]) for path in (folder / "snapshots").iterdir())


def test_a_snapshot_comes_back_bit_for_bit(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    checkpoints.write(tmp_path, _snapshot(20))
    found = checkpoints.latest(tmp_path)
    assert dataclasses.replace(found, arrays={}) == _snapshot(20, {})
    assert list(found.arrays) == list(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)
        assert found.arrays[name].tobytes() == array.tobytes()


def test_the_last_few_are_kept(tmp_path):
    for step in (10, 20, 30, 1_000_000):
        checkpoints.write(tmp_path, _snapshot(step), keep=2)
    assert _kept(tmp_path) == [30, 1_000_000]
    assert checkpoints.latest(tmp_path).step == 1_000_000


def test_a_full_disk_leaves_the_last_good_one(tmp_path):
    checkpoints.write(tmp_path, _snapshot(10))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"000020\.safetensors: cannot be written \(File too lar"):
            checkpoints.write(tmp_path, _snapshot(20, _state(1)), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _kept(tmp_path) == [10]


def test_values_that_are_not_finite_are_not_written(tmp_path):
    bad = _snapshot(20, STATE | {BIAS: np.full(5, np.nan, np.float32)})
    with pytest.raises(ValueError, match=r"step 20: .* not finite in Logits.*training diverged"):
        checkpoints.write(tmp_path, bad)
    assert not os.listdir(tmp_path)


def test_a_damaged_one_is_named(tmp_path, monkeypatch):
    message = r"000020\.safetensors: no whole snapshot.*%s.*\. Remove it to go on"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT_VERSION", 2)
        checkpoints.write(tmp_path, _snapshot(20))
    with pytest.raises(CheckpointError, match=message % "its format version is 2, not 1"):
        checkpoints.latest(tmp_path)
    path = tmp_path / "snapshots/step_000020.safetensors"
    for damaged in (path.read_bytes()[:-9], b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message % ""):
            checkpoints.latest(tmp_path)


def test_other_settings_are_listed():
    new = _snapshot(0, recipe=RECIPE | {"milestones": (30, 45), "nesterov": True}, data={})
    with pytest.raises(ValueError) as error:
        checkpoints.check_continues(_snapshot(20), new)
    assert str(error.value) == (
        "the snapshot of step 20 is of a run with other settings: milestones was [30, 40], is "
        "[30, 45]; data.clips was 12, is None; nesterov was None, is true. Set them as they were, "
        "or use another --output."
    )


def test_a_run_may_be_longer_unless_the_schedule_counts_in_it():
    longer = dict.fromkeys(("steps", "keep", "evaluate_every", "log_every", "recompute"), 99)
    checkpoints.check_continues(_snapshot(20), _snapshot(0, recipe=RECIPE | longer))
    cosine = RECIPE | {"schedule": "cosine"}
    with pytest.raises(ValueError, match=r"settings: steps was 50, is 99\. Set"):
        checkpoints.check_continues(
            _snapshot(20, recipe=cosine), _snapshot(0, recipe=cosine | longer)
        )
    with pytest.raises(ValueError, match="steps is 50, and 60 are done"):
        checkpoints.check_continues(_snapshot(60), _snapshot(0))


def test_a_second_run_is_refused_and_what_a_killed_one_left_goes(tmp_path):
    checkpoints.write(tmp_path, _snapshot(10))
    half = tmp_path / "snapshots/.i3d.0123abcd.tmp"
    half.write_bytes(b"half")
    for _ in range(2):
        with checkpoints.locked(tmp_path):
            assert not half.exists()
            another = pytest.raises(ValueError, match=f"^{tmp_path}: another run is writing to ")
            with another, checkpoints.locked(tmp_path):
                pass
    assert _kept(tmp_path) == [10]


CARD = ModelCard(
    "flow", tuple("abcde"), FLOW_CONTRACT, "i3d_torch", {"model.ckpt": "sha256 12"},
    {"engine": "numba", "parameters": {"warps": 5}},
)  # fmt: skip


def test_the_final_weights_and_their_card(tmp_path):
    path = checkpoints.write_model(tmp_path, _snapshot(50), CARD)
    stored = safetensors.read(path)
    assert list(stored) == [parameter.name for parameter in arch.parameters(NET)] + ["architecture"]
    for parameter in arch.parameters(NET):  # statistics have no average
        name = f"average/{parameter.name}" if parameter.trainable else parameter.name
        np.testing.assert_array_equal(stored[parameter.name], STATE[name])
    card = model_card.read(path)
    assert card == dataclasses.replace(
        CARD, architecture="inception_i3d", step=50, averaged=True, recipe=RECIPE,
        weights=card.weights, versions=card.versions,
    )  # fmt: skip
    assert card.versions["numpy"] == np.__version__
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.safetensors"]


def test_cards_that_do_not_fit(tmp_path):
    path = checkpoints.write_model(tmp_path, _snapshot(50), CARD)
    card = path.with_suffix(".json")
    text = card.read_text()
    for wrong in ("[]", text.replace('"contract": {', '"contract": {"x": 1,')):
        card.write_text(wrong)
        with pytest.raises(ValueError, match=r"model\.json: expected what a training run says"):
            model_card.read(path)
    card.write_text(text)
    safetensors.write(path, _snapshot(50).weights())
    with pytest.raises(ValueError, match=r"is of other weights than .*Expected SHA-256"):
        model_card.read(path)
