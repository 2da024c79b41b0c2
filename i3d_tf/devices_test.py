import os
import subprocess
import sys

CODE = """
import tensorflow as tf
from common import processors
from i3d_tf import devices
devices.use_threads(None)
assert (tf.config.threading.get_intra_op_parallelism_threads(), processors.share()) == (0, 7)
devices.use_threads(3)
assert (tf.config.threading.get_intra_op_parallelism_threads(), processors.share()) == (3, 3)
"""


def test_threads_are_those_that_are_asked_for():
    """In a process of its own: TensorFlow takes a number only before it computes anything."""
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    subprocess.run([sys.executable, "-c", CODE], check=True, env=environment)
