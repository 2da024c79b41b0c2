"""Batches, whoever makes them, and the processes that do."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.training import batches, recipes
from common.training.batches import Batch, Batches, dropout_masks, order
from common.training.examples import Example, ItemError

ROOT = Path(__file__).parents[2]

RECIPE = recipes.changed(recipes.get("finetune"), ["steps=8", "batch=4", "seed=7"])


@dataclasses.dataclass(frozen=True)
class Noise:
    """Small clips of noise; `log` gets a line for each that is made, and `bad` items fail."""

    count: int
    log: Path | None = None
    bad: str = ""

    def __len__(self):
        return self.count

    def example(self, epoch, index, seed):
        if self.log:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{os.getpid()} {index}\n".encode())
            os.close(descriptor)
        if index == 3 and self.bad == "error":
            raise ItemError("c (d.avi): no frames")
        if index == 3 and self.bad == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 3 and self.bad == "bug":
            raise KeyError("a bug")
        rng = np.random.default_rng([seed, epoch, index])
        clip = rng.integers(0, 256, (2, 200, 301, 3), np.uint8)  # 361200 bytes: many reads
        return Example(f"{index}", clip, index % 5)


@dataclasses.dataclass(frozen=True)
class Looks:
    """Says what there is in the process, as the name of each example."""

    def __len__(self):
        return 8

    def example(self, epoch, index, seed):
        loaded = [m for m in ("torch", "tensorflow", "sonnet", "program") if m in sys.modules]
        threads = [os.environ.get(f"{each}_NUM_THREADS") for each in ("OMP", "OPENBLAS")]
        name = f"{loaded} {threads}"
        return Example(name, np.zeros((1, 1, 1, 2), np.float32), np.ones((1, 3), np.float32))


def run(dataset, recipe=RECIPE, **settings):
    with Batches(dataset, recipe, **settings) as steps:
        return list(steps)


def same(one, other):
    return (
        one.names == other.names
        and one.keys == other.keys
        and one.targets.tobytes() == other.targets.tobytes()
        and one.clips.tobytes() == other.clips.tobytes()
        and one.clips.dtype == other.clips.dtype
    )


def _log(folder):
    path = folder / "log"
    path.touch()
    return path


def pids(log):
    return (
        {int(line.split()[0]) for line in log.read_text().splitlines()} if log.exists() else set()
    )


def gone(pid):
    """Whether a process has ended; its parent may not have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(condition):
    """Waits for something that happens soon; half a minute is for a busy machine."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError(condition)


@pytest.mark.parametrize(("workers", "start"), [(0, 5), (1, 0), (2, 7), (3, 3)])
def test_the_same_batches_whoever_makes_them_and_wherever_it_begins(workers, start):
    alone = run(Noise(11))
    found = run(Noise(11), start_step=start, workers=workers)
    assert len(alone) == 8
    assert len(found) == 8 - start
    assert all(same(a, b) for [a], [b] in zip(alone[start:], found, strict=True))


def test_what_a_batch_holds():
    [[first], *_] = run(Noise(11))
    assert first.clips.shape == (4, 2, 200, 301, 3)
    assert first.clips.dtype == np.uint8
    indices = order(7, 0, 11)[:4]
    assert first.names == tuple(map(str, indices))
    assert first.keys == tuple((7, 0, index) for index in indices)
    assert first.targets.tolist() == [index % 5 for index in indices]
    assert first.targets.dtype == np.int64
    np.testing.assert_array_equal(first.clips[2], Noise(11).example(0, indices[2], 7).clip)


def test_labels_of_frames_are_stacked():
    [[batch], *_] = run(Looks())
    assert batch.targets.tolist() == [[[1, 1, 1]]] * 4
    assert batch.targets.dtype == batch.clips.dtype == np.float32


def test_epochs_go_on_without_a_break():
    """11 items and batches of 4: every item once in items 0 to 10, in 11 to 21, and so on."""
    keys = [key for [batch] in run(Noise(11)) for key in batch.keys]
    assert [epoch for _, epoch, _ in keys] == [0] * 11 + [1] * 11 + [2] * 10
    first, second = ([index for _, epoch, index in keys if epoch == e] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second
    assert order(7, 0, 11).tolist() == first
    assert order(8, 0, 11).tolist() != first


def test_an_epoch_smaller_than_a_batch():
    [[batch]] = run(Noise(3), recipes.changed(RECIPE, ["steps=1", "batch=8"]))
    assert sorted(batch.keys[:3]) == [(7, 0, k) for k in range(3)]
    assert [epoch for _, epoch, _ in batch.keys] == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_replicas_together_see_the_batch_of_one(workers):
    recipe = recipes.changed(RECIPE, ["batch=12", "accumulate=3", "steps=2"])
    alone = run(Noise(10), recipe)
    ranks = [run(Noise(10), recipe, workers=workers, rank=r, replicas=2) for r in range(2)]
    for step in range(2):
        assert len(alone[step]) == 3
        for part in range(3):
            one, halves = alone[step][part], [rank[step][part] for rank in ranks]
            assert all(len(half.names) == 2 for half in halves)
            whole = Batch(
                halves[0].names + halves[1].names,
                np.concatenate([half.clips for half in halves]),
                np.concatenate([half.targets for half in halves]),
                halves[0].keys + halves[1].keys,
            )
            assert same(whole, one)


def test_accumulation_divides_the_batch():
    [[whole], *_] = run(Noise(11))
    [parts, *_] = run(Noise(11), recipes.changed(RECIPE, ["accumulate=2"]))
    assert [len(part.names) for part in parts] == [2, 2]
    assert parts[0].names + parts[1].names == whole.names
    np.testing.assert_array_equal(np.concatenate([part.clips for part in parts]), whole.clips)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_item_stops_the_run_at_its_turn(tmp_path, workers):
    log = _log(tmp_path)
    steps = Batches(Noise(11, log, "error"), RECIPE, workers=workers)
    step = order(7, 0, 11).tolist().index(3) // 4
    for _ in range(step):
        next(steps)
    with pytest.raises(ItemError, match=r"^c \(d\.avi\): no frames$"):
        next(steps)
    assert steps.step == step
    assert all(map(gone, pids(log) - {os.getpid()}))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (
            "kill",
            "a process that loads data died (signal 9) over item 3 of epoch 0. "
            "Where memory ran out, use fewer workers.",
        ),
        (
            "bug",
            "a process that loads data ended (exit status 1) over item 3 of epoch 0. "
            "What it printed says why.",
        ),
    ],
)
def test_a_worker_that_dies_stops_the_run(tmp_path, bad, text, capfd):
    log = _log(tmp_path)
    with pytest.raises(ChildProcessError) as caught:
        run(Noise(11, log, bad), workers=2)
    assert str(caught.value) == text
    assert len(pids(log)) == 2
    assert all(map(gone, pids(log)))
    assert ("KeyError: 'a bug'" in capfd.readouterr().err) == (bad == "bug")


def test_a_worker_that_is_killed_from_outside(tmp_path):
    log = _log(tmp_path)
    steps = Batches(Noise(11, log), recipes.changed(RECIPE, ["steps=99"]), workers=2)
    next(steps)
    until(lambda: len(pids(log)) == 2)
    os.kill(min(pids(log)), signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"died \(signal 9\) over item"):
        list(steps)
    assert all(map(gone, pids(log)))


class Stranger(Noise):
    """Something that cannot be unpickled elsewhere."""

    def __reduce__(self):
        return (_only_here, (os.getpid(),))


def _only_here(pid):
    if pid != os.getpid():
        raise ImportError("not here")
    return Stranger(11)


def test_a_worker_that_cannot_begin(capfd):
    with pytest.raises(ChildProcessError, match=r"ended \(exit status 1\).* What it printed"):
        run(Stranger(11), workers=1)
    assert "ImportError: not here" in capfd.readouterr().err


def test_the_look_ahead_is_bounded(tmp_path):
    """A step of 4, or two a worker: never more than that are made beyond those handed out."""
    log = _log(tmp_path)

    def made():
        return len(log.read_text().splitlines())

    with Batches(Noise(50, log), recipes.changed(RECIPE, ["steps=99"]), workers=3) as steps:
        for step in range(1, 4):
            next(steps)
            until(lambda: made() == 4 * step + 6 - 1)  # noqa: B023  # called at once
            time.sleep(0.1)
            assert made() == 4 * step + 6 - 1


def test_all_is_closed_in_the_end(tmp_path):
    log = _log(tmp_path)
    descriptors = len(os.listdir("/proc/self/fd"))
    with Batches(Noise(11, log), RECIPE, workers=2) as steps:
        next(steps)
    steps.close()
    assert pids(log)
    assert all(map(gone, pids(log)))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    run(Noise(11, log), workers=2)  # to the end
    assert all(map(gone, pids(log)))


PROGRAM = """
import sys
import __future__ as torch
sys.modules["torch"] = torch  # as an expensive import
import signal
from pathlib import Path
from common.training.batches import Batches
from common.training.batches_test import RECIPE, Looks, Noise
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
dataset = Noise(99, Path(sys.argv[1])) if len(sys.argv) > 1 else Looks()
with Batches(dataset, RECIPE, workers=2) as steps:
    print(next(steps)[0].names[0])
    if len(sys.argv) > 1:
        signal.pause()
