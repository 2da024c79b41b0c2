"""Processes that train together; the twin of `i3d_torch/processes.py`."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from common.training.loop import Rank
from i3d_tf import devices


@contextlib.contextmanager
def connected(threads: int | None = None) -> Iterator[tuple[Rank, tf.distribute.Strategy | None]]:
    """Joins the processes that TF_CONFIG names, if it does, each with all GPUs that it sees.

    On a CPU the whole process becomes deterministic: it computes the same bits every time. On a
    GPU some gradients have no deterministic implementation.

    Args:
        threads: To compute with on a CPU; None changes nothing.

    Yields:
        The rank of this process, and the replicas that train together; None trains alone.

    Raises:
        ValueError: TF_CONFIG names other processes than workers.
    """
    devices.use_threads(threads)
    if not tf.config.list_physical_devices("GPU"):
        tf.random.set_seed(0)  # needed to draw at all, even values that are overwritten
        tf.config.experimental.enable_op_determinism()
    if "TF_CONFIG" in os.environ:
        count = _workers()
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        yield Rank("i3d_tf", strategy.cluster_resolver.task_id, count), strategy
    else:
        several = len(tf.config.list_physical_devices("GPU")) > 1
        yield Rank("i3d_tf"), tf.distribute.MirroredStrategy() if several else None


def _workers() -> int:
    """The number of workers in TF_CONFIG; worker 0, and no chief beside them, is the first."""
    try:
        jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    except ValueError:  # not JSON
        jobs = {}
    if set(jobs) != {"worker"}:
        raise ValueError(
            'TF_CONFIG: expected workers and nothing else, as {"cluster": {"worker": '
            '["first:2222", "second:2222"]}, "task": {"type": "worker", "index": 0}}. Received: '
            f"{os.environ['TF_CONFIG']}."
        )
    return len(jobs["worker"])
