"""`TrainStep` against what both must do; the twin of `i3d_torch/train_step_test.py`."""

import json
import multiprocessing
import os
import socket
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from common.preprocessing.contracts import InputContract
from common.testing import train_step as checks
from common.testing.losses import LossTests
from i3d_tf.predictor import frame_logits
from i3d_tf.train_step import TrainStep, loss_and_correct


def _gradient(loss, logits):
    x = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(x)
    return tape.gradient(value, x).numpy()


class TestLosses(LossTests):
    measure, frame_logits = staticmethod(loss_and_correct), staticmethod(frame_logits)
    tensor, gradient = staticmethod(tf.constant), staticmethod(_gradient)


class TestTrainStep(checks.TrainStepTests):
    create = TrainStep


def test_memory_that_runs_out_is_explained():
    checks.check_memory(TrainStep, tf.errors.ResourceExhaustedError(None, None, "no more"))


def test_another_rate_needs_no_new_graph():
    own = checks.make_step(TrainStep, momentum=0.9)
    for step in range(3):
        own.step([checks.make_batch(step), checks.make_batch(step + 1)], checks.RATE / (step + 1))
    for function in (own._start, own._accumulate, own._over_replicas, own._update):
        assert function.experimental_get_tracing_count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["freeze", "sync"])
@pytest.mark.parametrize("workers", [1, 2])
def test_two_replicas_are_one_of_twice_the_batch(mode, workers, tmp_path):
    """Of one process with two devices, and of two processes."""
    _spawn(_run_replicas, mode, tmp_path, workers)
    states = [np.load(tmp_path / f"{rank}.npz") for rank in range(workers)]
    checks.check_replicas(states, TrainStep, mode)


def _spawn(run, mode, folder, workers):
    """Runs `run(rank, ...)` in new processes, each of which gets a port of its own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=run, args=(rank, mode, folder, addresses)) for rank in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * workers


def _run_replicas(rank, mode, folder, addresses):
    if len(addresses) == 1:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        batches = [checks.make_batch(step, 8) for step in range(20)]
    else:
        task = {"type": "worker", "index": rank}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        batches = [checks.half(checks.make_batch(step, 8), rank) for step in range(20)]
    recipe = replace(checks.RECIPE, **checks.REPLICATED, batch_norm=mode)
    own = TrainStep(checks.NET, checks.ARRAYS, recipe, InputContract(), strategy)
    losses = [own.step([batch], checks.RATE).loss for batch in batches]
    np.savez(folder / f"{rank}.npz", losses=losses, **own.state())
