"""What a run begins with: the network of a recipe, its first weights, and what its clips are."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from common import arch, models
from common.io import AmbiguousNetworkError, listing
from common.models import Model
from common.preprocessing import contracts
from common.preprocessing.contracts import InputContract
from common.training import optimisation
from common.training.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
        net: The network, with the recipe's dropout and batch norm.
        arrays: Its first weights by canonical name.
        contract: What its clips are: values and rate of the weights, sizes of the recipe.
        weights: By file name, the digest of the weights; None is random ones.
        notes: What was made of the weights on the way, a sentence each.
    """

    net: arch.Network
    arrays: Mapping[str, NDArray[Any]]
    contract: InputContract
    weights: Mapping[str, str] | None
    notes: tuple[str, ...] = ()


def from_recipe(
    recipe: Recipe, num_classes: int, checkpoint: str | os.PathLike[str] | None = None
) -> Start:
    """The start of a run.

    Args:
        recipe: Of the run.
        num_classes: Of the head; another number than the checkpoint's replaces its head.
        checkpoint: Name of a published checkpoint, or path of one in any format, a 2-D network
            among them, which is inflated; None starts from random weights.

    Raises:
        CheckpointError: The file is damaged or unknown.
        ValueError: It is of another network or stream than the recipe's.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    net = arch.make(_architecture(recipe), num_classes, contracts.CHANNELS[recipe.stream])
    if checkpoint is None:
        arrays: Mapping[str, NDArray[Any]] = arch.initial_arrays(net, recipe.seed)
        contract = contracts.of_stream(net.name, recipe.stream)
        found = None
        notes: tuple[str, ...] = ("random weights",)
    else:
        loaded = _loaded(recipe, checkpoint, num_classes)
        net, notes = _fitting(net, loaded, checkpoint)
        arrays, contract, found = loaded.arrays, loaded.contract, loaded.digests
    net = optimisation.configured(net, recipe)
    return Start(net, arrays, _sized(contract, recipe), found, notes)


def _architecture(recipe: Recipe) -> str:
    """The recipe's architecture, or its variant whose head pools over the whole picture."""
    variant = f"{recipe.architecture}_global"
    pooled = recipe.global_pool and arch.make(recipe.architecture).head.pool is not None
    return variant if pooled and variant in arch.ARCHITECTURES else recipe.architecture


def _loaded(recipe: Recipe, checkpoint: str | os.PathLike[str], num_classes: int) -> Model:
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


def _fitting(
    net: arch.Network, loaded: Model, checkpoint: str | os.PathLike[str]
) -> tuple[arch.Network, tuple[str, ...]]:
    """The recipe's network, with trained scales where the weights have them; and notes."""
    from convert.dialects import has_scale

    if has_scale(loaded.net):
        net = arch.scaled(net)
    if _shapes(net) != _shapes(loaded.net):
        raise ValueError(
            f"{checkpoint}: the weights are of another network. Expected {net.name}. Received: "
            f"{loaded.net.name}. Choose other weights, or --set architecture={loaded.net.name}."
        )
    if loaded.net.name == net.name:
        return net, loaded.notes
    return net, (*loaded.notes, f"the weights are of {loaded.net.name}")


def _shapes(net: arch.Network) -> dict[str, tuple[int, ...]]:
    return {parameter.name: parameter.shape for parameter in arch.parameters(net)}


def _sized(contract: InputContract, recipe: Recipe) -> InputContract:
    """The contract of clips as the recipe takes them."""
    return dataclasses.replace(
        contract,
        frames=recipe.sample_duration,
        stride=recipe.sample_rate,
        short_side=recipe.short_side[0],
        crop=recipe.crop,
    )


def describe(start: Start, path: str | os.PathLike[str] | None) -> str:
    """A line about what a run begins with."""
    learned = arch.count(start.net)
    origin = Path(path).name if path else "nothing"
    notes = f" ({'; '.join(start.notes)})" if start.notes else ""
    return (
        f"{start.net.name}, {start.net.num_classes} classes, {learned:,} parameters, "
        f"from {origin}{notes}"
    )
