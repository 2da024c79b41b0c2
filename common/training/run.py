"""A training run before its first step: everything it needs, read and checked."""

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common import arch, models
from common.annotations import Annotations, annotation_files
from common.flow import stamp
from common.io import AmbiguousNetworkError, CheckpointError, listing, sha256
from common.model_card import ModelCard
from common.models import Model
from common.preprocessing import contracts
from common.preprocessing.contracts import InputContract
from common.training import optim, recipes
from common.training.checkpoints import Snapshot
from common.training.data import TrainingSet
from common.training.recipes import Recipe
from common.training.settings import Settings
from common.training.validation import Validation
from common.video.clip_reader import Source


@dataclasses.dataclass(frozen=True)
class Start:
    """The network and the weights that a run starts from.

    Attributes:
        net: The network, with the recipe's dropout and batch-norm momentum.
        arrays: Its first weights by canonical name.
        contract: Value range and frame rate of the weights; sizes and length of the recipe.
        weights: Digest of the weights by file name; None for random ones.
        notes: Changes made to the weights.
    """

    net: arch.Network
    arrays: Mapping[str, NDArray[Any]]
    contract: InputContract
    weights: Mapping[str, str] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, recipe: Recipe, num_classes: int, checkpoint: str | os.PathLike[str] | None = None
    ) -> "Start":
        """Reads the checkpoint, or draws random weights.

        Args:
            recipe: The recipe.
            num_classes: Classes of the head; if the checkpoint has another number, its head is
                replaced.
            checkpoint: Name of a published checkpoint, or path of one in any format; a 2-D network
                is inflated. None draws random weights.

        Raises:
            CheckpointError: The file is damaged or unknown.
            ValueError: The weights belong to another network or stream.
            FileNotFoundError: There is no such file, or no source of it answers.
        """
        name = recipe.architecture
        pooled = recipe.global_pool and arch.make(name).head.pool is not None
        if pooled and f"{name}_global" in arch.ARCHITECTURES:
            name = f"{name}_global"
        net = arch.make(name, num_classes, contracts.CHANNELS[recipe.stream])
        arrays: Mapping[str, NDArray[Any]]
        found: Mapping[str, str] | None
        if checkpoint is None:
            arrays, found = arch.initial_arrays(net, recipe.seed), None
            contract = contracts.of_stream(net.name, recipe.stream)
            notes: tuple[str, ...] = ("random weights",)
        else:
            loaded = _load(recipe, checkpoint, num_classes)
            net, notes = _fit(net, loaded, checkpoint)
            arrays, contract, found = loaded.arrays, loaded.contract, loaded.digests
        contract = dataclasses.replace(
            contract,
            frames=recipe.sample_duration,
            stride=recipe.sample_rate,
            short_side=recipe.short_side[0],
            crop=recipe.crop,
        )
        return cls(optim.configured(net, recipe), arrays, contract, found, notes)

    def describe(self, checkpoint: str | os.PathLike[str] | None) -> str:
        """One line about the network and the origin of its weights."""
        origin = Path(checkpoint).name if checkpoint else "nothing"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return (
            f"{self.net.name}, {self.net.num_classes} classes, {arch.count(self.net):,} "
            f"parameters, from {origin}{notes}"
        )


def _load(recipe: Recipe, checkpoint: str | os.PathLike[str], num_classes: int) -> Model:
    def load(architecture: str | None) -> Model:
        return models.load(
            checkpoint, recipe.stream, architecture, num_classes, recipe.seed, snapshot=True
        )

    try:
        return load(None)
    except AmbiguousNetworkError as error:
        if recipe.architecture in error.names:
            return load(recipe.architecture)
        raise ValueError(
            f"{checkpoint}: the weights are of another network. Expected {recipe.architecture}. "
            f"Received: one of {listing(error.names)}. Choose other weights, or --set "
            "architecture=NAME with the one that they are of."
        ) from error


