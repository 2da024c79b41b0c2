"""A network built from its description, and its weights; the twin of `i3d_tf/model.py`."""

import contextlib
import functools
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from common import arch
from common.arch import Arrays
from common.training import optim
from convert import hub
from i3d_torch import layers

Step = Callable[[Tensor], Tensor]  # from an endpoint to the next one


class VideoModel(nn.Module):
    """A video network in PyTorch, with the nodes of `net` as submodules of the same names.

    Attributes:
        returned: Names of the endpoints that a call returns; all, unless it is changed.
        recompute: Activation checkpointing (Chen et al., 2016, https://arxiv.org/abs/1604.06174)
            between endpoints: less memory, up to 40 % more time.
    """

    def __init__(self, net: arch.Network):
        super().__init__()
        self.net = net
        self.returned = net.endpoints
        self.recompute = False
        # The names of the weights do not tell all architectures apart; a saved state dict does.
        self.register_buffer("architecture", _letters(net.name))
        layers.add_layers(self, net.nodes, net.in_channels)

    def forward(
        self, clips: Tensor, final_endpoint: str | None = None, dropout: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Runs a batch of clips.

        Args:
            clips: [B, C, T, H, W] float32, in the value range of the weights' input contract.
            final_endpoint: Where to stop; None runs to the end.
            dropout: What to multiply the features by; see `layers.Head`.

        Returns:
            The logits [B, num_classes], averaged over time (or, stopped earlier, the output of
            `final_endpoint`), and the endpoints on the way by name, [B, C, T, H, W].

        Raises:
            ValueError: The clips do not fit the network, or there is no such endpoint.
        """
        net = self.net
        arch.check_clips(net, clips.shape, "BCTHW")
        if clips.dtype != next(self.parameters()).dtype:
            arch.check_dtype(net, str(clips.dtype).removeprefix("torch."))
        arch.check_endpoint(net, final_endpoint)
        endpoints: dict[str, Tensor] = {}
        x = output = clips
        for name, step in self._steps(dropout):
            x = step(x)
            if name in self.returned:
                endpoints[name] = x
            if name != net.head.predictions:
                output = x
            if name == final_endpoint:
                break
        return output, endpoints

    def _steps(self, dropout: Tensor | None) -> list[tuple[str, Step]]:
        """Endpoints in order, each with what computes it from the one before."""
        trunk = [(node.name, self.get_submodule(node.name)) for node in self.net.nodes]
        name, head = trunk.pop()
        if self.recompute and torch.is_grad_enabled():
            again = functools.partial(
                checkpoint.checkpoint, use_reentrant=False, context_fn=_passes
            )
            trunk = [(node, functools.partial(again, layer)) for node, layer in trunk]
        return [
            *trunk,
            (self.net.head.features, head.features),
            (name, functools.partial(head, dropout=dropout)),
            (self.net.head.predictions, functools.partial(torch.softmax, dim=-1)),
        ]


def _passes() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    """Contexts of the first pass, and of the second, which does not average statistics again."""
    return contextlib.nullcontext(), optim.recomputing()


def blank(make: Callable[[], VideoModel], device: torch.device | None = None) -> VideoModel:
    """Makes a model without the initial values, which take a second; None is the default device."""
    with torch.device("meta"):  # on which nothing is computed
        model = make()
    place = device or torch.get_default_device()
    # Not `to_empty`, which makes values like those of "meta", and imports half a second for it.
    model._apply(lambda value: torch.empty(value.shape, dtype=value.dtype, device=place))
    model.architecture.copy_(_letters(model.net.name))
    return model


def create(architecture: str, num_classes: int = 400, in_channels: int = 3) -> VideoModel:
    """Makes a network of `common.arch.ARCHITECTURES` with initial values, ready for inference."""
    return VideoModel(arch.make(architecture, num_classes, in_channels)).eval()


def _letters(name: str) -> Tensor:
    return torch.tensor(list(name.encode()), dtype=torch.uint8)


def load(checkpoint: str | os.PathLike[str], architecture: str | None = None) -> VideoModel:
    """Makes the model of a published checkpoint, by name, or of a path in any format.

    `architecture` is a name in `common.arch.ARCHITECTURES`, where the weights fit several.

    Raises:
        CheckpointError: The file is damaged or not of a known kind, or fits several networks.
        FileNotFoundError: There is no such file, or no source of it answers.
    """
    weights = hub.load(checkpoint, hub.ConversionOptions(architecture=architecture))
    model = blank(lambda: VideoModel(weights.net)).eval()
    assign(model, weights.arrays)
    return model


def save(
    model: VideoModel, path: str | os.PathLike[str], to: str | None = None, overwrite: bool = False
) -> None:
    """Writes the weights of a model; the path's ending says in which format.

    `path` may be the prefix of a TensorFlow checkpoint. `to` is the dialect, see
    `convert.hub.convert`; None takes the usual one of the format.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        ValueError: The ending or the dialect is not known.
    """
    hub.write(hub.Weights(model.net, arrays(model)), path, to, overwrite)


def assign(model: VideoModel, arrays: Arrays) -> None:
    """Sets every parameter and running statistic from canonical arrays, exactly the model's.

    Raises:
        CheckpointError: Names or shapes differ; nothing is changed then.
    """
    arch.check_arrays(model.net, arrays)
    own = model.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            # torch wants memory of its own: arrays may be read-only views of a file.
            own[name].copy_(torch.from_numpy(np.array(array, dtype=np.float32)))


def arrays(model: VideoModel) -> dict[str, np.ndarray]:
    """Copies of every parameter and running statistic, by canonical name and layout."""
    own = model.state_dict()
    names = [parameter.name for parameter in arch.parameters(model.net)]
    return {name: own[name].detach().float().cpu().numpy().copy() for name in names}
