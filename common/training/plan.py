"""All that a run needs, found and checked before anything is trained."""

import dataclasses
from pathlib import Path

from common.annotations import Annotations, annotation_files
from common.flow import stamp
from common.io import sha256
from common.model_card import ModelCard
from common.training import exporting, recipes, start
from common.training.examples import TrainingSet
from common.training.recipes import Recipe
from common.training.snapshot import Snapshot
from common.training.start import Start
from common.training.validation import Validation
from common.video.clip_reader import Source


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run is told beside its recipe.

    Attributes:
        annotations: The annotation file; its "training" records are trained on, its "validation"
            records evaluated on now and then.
        source: Where their frames and flow are.
        output: The folder of the run.
        checkpoint: Name or path of the weights to begin with; None begins with random ones.
        resume: "auto", "never" or the path of a snapshot.
        workers: Processes that load clips; 0 loads them in between.
        tensorboard: Whether to write for TensorBoard.
        export: Dialects that the weights at the end are written in, too.
    """

    annotations: Path
    source: Source
    output: Path
    checkpoint: str | None = None
    resume: str = "auto"
    workers: int = 2
    tensorboard: bool = True
    export: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run that can begin.

    Attributes:
        recipe: How to train; it says how many classes there are.
        options: On what, and where to.
        classes: Names of the head's classes.
        begin: The network and its first weights.
        data: What is trained on.
        validation: What the run is judged by; None is nothing.
        first: Where the run begins, and what a snapshot must agree with for it to go on; it has no
            arrays.
    """

    recipe: Recipe
    options: Options
    classes: tuple[str, ...]
    begin: Start
    data: TrainingSet
    validation: Validation | None
    first: Snapshot

    @classmethod
    def of(cls, recipe: Recipe, options: Options) -> "Plan":
        """Looks at everything, and refuses what could not end well.

        Raises:
            ValueError, OSError: Something in the data or the weights is wrong, the two kinds of
                data do not belong together, or the weights could not be exported.
        """
        annotations = annotation_files.read(options.annotations)
        classes = _classes(annotations, recipe)
        begin = start.from_recipe(recipe, len(classes), options.checkpoint)
        exporting.check(begin, options.export)
        recipe = dataclasses.replace(recipe, num_classes=len(classes))
        data = TrainingSet(annotations, options.source, recipe, begin.contract)
        validation = Validation.of(annotations, options.source, recipe, begin, options.workers)
        if validation is None and recipe.schedule == "plateau":
            raise ValueError(
                "the schedule plateau goes by the loss of the validation records, and the "
                "annotations have none: the rate would never fall. Add some, or choose another "
                "with --set schedule=..."
            )
        if validation and validation.stamp != data.stamp:
            stamp.check_same({"training": data.stamp, "validation": validation.stamp})
        first = _first(begin, recipe, options.annotations, data)
        return cls(recipe, options, classes, begin, data, validation, first)

    def card(self, backend: str) -> ModelCard:
        """What is known of the weights at the end, by the package that trained them."""
        made = self.data.stamp
        return ModelCard(
            stream=self.recipe.stream,
            classes=self.classes,
            contract=self.begin.contract,
            backend=backend,
            start=self.begin.weights,
            flow=dataclasses.asdict(made) if made else None,
        )


def _classes(annotations: Annotations, recipe: Recipe) -> tuple[str, ...]:
    """Names of the head's classes: the annotations', and numbers for those beyond."""
    count = recipe.num_classes or len(annotations.classes)
    if not count:
        raise ValueError(
            "the annotations do not say how many classes there are. Give --num_classes."
        )
    named = annotations.classes[:count]
    return (*named, *(f"class {index}" for index in range(len(named), count)))


def _first(begin: Start, recipe: Recipe, annotations: Path, data: TrainingSet) -> Snapshot:
    return Snapshot(
        step=0,
        architecture=begin.net.name,
        num_classes=begin.net.num_classes,
        in_channels=begin.net.in_channels,
        arrays={},
        recipe=recipes.to_json(recipe),
        data={
            "annotations": sha256("").of(annotations),
            "clips": len(data),
            "weights": begin.weights,
            "flow": dataclasses.asdict(data.stamp) if data.stamp else None,
        },
    )
