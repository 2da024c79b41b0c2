"""With how many threads TensorFlow computes; where, it chooses itself.

The twin of `i3d_torch/devices.py`.
"""

import tensorflow as tf

from common import processors


def use_threads(count: int | None) -> None:
    """Computes with so many threads on a CPU; None leaves it as it is.

    Raises:
        RuntimeError: TensorFlow has computed something already.
    """
    if count:
        processors.take(count)
        tf.config.threading.set_intra_op_parallelism_threads(count)
