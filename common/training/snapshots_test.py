"""A run's folder: what is restored, what is left when a write fails, and what is refused."""

import dataclasses
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import arch, model_card
from common.io import CheckpointError
from common.model_card import ModelCard
from common.preprocessing.contracts import FLOW_CONTRACT
from common.training import exporting
from common.training.snapshot import Best, Snapshot
from common.training.snapshots import RunFolder
from convert.formats import safetensors

ROOT = Path(__file__).parents[2]
NET = arch.narrow(arch.inception_i3d(5, 2), 16)
RECIPE = {
    "schedule": "multi_step", "learning_rate": 0.1, "milestones": (30, 40), "steps": 50, "keep": 2,
    "seed": 0, "evaluate_every": 10, "clip_norm": None,
}  # fmt: skip


def _state(seed=0):
    """What a learner gives: every kind of array, a negative zero and a denormal among them."""
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
    with pytest.raises(ValueError, match="keep must be at least 1"):
        RunFolder(tmp_path, keep=0)


def test_a_best_one_of_another_folder_is_only_a_number(tmp_path):
    RunFolder(tmp_path).write(_snapshot(20, best=Best(10, 0.9)), 0.8)
    assert not (tmp_path / "best.json").exists()
    assert RunFolder(tmp_path).latest().best == Best(10, 0.9)


def _full_disk(monkeypatch):
    """The disk takes one array more."""
    count = []

    def release(array):
        count.append(array)
        if len(count) == len(STATE) + 4:  # once each for its checksum, then for its bytes
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors, "release", release)


def test_a_full_disk_leaves_the_last_good_one(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, keep=1)
    folder.write(_snapshot(10))
    with monkeypatch.context() as patched:
        _full_disk(patched)
        with pytest.raises(OSError, match="No space left on device") as error:
            folder.write(_snapshot(20, _state(1)))
    assert str(error.value) == (
        f"{tmp_path}/snapshots/step_000020.safetensors: cannot be written (No space left on "
        f"device); the last snapshot is {tmp_path}/snapshots/step_000010.safetensors. Make room, "
        "and start again with --resume=auto."
    )
    assert _names(tmp_path) == _of(10)
    assert folder.latest().step == 10


def test_a_file_that_may_not_grow_leaves_the_last_good_one(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write(_snapshot(10))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large\); the last snapshot is .*_000010"):
            folder.write(_snapshot(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _names(tmp_path) == _of(10)


KILLED = """
import os, signal, sys
from common.training import snapshots, snapshots_test as test
from convert.formats import safetensors
folder, count = snapshots.RunFolder(sys.argv[1], keep=1), []
held = folder.lock()
folder.write(test._snapshot(10))
def kill(array):
    count.append(array)
    if len(count) == len(test.STATE) + 100:
        os.kill(os.getpid(), signal.SIGKILL)
safetensors.release = kill
folder.write(test._snapshot(20))
"""


def test_a_kill_in_the_middle_leaves_the_last_good_one(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (half,) = (tmp_path / "snapshots").glob(".*.tmp")
    assert half.name.startswith(".step_000020.safetensors.")
    folder = RunFolder(tmp_path)
    assert folder.latest().step == 10
    with folder.lock():  # nobody holds it, and what was left goes
        assert _names(tmp_path) == _of(10)
    assert sorted(os.listdir(tmp_path)) == ["snapshots"]


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


def test_a_snapshot_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.safetensors"):
        RunFolder(tmp_path).resume(str(tmp_path / "other.safetensors"), _snapshot(0))


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


def test_a_restart_goes_on_from_the_last_of_its_own(run_folder, tmp_path):
    new = _snapshot(0, arrays={})
    first, second = (run_folder.path / "snapshots" / name for name in _of(10, 20))
    assert run_folder.resume("never", new, restarted=True).step == 20
    assert run_folder.resume(str(first), new, restarted=True).step == 20
    other = RunFolder(tmp_path / "other")
    assert other.resume("never", new, restarted=True) is None
    assert other.resume(str(second), new, restarted=True).step == 20
    other.write(_snapshot(10))  # of before: the one that is asked for is later
    assert other.resume(str(second), new, restarted=True).step == 20


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
        f"{run_folder.path}/snapshots/step_000020.safetensors: the run had other settings, and "
        "would not be the same run: learning_rate was 0.1, is 0.2; milestones was [30, 40], is "
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
    with pytest.raises(ValueError, match=f"same run: {bound} was .0, is 99. Set"):
        folder.resume("auto", _snapshot(0, recipe=recipe | {bound: 99}))


HOLD = "import sys; from common.training.snapshots import RunFolder\n"
HOLD += "held = RunFolder(sys.argv[1]).lock(); print(flush=True); sys.stdin.read()"


def test_a_second_run_is_refused(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert other.stdout.readline() == b"\n"
    with pytest.raises(ValueError, match=f"^{tmp_path}: another run is writing to this folder"):
        RunFolder(tmp_path).lock()
    other.kill()
    other.communicate()
    with RunFolder(tmp_path).lock(), pytest.raises(ValueError, match="another run"):
        RunFolder(tmp_path).lock()
    assert os.listdir(tmp_path) == []


CARD = ModelCard(
    "flow", tuple("abcde"), FLOW_CONTRACT, "i3d_torch", {"model.ckpt": "sha256 12"},
    {"engine": "numba", "parameters": {"warps": 5}},
)  # fmt: skip


def test_the_final_weights_and_their_card(tmp_path):
    path = exporting.finish(tmp_path, _snapshot(50), CARD)
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


def test_without_an_average_the_weights_are_the_last(tmp_path):
    plain = {name: array for name, array in STATE.items() if not name.startswith("average/")}
    path = exporting.finish(tmp_path, _snapshot(50, plain), CARD)
    name = "Conv3d_1a_7x7.conv.weight"
    np.testing.assert_array_equal(safetensors.read(path)[name], STATE[name])
    assert not model_card.read(path).averaged


def test_cards_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"names of 5 classes. Received: 4\."):
        exporting.finish(tmp_path, _snapshot(1), dataclasses.replace(CARD, classes=tuple("abcd")))
    path = exporting.finish(tmp_path, _snapshot(50), CARD)
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
    safetensors.write(path, _snapshot(50).weights(averaged=False))
    with pytest.raises(ValueError, match=r"is of other weights than .*Expected SHA-256"):
        model_card.read(path)
    path.with_suffix(".json").unlink()
    assert model_card.read(path) is None
