import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from common.training.loop import Rank
from i3d_tf import devices

CODE = """
import tensorflow as tf
from common import hardware
from i3d_tf import devices
devices.use_threads(None)
assert (tf.config.threading.get_intra_op_parallelism_threads(), hardware.own_threads()) == (0, 7)
devices.use_threads(3)
assert (tf.config.threading.get_intra_op_parallelism_threads(), hardware.own_threads()) == (3, 3)
"""
WORKERS = ["localhost:1", "localhost:2"]


def test_threads_are_those_that_are_asked_for():
    """In a process of its own: TensorFlow takes a number only before it computes anything."""
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    subprocess.run([sys.executable, "-c", CODE], check=True, env=environment)


def test_a_device_may_be_asked_for(monkeypatch):
    found = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found)
    assert devices.choose() == devices.choose("cpu") == "/CPU:0"
    with pytest.raises(ValueError, match="no GPU that TensorFlow can use"):
        devices.choose("gpu")
    found.append("a GPU")
    assert devices.choose() == devices.choose("gpu") == "/GPU:0"
    assert devices.choose("cpu") == "/CPU:0"


def test_a_process_alone_trains_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with devices.connected() as (rank, strategy):
        assert rank == Rank("i3d_tf")
        assert (strategy is not None) == (len(tf.config.list_physical_devices("GPU")) > 1)


def test_others_than_workers_are_refused(monkeypatch):
    cluster = {"chief": WORKERS[:1], "worker": WORKERS[1:]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    with pytest.raises(ValueError, match="TF_CONFIG: expected workers"), devices.connected():
        pass


def test_workers_are_counted_and_numbered(monkeypatch):
    class Resolver:
        task_id = 1

    class Strategy:
        cluster_resolver = Resolver()

    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": WORKERS}, "task": task}))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Strategy)
    with devices.connected() as (rank, strategy):
        assert rank == Rank("i3d_tf", 1, 2)
        assert isinstance(strategy, Strategy)
