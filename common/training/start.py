"""The network that a run trains, with its first weights."""

import dataclasses
import functools
import os
from pathlib import Path

from common import arch, models
from common.io import AmbiguousNetworkError
from common.models import Model
from common.preprocessing import contracts
from common.training import optim
from common.training.recipes import Recipe


def start(
    recipe: Recipe, num_classes: int, checkpoint: str | os.PathLike[str] | None = None
) -> Model:
    """The network of a recipe, with its dropout and batch-norm momentum, and its first weights.

    Weights are a `models.load` checkpoint, with a new head for another number of classes; None
    draws random ones. The contract has the recipe's sizes and length, the rest is the weights'.
    Raises `ValueError` for weights of another network or stream.
    """
    name = recipe.architecture
    pooled = recipe.global_pool and arch.make(name).head.pool is not None
    if pooled and f"{name}_global" in arch.ARCHITECTURES:
        name = f"{name}_global"
    net = arch.make(name, num_classes, contracts.CHANNELS[recipe.stream])
    if checkpoint is None:
        arrays = arch.initial_arrays(net, recipe.seed)
        contract = contracts.of_stream(net.name, recipe.stream)
        model = Model(net, arrays, contract, Path("random weights"), None, None)
    else:
        load = functools.partial(models.load, checkpoint, recipe.stream, snapshot=True)
        try:
            model = load(num_classes=num_classes, seed=recipe.seed)
        except AmbiguousNetworkError:  # names and shapes are those of several
            model = load(recipe.architecture, num_classes=num_classes, seed=recipe.seed)
        # Batch norm has a scale where the weights have one.
        nets = [each for each in (net, arch.scaled(net)) if _shapes(each) == _shapes(model.net)]
        if not nets:
            raise ValueError(
                f"{checkpoint}: the weights are of another network. Expected {name}. Received: "
                f"{model.net.name}. Choose other weights, or --set architecture={model.net.name}."
            )
        net = nets[0]
    contract = dataclasses.replace(
        model.contract,
        frames=recipe.sample_duration,
        stride=recipe.sample_rate,
        short_side=recipe.short_side[0],
        crop=recipe.crop,
    )
    return dataclasses.replace(model, net=optim.configured(net, recipe), contract=contract)


def _shapes(net: arch.Network) -> dict[str, tuple[int, ...]]:
    return {parameter.name: parameter.shape for parameter in arch.parameters(net)}
