"""Where TensorFlow computes, and with how many threads; the twin of `i3d_torch/devices.py`."""

import tensorflow as tf

from common import hardware


def choose(device: str = "auto") -> str:
    """Chooses where a network computes: TensorFlow's name of the first GPU or of the CPU.

    Args:
        device: "cpu", "gpu", or "auto": a GPU if there is one.

    Raises:
        ValueError: There is no GPU.
    """
    found = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not found:
        raise ValueError("there is no GPU that TensorFlow can use. Leave out --device=gpu.")
    return "/GPU:0" if found and device != "cpu" else "/CPU:0"


def use_threads(count: int | None) -> None:
    """Computes with so many threads on a CPU; None leaves it as it is.

    Raises:
        RuntimeError: TensorFlow has computed something already.
    """
    if count:
        hardware.set_own_threads(count)
        tf.config.threading.set_intra_op_parallelism_threads(count)
