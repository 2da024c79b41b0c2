"""What a framework does in training; all else of it is in `common`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.arch import Arrays
from common.training.batches import Batch


@dataclass(frozen=True)
class Measured:
    """What one step has shown, over all clips of all replicas.

    Attributes:
        loss: Mean over the clips, before the step.
        gradient_norm: Length of the loss's gradient by all parameters that train, before clipping;
            not finite where a step in float16 was skipped.
        correct: Share of the clips whose top class is theirs, 0 to 1; None for labels of frames.
    """

    loss: float
    gradient_norm: float
    correct: float | None


class Learner(Protocol):
    """A network in training: `create` of `i3d_tf.learner` and `i3d_torch.learner` makes one.

    Clips are [B, T, H, W, C]: uint8, RGB in 0 to 255 as float32, or flow in [-1, 1] as float32.
    """

    def step(self, batches: Sequence[Batch], rate: float) -> Measured:
        """Takes one step down the gradient of the mean loss over all clips.

        Args:
            batches: Micro-batches of one size, whose gradients are added up; of several replicas
                in one process, each takes its slice of each.
            rate: The learning rate.

        Raises:
            FloatingPointError: The loss or its gradient is not finite; the weights are as before.
                In float16 a gradient that is not finite skips the step instead, until the scale
                of the loss has fallen below 1.
            ValueError: The device's memory does not suffice.
        """
        ...

    def scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [B, num_classes], of the averaged weights where there are any."""
        ...

    def frame_scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of all frames, [B, T, num_classes], as the loss of frames takes them."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything a run goes on from, but its position: copies, by canonical name.

        Beside the parameters and running statistics "NAME": "momentum/NAME" of the parameters
        that train, with an average of weights their "average/NAME", and in float16 the numbers
        "scaler/scale" and "scaler/good_steps".
        """
        ...

    def restore(self, arrays: Arrays) -> None:
        """Goes on from a `state`, of either framework.

        Raises:
            CheckpointError: Names or shapes are not those of this run; nothing is changed then.
        """
        ...
