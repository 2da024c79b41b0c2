import os
import subprocess
import sys

import pytest
import tensorflow as tf

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
