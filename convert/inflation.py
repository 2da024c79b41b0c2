"""2-D kernels made into 3-D ones, for training a video network from an image network.

Carreira and Zisserman, CVPR 2017, section 2.2.1: a video of one frame repeated gives the
activations of the image, but at its ends, where the padding in time lowers them.
"""

from typing import Literal, get_args

import numpy as np

How = Literal["repeat", "centre"]
HOW = get_args(How)


def inflate(kernel: np.ndarray, frames: int, how: How = "repeat") -> np.ndarray:
    """Inflates a kernel [O, I, 1, H, W] to [O, I, frames, H, W].

    Args:
        kernel: The 2-D kernel.
        frames: Its length in time.
        how: "repeat" puts the kernel divided by `frames` into every frame, "centre" puts it
            undivided into the middle one (Girdhar et al., "Detect-and-Track", 2018).

    Raises:
        ValueError: No such way.
    """
    if how not in HOW:
        raise ValueError(f"no such inflation. Expected one of {', '.join(HOW)}. Received: {how!r}.")
    shape = (*kernel.shape[:2], frames, *kernel.shape[3:])
    if how == "repeat":
        return np.broadcast_to(kernel / np.float32(frames), shape)
    inflated = np.zeros(shape, np.float32)
    inflated[:, :, frames // 2] = kernel[:, :, 0]
    return inflated
