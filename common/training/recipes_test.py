"""Recipes: the numbers of their sources, changes by text, and what is refused."""

import dataclasses
import json

import pytest

from common import arch
from common.preprocessing import contracts
from common.training.recipes import RECIPES, changed, get, to_json

SMALL = RECIPES["finetune"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_its_network(name):
    recipe = get(name)
    net = arch.make(recipe.architecture, recipe.num_classes or 101)
    shapes = arch.endpoint_shapes(net, (recipe.sample_duration, recipe.crop, recipe.crop))
    assert shapes["Logits"] == (recipe.num_classes or 101,)
    assert 0 < max(recipe.milestones) < recipe.steps
    contract = contracts.usual(recipe.architecture)
    assert recipe.crop == contract.crop
    if "kinetics" in name or "quo_vadis" in name or "nonlocal" in name:
        low, high = recipe.short_side
        assert low <= contract.short_side <= high and recipe.num_classes == 400


def test_numbers_of_the_origins():
    rgb, flow = RECIPES["quo_vadis_rgb"], RECIPES["quo_vadis_flow"]
    assert (rgb.steps, flow.steps, rgb.batch) == (115_000, 155_000, 384)
    assert (rgb.learning_rate, rgb.momentum, rgb.weight_decay, rgb.dropout) == (0.1, 0.9, 1e-7, 0.5)
    assert (rgb.stream, flow.stream) == ("rgb", "flow")
    charades, vidor = RECIPES["charades"], RECIPES["vidor"]
    assert (charades.batch // charades.accumulate, charades.accumulate) == (40, 4)
    assert (vidor.num_classes, vidor.learning_rate, vidor.sample_duration) == (42, 1e-3, 60)
    assert (charades.task, vidor.task) == ("frames", "frames")
    nonlocal_ = RECIPES["nonlocal_400k"]
    assert nonlocal_.nesterov and nonlocal_.decay_biases and not nonlocal_.decay_norms
    r2plus1d = RECIPES["r2plus1d_kinetics"]
    assert (r2plus1d.sample_duration, r2plus1d.sample_rate, r2plus1d.crop) == (16, 4, 112)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=20", 20),
        ("learning_rate=1e-2", 0.01),
        ("learning_rate=1", 1.0),
        ("nesterov=true", True),
        ("flip=False", False),
        ("clip_norm=none", None),
        ("clip_norm=40", 40.0),
        ("num_classes=none", None),
        ("num_classes=101", 101),
        ("dropout=0", 0.0),
        ("train_from=Mixed_5b", "Mixed_5b"),
        ("train_from=none", None),
        ("short_side=256,320", (256, 320)),
        ("short_side=256, 320", (256, 320)),
        ("precision=bfloat16", "bfloat16"),
        ("rates=", ()),
    ],
)
def test_changed(text, value):
    name = text.partition("=")[0]
    found = changed(SMALL, [text])
    assert getattr(found, name) == value and type(getattr(found, name)) is type(value)
    assert dataclasses.replace(found, **{name: getattr(SMALL, name)}) == SMALL


def test_changes_are_checked_together():
    found = changed(SMALL, ["crop=256", "short_side=256,320", "batch=8", "accumulate=4"])
    assert (found.short_side, found.crop, found.batch, found.accumulate) == ((256, 320), 256, 8, 4)
    resnet = changed(SMALL, ["train_from=res5_0", "architecture=i3d_resnet50_8x8"])
    assert resnet.train_from == "res5_0"


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (["step=5"], r"a recipe has no field 'step'\. Expected one of steps, "),
        (["learning-rate=5"], r"no field 'learning-rate'\. Expected one of learning_rate, "),
        (["steps"], r"must be NAME=VALUE\. Received: 'steps'\."),
        (["steps=2", "steps=3"], r"steps must be given once\. Received: 'steps=3'\."),
        (["steps=1.5"], r"steps must be a whole number\. Received: '1\.5'\."),
        (["steps=none"], r"steps must be a whole number\. Received: 'none'\."),
        (["steps=0"], r"steps must be at least 1\. Received: 0\."),
        (["learning_rate=fast"], r"learning_rate must be a finite number\. Received: 'fast'\."),
        (["learning_rate=nan"], r"learning_rate must be a finite number\. Received: nan\."),
        (["learning_rate=0"], r"learning_rate must be above 0\. Received: 0\.0\."),
        (["flip=yes"], r"flip must be true or false\. Received: 'yes'\."),
        (["clip_norm=no"], r"clip_norm must be a finite number, or none\. Received: 'no'\."),
        (["momentum=1"], r"momentum must be from 0 to below 1\. Received: 1\.0\."),
        (["dropout=1"], r"dropout must be from 0 to below 1\. Received: 1\.0\."),
        (["warmup_start=1.5"], "warmup_start must be from 0 to 1"),
        (["factor=0"], "factor must be above 0, at most 1"),
        (
            ["short_side=256"],
            r"short_side must be 2 whole numbers separated.*\(256,\)",
        ),
        (["short_side=320,256"], "short_side must be low,high with 1 <= low <= high"),
        (["milestones=5,5,6,7"], r"milestones must be ascending, from 1\. Received: \(5, 5, 6"),
        (["milestones=1,a"], r"milestones must be whole numbers separated by commas.*'1,a'"),
        (["milestones=100"], r"rates must be 1 rates, or none\. Received: \(0\.625,"),
        (["rates=1,1,1,-1"], "rates must be all above 0"),
        (["schedule=cosine"], "milestones must be empty unless schedule is multi_step"),
        (["schedule=step"], "schedule must be one of constant, multi_step, cosine, plateau"),
        (["stream=both"], "stream must be one of rgb, flow"),
        (["batch_norm=off"], "batch_norm must be one of train, freeze, sync"),
        (["precision=float64"], "precision must be one of float32, bfloat16, float16"),
        (["task=clips"], "task must be one of classes, frames"),
        (["architecture=i3d"], r"no such architecture\. .* Received: 'i3d'\."),
        (["train_from=res5_0"], r"train_from must be none, or one of Conv3d_1a_7x7, .*'res5_0'"),
        (["accumulate=4"], r"accumulate must be a divisor of batch, 6\. Received: 4\."),
        (["crop=300"], r"crop must be at most the short side, 256\. Received: 300\."),
        (["task=frames", "label_smoothing=0.1"], "label_smoothing must be 0 where task is frames"),
        (["momentum=0", "nesterov=true"], "nesterov must be false where momentum is 0"),
        (["compiled=true"], r"a recipe has no field 'compiled'\. Expected one of "),
    ],
)
def test_wrong_changes_are_named(texts, error):
    with pytest.raises(ValueError, match=error):
        changed(SMALL, texts)


def test_json():
    fields = json.loads(json.dumps(to_json(SMALL)))
    assert fields["rates"] == [0.625, 0.375, 0.125, 0.0625]
    assert dataclasses.replace(SMALL, **{k: _tuple(v) for k, v in fields.items()}) == SMALL
    with pytest.raises(ValueError, match="steps must be a whole number"):
        dataclasses.replace(SMALL, steps=20.0)


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def test_an_unknown_recipe():
    with pytest.raises(ValueError, match=r"Expected one of quo_vadis_rgb, .* Received: 'tiny'"):
        get("tiny")
