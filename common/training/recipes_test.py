"""Recipes: the numbers of their sources, changes by text, and what is refused."""

import dataclasses

import pytest

from common import arch
from common.preprocessing import contracts
from common.training.recipes import RECIPES, changed

FINETUNE = RECIPES["finetune"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_its_network(name):
    recipe = RECIPES[name]
    net = arch.make(recipe.architecture, recipe.num_classes or 101)
    shapes = arch.endpoint_shapes(net, (recipe.sample_duration, recipe.crop, recipe.crop))
    assert shapes["Logits"] == (recipe.num_classes or 101,)
    assert 0 < max(recipe.milestones) < recipe.steps
    assert recipe.crop == contracts.usual(recipe.architecture).crop


def test_changes_by_text():
    for text, value in {
        "steps=20": 20,
        "learning_rate=1": 1.0,
        "nesterov=true": True,
        "clip_norm=40": 40.0,
        "train_from=Mixed_5b": "Mixed_5b",
        "short_side=(256, 320)": (256, 320),  # as --show prints it
        "rates=": (),
    }.items():
        name = text.partition("=")[0]
        found = changed(FINETUNE, [text])
        assert getattr(found, name) == value and type(getattr(found, name)) is type(value)
        assert dataclasses.replace(found, **{name: getattr(FINETUNE, name)}) == FINETUNE
    # They are checked together.
    found = changed(FINETUNE, ["crop=256", "short_side=256,320", "batch=8", "accumulate=4"])
    assert (found.short_side, found.crop, found.batch, found.accumulate) == ((256, 320), 256, 8, 4)


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (["step=5"], r"a recipe has no field 'step'\. Expected one of .*, steps, "),
        (["steps"], r"must be NAME=VALUE\. Received: 'steps'\."),
        (["steps=2", "steps=3"], r"steps must be given once\. Received: 'steps=3'\."),
        (["steps=0"], r"steps must be at least 1\. Received: 0\."),
        (["short_side=320,256"], "short_side must be low,high with 1 <= low <= high"),
        (["milestones=5,5,6,7"], r"milestones must be ascending, from 1\. Received: \(5, 5, 6"),
        (["milestones=100"], r"rates must be 1 rates, or none\. Received: \(0\.625,"),
        (["schedule=cosine"], "milestones must be empty unless schedule is multi_step"),
        (["train_from=res5_0"], r"train_from must be none, or one of Conv3d_1a_7x7, .*'res5_0'"),
        (["accumulate=4"], r"accumulate must be a divisor of batch, 6\. Received: 4\."),
        (["crop=300"], r"crop must be at most the short side, 256\. Received: 300\."),
        (["task=frames", "label_smoothing=0.1"], "label_smoothing must be 0 where task is frames"),
        (["momentum=0", "nesterov=true"], "nesterov must be false where momentum is 0"),
    ],
)
def test_wrong_changes_are_named(texts, error):
    with pytest.raises(ValueError, match=error):
        changed(FINETUNE, texts)
