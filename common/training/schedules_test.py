"""Learning rates: of every recipe, of every schedule, and the plateau against torch's."""

import itertools
import math

import numpy as np
import pytest

from common.training.recipes import RECIPES, changed
from common.training.schedules import Plateau, rate

PLAIN = changed(RECIPES["finetune"], ["steps=100", "milestones=", "rates=", "learning_rate=0.5"])


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("quo_vadis_rgb", {0: 0.1, 97_000: 0.01, 108_000: 0.001, 115_000: None}),
        (
            "quo_vadis_flow",
            {0: 0.1, 97_000: 0.01, 104_500: 0.001, 115_000: 0.1, 140_000: 0.01, 150_000: 0.001,
             155_000: None},
        ),
        ("nonlocal_400k", {0: 0.01, 150_000: 0.001, 300_000: 0.0001, 400_000: None}),
        (
            "finetune",
            {0: 8e-4, 10_000: 5e-4, 20_000: 3e-4, 30_000: 1e-4, 40_000: 5e-5, 63_600: None},
        ),
        ("charades", {0: 0.1, 300: 0.01, 1_000: 0.001, 2_000: None}),
        ("vidor", {0: 1e-3, 300: 1e-4, 1_000: 1e-5, 14_000: None}),
        (
            "r2plus1d_kinetics",
            {0: 1e-3, 77_040: 1e-4, 154_080: 1e-5, 231_120: 1e-6, 269_640: None},
        ),
    ],
)  # fmt: skip
def test_the_rates_of_every_recipe(name, rates):
    recipe = RECIPES[name]
    assert max(rates) == recipe.steps
    for first, behind in itertools.pairwise(rates):
        for step in (first, (first + behind) // 2, behind - 1):
            assert rate(recipe, step) == pytest.approx(rates[first], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ("schedule=constant", {0: 0.5, 50: 0.5, 1000: 0.5}),
        (
            "schedule=cosine",
            {0: 0.5, 25: 0.25 + 0.25 * math.sqrt(0.5), 50: 0.25, 100: 0, 500: 0},
        ),
        (
            "schedule=constant warmup_steps=4 warmup_start=0.2",
            {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5, 5: 0.5},
        ),
        # A warm-up ends at the rate that the schedule has then.
        ("schedule=cosine warmup_steps=50 warmup_start=0", {0: 0, 25: 0.125, 50: 0.25}),
        ("milestones=10 warmup_steps=4 warmup_start=0", {2: 0.25, 4: 0.5, 9: 0.5, 10: 0.05}),
    ],
)
def test_schedules(changes, rates):
    recipe = changed(PLAIN, changes.split())
    assert {step: rate(recipe, step) for step in rates} == pytest.approx(rates, rel=1e-12)


def test_plateau():
    state, seen = Plateau(patience=2), []
    for loss in (3.0, 2.0, 2.5, 2.0, 1.9, 1.9, 1.95, 2.0, 2.0, 2.0, 2.0, 1.0):
        state = state.after(loss)
        seen.append((state.best, state.bad, state.reductions))
    assert seen == [
        (3.0, 0, 0), (2.0, 0, 0), (2.0, 1, 0), (2.0, 2, 0), (1.9, 0, 0), (1.9, 1, 0), (1.9, 2, 0),
        (1.9, 0, 1), (1.9, 1, 1), (1.9, 2, 1), (1.9, 0, 2), (1.0, 0, 2),
    ]  # fmt: skip
    plateau = changed(PLAIN, ["schedule=plateau", "factor=0.5"])
    assert [rate(plateau, 70, reductions) for reductions in range(3)] == [0.5, 0.25, 0.125]
    # A loss must fall noticeably.
    state = Plateau(patience=0, best=1.0)
    assert state.after(0.99995).reductions == 1
    assert state.after(0.9998) == Plateau(patience=0, best=0.9998)
    with pytest.raises(ValueError, match="Received: nan"):
        state.after(math.nan)


def test_plateau_is_that_of_torch():
    losses = np.random.default_rng(0).random(60) + 4 / np.arange(1, 61)
    state, reduced = Plateau(patience=3), []
    for number, loss in enumerate(losses.tolist()):
        before, state = state, state.after(loss)
        if state.reductions > before.reductions:
            reduced.append(number)
    # When ReduceLROnPlateau(patience=3, eps=0) of torch 2.13.0 changed the rate.
    assert reduced == [7, 17, 24, 28, 32, 36, 40, 44, 52, 57]
