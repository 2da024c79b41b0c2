"""Processes that train together; the twin of `i3d_torch/processes.py`."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from common.training.loop import Place


def make_deterministic() -> None:
    """Lets TensorFlow compute the same bits every time on a CPU, in this whole process.

    Not on a GPU, where some gradients have no deterministic implementation.
    """
    if not tf.config.list_physical_devices("GPU"):
        tf.random.set_seed(0)  # It refuses to draw without one, even what is overwritten.
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def connected() -> Iterator[tuple[Place, tf.distribute.Strategy | None]]:
    """Joins the processes that TF_CONFIG names, if it does, each with all GPUs that it sees.

    Yields:
        Which process this is, and the replicas that train together; None trains alone.

    Raises:
        ValueError: TF_CONFIG names other processes than workers.
    """
    if "TF_CONFIG" in os.environ:
        count = _workers()
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        yield Place("i3d_tf", strategy.cluster_resolver.task_id, count), strategy
    else:
        several = len(tf.config.list_physical_devices("GPU")) > 1
        yield Place("i3d_tf"), tf.distribute.MirroredStrategy() if several else None


def _workers() -> int:
    """How many workers TF_CONFIG names; one of them, and no chief beside them, is the first."""
    try:
        jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    except ValueError:  # it is no JSON
        jobs = {}
    if set(jobs) != {"worker"}:
        raise ValueError(
            'TF_CONFIG: expected workers and nothing else, as {"cluster": {"worker": '
            '["first:2222", "second:2222"]}, "task": {"type": "worker", "index": 0}}. Received: '
            f"{os.environ['TF_CONFIG']}."
        )
    return len(jobs["worker"])