def _fit(
    net: arch.Network, loaded: Model, checkpoint: str | os.PathLike[str]
) -> tuple[arch.Network, tuple[str, ...]]:
    """The recipe's network, with batch-norm scales where the weights have them; and notes."""

    def shapes(net: arch.Network) -> dict[str, tuple[int, ...]]:
        return {parameter.name: parameter.shape for parameter in arch.parameters(net)}

    fitting = [each for each in (net, arch.scaled(net)) if shapes(each) == shapes(loaded.net)]
    if not fitting:
        raise ValueError(
            f"{checkpoint}: the weights are of another network. Expected {net.name}. Received: "
            f"{loaded.net.name}. Choose other weights, or --set architecture={loaded.net.name}."
        )
    if loaded.net.name == net.name:
        return fitting[0], loaded.notes
    return fitting[0], (*loaded.notes, f"the weights are of {loaded.net.name}")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that can begin.

    Attributes:
        recipe: The recipe, with its number of classes.
        settings: Settings of this stream.
        output: Folder of the run.
        classes: Names of the classes.
        start: The network and its first weights.
        data: The training clips.
        validation: The validation clips; None if there are none.
        initial: Step 0 without arrays; a snapshot must agree with it to be resumed from.
    """

    recipe: Recipe
    settings: Settings
    output: Path
    classes: tuple[str, ...]
    start: Start
    data: TrainingSet
    validation: Validation | None
    initial: Snapshot

    def card(self, backend: str) -> ModelCard:
        """The card of the final weights, as far as it is known in advance."""
        made = self.data.stamp
        return ModelCard(
            stream=self.recipe.stream,
            classes=self.classes,
            contract=self.start.contract,
            backend=backend,
            start=self.start.weights,
            flow=dataclasses.asdict(made) if made else None,
        )


def prepare(recipe: Recipe, settings: Settings) -> Run:
    """Reads and checks everything that a run needs.

    Raises:
        ValueError, OSError: Data or weights are wrong, training and validation flow were computed
            differently, or the weights cannot be exported.
    """
    assert settings.annotations and settings.output  # checked by the command
    annotations = annotation_files.read(settings.annotations)
    source = Source(settings.rgb, settings.flow, settings.flow_engine)
    classes = _classes(annotations, recipe)
    start = Start.of(recipe, len(classes), settings.checkpoint)
    _check_exports(start, settings.export)
    recipe = dataclasses.replace(recipe, num_classes=len(classes))
    data = TrainingSet(annotations, source, recipe, start.contract)
    validation = Validation.of(
        annotations, source, recipe, start.net, start.contract, settings.workers or 0
    )
    if validation is None and recipe.schedule == "plateau":
        raise ValueError(
            "the schedule plateau depends on the loss of the validation records, and the "
            "annotations have none: the rate would never fall. Add some, or choose another "
            "schedule with --set schedule=..."
        )
    if validation and validation.stamp != data.stamp:
        stamp.check_same({"training": data.stamp, "validation": validation.stamp})
    initial = Snapshot(
        step=0,
        architecture=start.net.name,
        num_classes=start.net.num_classes,
        in_channels=start.net.in_channels,
        arrays={},
        recipe=recipes.to_json(recipe),
        data={
            "annotations": sha256("").of(settings.annotations),
            "clips": len(data),
            "weights": start.weights,
            "flow": dataclasses.asdict(data.stamp) if data.stamp else None,
        },
    )
    return Run(recipe, settings, settings.output, classes, start, data, validation, initial)


def _classes(annotations: Annotations, recipe: Recipe) -> tuple[str, ...]:
    """The names of the annotations, and numbers for classes beyond."""
    count = recipe.num_classes or len(annotations.classes)
    if not count:
        raise ValueError(
            "the annotations do not say how many classes there are. Give --num_classes."
        )
    named = annotations.classes[:count]
    return (*named, *(f"class {index}" for index in range(len(named), count)))


def _check_exports(start: Start, dialects: Sequence[str]) -> None:
    """Exports the first weights, to know that the last ones can be exported."""
    for dialect in dialects:
        with tempfile.TemporaryDirectory() as folder:
            try:
                models.export(start.net, start.arrays, Path(folder), dialect)
            except CheckpointError as error:
                reason = str(error)
                if reason.startswith(folder):  # the path of a file that is gone by now
                    reason = reason.partition(": ")[2]
                raise CheckpointError(
                    f"--export={dialect}: {reason} Leave the dialect out, and use `python -m "
                    "convert` on the weights at the end of the run."
                ) from error
