"""Devices, threads, and processes that train together; the twin of `i3d_torch/devices.py`."""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from common.training.loop import Rank


def choose(device: str = "auto") -> str:
    """Where a network computes: on "cpu", "gpu", or with "auto" on a GPU if there is one.

    It is TensorFlow's name of the first. `ValueError` for "gpu" where there is none.
    """
    found = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not found:
        raise ValueError("there is no GPU that TensorFlow can use. Leave out --device=gpu.")
    return "/GPU:0" if found and device != "cpu" else "/CPU:0"


def use_threads(count: int | None) -> None:
    """Computes with so many threads on a CPU; None leaves it as it is. Before all else."""
    if count:
        os.environ["OMP_NUM_THREADS"] = str(count)  # for `hardware.own_threads`
        tf.config.threading.set_intra_op_parallelism_threads(count)


@contextlib.contextmanager
def connected(threads: int | None = None) -> Iterator[tuple[Rank, tf.distribute.Strategy | None]]:
    """Joins the workers of TF_CONFIG; yields this one's rank, and all replicas, None if alone.

    On a CPU the whole process computes the same bits every time. On a GPU some gradients have no
    deterministic implementation.
    """
    use_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        tf.random.set_seed(0)  # needed to draw at all, even values that are overwritten
        tf.config.experimental.enable_op_determinism()
    if "TF_CONFIG" in os.environ:
        workers = json.loads(os.environ["TF_CONFIG"]).get("cluster", {})
        if set(workers) != {"worker"}:  # a chief would be a second number 0
            raise ValueError(f"TF_CONFIG: expected workers alone. Received: {', '.join(workers)}.")
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        yield Rank("i3d_tf", strategy.cluster_resolver.task_id, len(workers["worker"])), strategy
    else:
        yield Rank("i3d_tf"), tf.distribute.MirroredStrategy() if len(gpus) > 1 else None
