"""A train step of a few numbers, for tests of the loop around it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arch
from common.arch import Arrays
from common.preprocessing.contracts import InputContract
from common.training.data import Batch
from common.training.optim import StepResult
from common.training.recipes import Recipe

WEIGHT, MOMENTUM = "Logits.Conv3d_0c_1x1.conv.bias", "momentum/Logits.Conv3d_0c_1x1.conv.bias"


class StopError(Exception):
    """A crash, at the point where a test injected it."""


class TrainStep:
    """Learns the mean brightness of each class, with momentum; makes itself, and is its predictor.

    Attributes:
        stop_at: Steps after which it crashes.
        nan_at: Steps after which its loss is NaN.
        bias: Added to the logits, by the number of steps.
        steps: Steps done so far.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        nan_at: int | None = None,
        bias: Callable[[int], Any] = lambda steps: 0,
    ):
        self.stop_at, self.nan_at, self.bias = stop_at, nan_at, bias
        self.predictor: Any = self

    def __call__(
        self, net: arch.Network, arrays: Arrays, recipe: Recipe, contract: InputContract, **_: Any
    ) -> "TrainStep":
        self.means = arrays[WEIGHT].astype(np.float64) + 0
        self.velocity, self.steps = self.means * 0, 0
        return self

    def step(self, batches: Sequence[Batch], rate: float) -> StepResult:
        if self.steps == self.stop_at:
            raise StopError
        if self.steps == self.nan_at:
            raise FloatingPointError("the loss is nan.")
        self.steps += 1
        gradient, wrong = self.means * 0, []
        for batch in batches:
            for clip, label in zip(batch.clips, batch.targets, strict=True):
                wrong.append(self.means[label] - clip.mean() / 255)
                gradient[label] += wrong[-1]
        self.velocity = 0.9 * self.velocity + gradient
        self.means -= rate * self.velocity
        return StepResult(float(np.mean(np.square(wrong))), float(np.linalg.norm(gradient)), 0.5)

    def scores(self, clips: NDArray[Any]) -> NDArray[np.float32]:
        brightness = clips.reshape(len(clips), -1).mean(axis=1) / 255
        return np.asarray(-np.abs(brightness[:, None] - self.means) + self.bias(self.steps), "f4")

    def state(self) -> dict[str, NDArray[Any]]:
        return {WEIGHT: self.means.copy(), MOMENTUM: self.velocity.copy()}

    def restore(self, arrays: Arrays) -> None:
        self.means, self.velocity = arrays[WEIGHT].copy(), arrays[MOMENTUM].copy()
