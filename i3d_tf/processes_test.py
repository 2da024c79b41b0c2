"""How a process finds those that it trains with; the twin of `i3d_torch/processes_test.py`."""

import json

import pytest
import tensorflow as tf

from common.training.loop import Rank
from i3d_tf import processes

WORKERS = ["localhost:1", "localhost:2"]


def test_a_process_alone_trains_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with processes.connected() as (rank, strategy):
        assert rank == Rank("i3d_tf")
        assert (strategy is not None) == (len(tf.config.list_physical_devices("GPU")) > 1)


@pytest.mark.parametrize(
    "config",
    [
        {"cluster": {"chief": WORKERS[:1]}, "task": {"type": "chief", "index": 0}},
        {
            "cluster": {"chief": WORKERS[:1], "worker": WORKERS[1:]},
            "task": {"type": "worker", "index": 0},
        },
        {},
        "not an object",
    ],
)
def test_others_than_workers_are_refused(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ValueError, match="TF_CONFIG: expected workers"), processes.connected():
        pass


def test_workers_are_counted_and_numbered(monkeypatch):
    class Resolver:
        task_id = 1

    class Strategy:
        cluster_resolver = Resolver()

    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": WORKERS}, "task": task}))
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Strategy)
    with processes.connected() as (rank, strategy):
        assert rank == Rank("i3d_tf", 1, 2)
        assert isinstance(strategy, Strategy)