"""


def start(folder, *arguments):
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "program", *map(str, arguments)],
        env={**environment, "OPENBLAS_NUM_THREADS": "2"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_workers_do_not_import_the_program(tmp_path):
    """No guard is needed, TensorFlow and PyTorch stay out, and there is one thread."""
    output, errors = start(tmp_path).communicate(timeout=60)
    assert output == "[] ['1', '2']\n", errors
    assert errors == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_of_a_run_that_is_ended(tmp_path, how):
    log = _log(tmp_path)
    program = start(tmp_path, log)
    try:
        until(lambda: len(pids(log)) == 2)
        program.stdout.readline()
        os.killpg(program.pid, how)  # as the terminal does
        _, errors = program.communicate(timeout=60)
        assert program.returncode == -how
        until(lambda: all(map(gone, pids(log))))
        assert errors.count("Traceback") == (how == signal.SIGINT)  # of the program's alone
    finally:
        program.kill()


def test_waiting_is_measured(monkeypatch):
    clock = iter([1.0, 1.5, 10.0, 12.0])
    monkeypatch.setattr(batches.time, "perf_counter", lambda: next(clock))
    steps = Batches(Noise(11), RECIPE)
    next(steps)
    next(steps)
    assert steps.waited == 2.5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"replicas": 3}, r"3 replicas x 2 micro-batches.* batch 4"),
        ({"replicas": 2, "rank": 2}, r"a rank below 2\. Received: batch 4, rank 2"),
        ({"workers": -1}, "-1 workers"),
    ],
)
def test_settings_that_do_not_fit(settings, text):
    with pytest.raises(ValueError, match=text):
        Batches(Noise(11), recipes.changed(RECIPE, ["accumulate=2"]), **settings)


def test_no_examples():
    with pytest.raises(ValueError, match="0 examples"):
        Batches(Noise(0), RECIPE)


def test_dropout_belongs_to_the_item():
    [[one], [two], *_] = run(Noise(11))
    masks = dropout_masks(one, (2, 3, 4, 500), 0.25)
    assert (masks.shape, masks.dtype) == ((4, 2, 3, 4, 500), np.float32)
    assert set(np.unique(masks)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((masks == 0).mean() - 0.25) < 0.005  # of 48000: 2.5 standard deviations
    part = dataclasses.replace(one, keys=one.keys[2:3])
    np.testing.assert_array_equal(dropout_masks(part, (2, 3, 4, 500), 0.25)[0], masks[2])
    flat = masks.reshape(4, -1)
    assert np.abs(np.corrcoef(flat)[~np.eye(4, dtype=bool)]).max() < 0.05
    assert not np.array_equal(dropout_masks(two, (2, 3, 4, 500), 0.25), masks)
    assert (dropout_masks(one, (1, 1, 1, 8), 0.0) == 1).all()
    with pytest.raises(ValueError, match=r"below 1\. Received: 1"):
        dropout_masks(one, (1,), 1.0)


def test_random_numbers_are_for_one_thing_only():
    """The order, an example's and dropout's are no two the same, nor for two items."""
    draws = {
        np.random.default_rng(key).integers(2**62)
        for index in range(5)
        for key in ([7, 0, index], [7, 0, index, batches._DROPOUT], [7, 1, index])
    }
    draws.add(np.random.default_rng([7, 0, 0, batches._ORDER]).integers(2**62))
    assert len(draws) == 16
