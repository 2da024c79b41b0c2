"""What is found out before a run, and what is refused."""

import dataclasses

import pytest

from common.annotations import annotation_files
from common.testing.data import CLASSES, STAMP, put
from common.training import recipes
from common.training.plan import Options, Plan

CHANGES = [
    "sample_duration=4", "short_side=32,32", "crop=16", "global_pool=true",
    "architecture=r2plus1d_18", "schedule=constant", "milestones=", "rates=",
]  # fmt: skip
RECIPE = recipes.changed(recipes.get("finetune"), CHANGES)
FLOW = recipes.changed(RECIPE, ["stream=flow"])

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def options(tmp_path):
    path, source = put(tmp_path)
    return Options(path, source, tmp_path / "run", workers=0)


def test_what_a_run_needs(options):
    plan = Plan.of(FLOW, options)
    assert plan.recipe == dataclasses.replace(FLOW, num_classes=3)
    assert (plan.classes, len(plan.data), len(plan.validation.job.records)) == (CLASSES, 6, 3)
    assert (plan.begin.net.num_classes, plan.begin.net.in_channels) == (3, 2)
    made = dataclasses.asdict(dataclasses.replace(STAMP, form="npy"))
    assert (plan.first.step, plan.first.arrays, plan.first.in_channels) == (0, {}, 2)
    assert plan.first.data.keys() == {"annotations", "clips", "weights", "flow"}
    assert (plan.first.data["clips"], plan.first.data["flow"]) == (6, made)
    card = plan.card("i3d_tf")
    assert (card.stream, card.backend, card.flow) == ("flow", "i3d_tf", made)
    assert card.contract == plan.begin.contract
    assert Plan.of(RECIPE, options).first.data["flow"] is None
    assert not options.output.exists()


def test_classes_beyond_those_of_the_annotations_are_numbers(options):
    plan = Plan.of(recipes.changed(RECIPE, ["num_classes=5"]), options)
    assert plan.classes == (*CLASSES, "class 3", "class 4")
    with pytest.raises(ValueError, match="expected labels below 2"):
        Plan.of(recipes.changed(RECIPE, ["num_classes=2"]), options)


def test_classes_that_nobody_says(options):
    annotations = annotation_files.read(options.annotations)
    options.annotations.unlink()
    annotation_files.write(options.annotations, dataclasses.replace(annotations, classes=()))
    with pytest.raises(ValueError, match=r"how many classes there are\. Give --num_classes\."):
        Plan.of(RECIPE, options)


def test_a_plateau_needs_something_to_be_judged_by(options):
    plateau = recipes.changed(RECIPE, ["schedule=plateau"])
    assert Plan.of(plateau, options).validation is not None
    annotations = annotation_files.read(options.annotations)
    records = tuple(each for each in annotations.records if each.subset == "training")
    options.annotations.unlink()
    annotation_files.write(options.annotations, dataclasses.replace(annotations, records=records))
    assert Plan.of(RECIPE, options).validation is None
    with pytest.raises(ValueError, match=r"plateau goes by .* the rate would never fall\. Add"):
        Plan.of(plateau, options)


def test_flow_of_validation_is_made_like_that_of_training(options):
    paths = list(options.source.flow.rglob("validation_*_flow.json"))
    assert len(paths) == 3

    def stamped(**changes):
        for path in paths:
            dataclasses.replace(STAMP, **changes).write(path.with_suffix(".npy"))

    stamped(form="jpg", quality=90)  # how it is stored may differ
    Plan.of(FLOW, options)
    stamped(form="npy", engine="opencv")
    with pytest.raises(ValueError, match="engine is 'numba' in training, 'opencv' in validation"):
        Plan.of(FLOW, options)
    Plan.of(RECIPE, options)  # which has none


def test_what_cannot_be_exported(options):
    with pytest.raises(ValueError, match="no such dialect"):
        Plan.of(RECIPE, dataclasses.replace(options, export=("esperanto",)))
    assert not options.output.exists()
