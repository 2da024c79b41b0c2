"""The learning rate of each step, counted in updates of the weights."""

import bisect
import dataclasses
import math

from common.training.recipes import Recipe

# Share of the best loss by which another must be lower to be better, as in ReduceLROnPlateau.
THRESHOLD = 1e-4


def rate(recipe: Recipe, step: int, reductions: int = 0) -> float:
    """The learning rate of update number `step`.

    With f = factor, n = steps and l = learning_rate:

        constant    l
        multi_step  l times f for each milestone up to `step`; or l times the share in `rates`
        cosine      l (1 + cos(pi step / n)) / 2
        plateau     l times f for each reduction

    A warm-up rises linearly from l times `warmup_start` in step 0 to the rate of the schedule at
    step `warmup_steps`, as in video-nonlocal-net and PySlowFast.

    Args:
        recipe: The recipe.
        step: From 0; the step of a milestone is the first with its rate.
        reductions: plateau: how often the rate has been reduced.
    """
    warm = recipe.warmup_steps
    if step >= warm:
        return _scheduled(recipe, step, reductions)
    start = recipe.learning_rate * recipe.warmup_start
    return start + (_scheduled(recipe, warm, reductions) - start) * step / warm


@dataclasses.dataclass(frozen=True)
class Plateau:
    """State of the plateau schedule.

    Attributes:
        patience: Evaluations without improvement before the rate is reduced.
        best: The lowest loss so far; None before the first.
        bad: Evaluations since the best, or since the last reduction.
        reductions: How often the rate has been reduced.
    """

    patience: int = 10
    best: float | None = None
    bad: int = 0
    reductions: int = 0

    def after(self, loss: float) -> "Plateau":
        """The state after an evaluation, as torch's ReduceLROnPlateau counts.

        Raises:
            ValueError: The validation loss is NaN.
        """
        if math.isnan(loss):
            raise ValueError("the loss of an evaluation must be a number. Received: nan.")
        if self.best is None or loss < self.best * (1 - THRESHOLD):
            return dataclasses.replace(self, best=loss, bad=0)
        if self.bad < self.patience:
            return dataclasses.replace(self, bad=self.bad + 1)
        return dataclasses.replace(self, bad=0, reductions=self.reductions + 1)


def _scheduled(recipe: Recipe, step: int, reductions: int) -> float:
    """The rate without warm-up."""
    highest = recipe.learning_rate
    match recipe.schedule:
        case "multi_step":
            passed = bisect.bisect_right(recipe.milestones, step)
            if recipe.rates:
                return highest * (1.0, *recipe.rates)[passed]
            return highest * recipe.factor**passed
        case "cosine":
            return highest * (1 + math.cos(math.pi * min(step / recipe.steps, 1))) / 2
        case "plateau":
            return highest * recipe.factor**reductions
        case _:
            return highest
